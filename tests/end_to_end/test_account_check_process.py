"""The account check as the platform runs it; each mistake's sentence is tested in tests/integration."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.emulator import Emulator
from tests.emulator.processes import ROOT

SECRET_ID = "Entra refuses the client secret: this looks like the Secret ID"


def start_process(emulator: Emulator, folder: Path, **module: Any) -> subprocess.Popen[str]:
    """Starts the validator as the platform does."""
    environment = emulator.environment(data_path=folder, connector={}, module=module)
    return subprocess.Popen(
        [sys.executable, "main.py", "validate_module_configuration"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_real_processes(emulator: Emulator, tmp_path: Path) -> None:
    """Valid, and the secret's id, as the platform runs them: exit status 0, one result, nothing leaked."""
    with Emulator() as wrong:
        runs = [
            (emulator, start_process(emulator, tmp_path), None),
            (
                wrong,
                start_process(wrong, tmp_path, client_secret=wrong.tenant.secret_id),
                "Entra refuses the client secret: this looks like the Secret ID",
            ),
        ]
        for platform, process, says in runs:
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, output
            assert [call["status"] for call in platform.platform.callbacks] == ["running", "finished"]
            told = platform.platform.callbacks[-1]
            assert told["results"] == {"success": says is None}
            assert told.get("error", "").startswith(says or "")
            assert "Traceback" not in output
            for hidden in (platform.tenant.client_secret, platform.tenant.secret_id, "Bearer ", "eyJ"):
                assert hidden not in output
