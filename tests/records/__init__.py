"""Records of our own making, as Graph's documentation shows them and odder: invented people, tenants and addresses.

A file holds a kind of record, one a line. The *text* of a record is what counts (``0.10`` is not ``0.1``, an escape is
not its character), so it is cut from the file and never encoded again. JSON Lines, because the catalogue would have
every .json file indented anew.
"""

from pathlib import Path

# Kind of record -> the stream that brings it. The file of a kind has its name.
STREAMS = {
    "interactive_v1": "interactiveUser",
    "interactive_beta": "interactiveUser",
    "non_interactive": "nonInteractiveUser",
    "service_principal": "servicePrincipal",
    "managed_identity": "managedIdentity",
    "directory_audits": "directoryAudits",
}


def texts(kind: str) -> list[bytes]:
    """Returns the JSON text of every record of a kind, byte for byte, in the file's order."""
    return (Path(__file__).parent / f"{kind}.jsonl").read_bytes().splitlines()
