"""The table of filled fields by kind of record, which stands in each format's README.

``python -m tests.formats.filled_fields`` writes it anew; a test sees that it is current.
"""

from collections import Counter

from tests import records
from tests.formats import FORMATS, fields, load, parse

BEGIN = "<!-- filled fields: python -m tests.formats.filled_fields -->"
END = "<!-- end of the filled fields -->"
_TITLES = {
    "interactive_v1": "interactive, v1.0",
    "interactive_beta": "interactive, beta",
    "non_interactive": "non-interactive",
    "service_principal": "service principal",
    "managed_identity": "managed identity",
    "directory_audits": "directory audits",
}


def connector_of(kind: str) -> str:
    """Returns the connector that pushes a kind of record of tests/records."""
    return "graph_entra_audits" if records.STREAMS[kind] == "directoryAudits" else "graph_entra_signins"


def table(connector: str) -> str:
    """Returns, in Markdown, how many records of each kind of tests/records have each field."""
    kinds = [kind for kind in records.STREAMS if connector_of(kind) == connector]
    filled = {
        kind: Counter(name for text in records.texts(kind) for name in fields(parse(connector, text))) for kind in kinds
    }
    names = sorted(set().union(*filled.values()), key=lambda name: (name.startswith("azure."), name))
    head = [f"{_TITLES[kind]} /{len(records.texts(kind))}" for kind in kinds]
    rows = [[f"`{name}`", *(str(filled[kind][name] or "") for kind in kinds)] for name in names]
    lines = [["field", *head], ["---"] * (len(kinds) + 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def with_table(text: str, connector: str) -> str:
    """Returns a README's text with the table that it should have."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table(connector)}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    for one in FORMATS:
        readme = load(one).folder / "README.md"
        readme.write_text(with_table(readme.read_text(), one))
