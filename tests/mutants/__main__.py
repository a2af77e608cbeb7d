"""Runs the mutants of some rooms, each in a process of its own, and lists those that no test has seen.

What is slow to import and not ours is imported once; the processes are forked from there.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.mutants.child import why_not_caught
from tests.mutants.table import CONTROLS, ROOMS, Mutant

_SLOW: Final = (
    "aiohttp.web",
    "azure.identity.aio",
    "hypothesis",
    "kiota_authentication_azure.azure_identity_authentication_provider",
    "msgraph.generated.applications_with_app_id.applications_with_app_id_request_builder",
    "msgraph.generated.audit_logs.directory_audits.directory_audits_request_builder",
    "msgraph.generated.audit_logs.sign_ins.sign_ins_request_builder",
    "msgraph.graph_request_adapter",
    "msgraph_core",
    "pytest_asyncio.plugin",
    "pytest_timeout",
    "s3path",
    "sekoia_automation.account_validator",
    "sekoia_automation.connector",
    "trustme",
)


def caught(mutant: Mutant) -> bool:
    """Try one, and print what came of it."""
    began_s = time.monotonic()
    with TemporaryDirectory() as folder:
        said = Path(folder, "said")
        child = os.fork()
        if not child:
            output = os.open(said, os.O_WRONLY | os.O_CREAT)
            os.dup2(output, 1)
            os.dup2(output, 2)
            status = 2
            try:
                why = why_not_caught(mutant, Path(folder, "scratch"))
                print(why or "", flush=True)
                status = int(why is not None)
            except BaseException:  # noqa: BLE001 - whatever it is, this process ends here
                traceback.print_exc()
            os._exit(status)
        _, status = os.waitpid(child, 0)
        took_s = time.monotonic() - began_s
        what = said.read_text(errors="replace").strip()
        why = what.rpartition("\n")[2] if status else ""
        print(
            f"NOT CAUGHT {mutant.name}: {why}\n{what}" if status else f"caught {mutant.name} ({took_s:.1f} s)",
            flush=True,
        )
    return not status


def main(rooms: list[str]) -> int:
    """Try the mutants of these rooms, or of all; 1 if one was not caught."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for name in _SLOW:
        import_module(name)
    ours = [name for name in sys.modules if name.partition(".")[0] == "graph_entra"]
    assert not ours, f"a fork would not import anew: {ours}"
    gc.freeze()
    mutants = {**ROOMS, "controls": CONTROLS}
    results = [caught(mutant) for room in rooms or ROOMS for mutant in mutants[room]]
    return int(not all(results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
