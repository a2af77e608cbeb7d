"""Real processes in trouble: what the platform gets. Every cause is in tests/integration/test_diagnosis.py."""

import re
from pathlib import Path

from tests.emulator import Emulator, Fault
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY
from tests.emulator.processes import Connector
from tests.end_to_end.conftest import until

KINDS = ["interactiveUser", "nonInteractiveUser", "servicePrincipal", "managedIdentity"]


def complaints(emulator: Emulator) -> list[str]:
    """What asks for somebody's attention."""
    return [entry["message"] for entry in list(emulator.platform.logs) if entry["level"] != "info"]


def test_two_troubles_from_their_line_to_their_end(tmp_path: Path) -> None:
    """A permission that four streams lack, and an intake that refuses its key: one line each, one when it is over."""
    with Emulator() as forbidden, Emulator() as keyless:
        forbidden.tenant.roles = ["Directory.Read.All"]
        keyless.intake.faults.inject(Fault.status(401), times=None)
        keyless.tenant.add(
            "directoryAudits", {"id": "one", "activityDateTime": f"{keyless.clock():%Y-%m-%dT%H:%M:%SZ}"}
        )
        running = []
        for emulator, command, key, arguments in (
            (forbidden, "graph_entra_signins", SIGNINS_KEY, {"sign_in_types": KINDS}),
            (keyless, "graph_entra_audits", AUDITS_KEY, {}),
        ):
            (tmp_path / command).mkdir()
            environment = emulator.environment(
                data_path=tmp_path / command, connector={"frequency": 5, **arguments}, intake_key=key
            )
            running.append(Connector(command, environment, tmp_path / f"{command}.log"))
        try:
            for emulator in (forbidden, keyless):
                until(lambda emulator=emulator: complaints(emulator), 90)
            (permission,) = complaints(forbidden)
            assert set(permission.partition(":")[0].split(", ")) == set(KINDS)
            assert "AuditLog.Read.All is missing" in permission
            (key_refused,) = complaints(keyless)
            assert key_refused.startswith(
                "pushing to the intake: The Sekoia intake refuses the records. Check intake_key"
            )
            forbidden.tenant.roles = ["AuditLog.Read.All"]
            keyless.intake.faults.clear()
            for emulator in (forbidden, keyless):
                until(lambda emulator=emulator: over(emulator), 90)
            assert set(over(forbidden)[0].partition(":")[0].split(", ")) == set(KINDS)
            assert (len(complaints(forbidden)), len(complaints(keyless))) == (1, 1)
        finally:
            for connector in running:
                assert connector.stop() == 0


def over(emulator: Emulator) -> list[str]:
    """What is said to be over."""
    lines = [entry["message"] for entry in list(emulator.platform.logs)]
    return [line for line in lines if re.search(r"recovered after \d+ s and \d+ failed tries; nothing was lost", line)]
