"""`make run` with TENANT_ID, CLIENT_ID and CLIENT_SECRET or CLIENT_CERTIFICATE: the real Graph.

Before anything is read, the account check of the module says whether the configuration works. The credential goes to
the connectors as the platform hands it over, by its secrets API (here on loopback); it is on no command line, in no
file and in no output. Without INTAKE_KEY the intake is the emulated one, which keeps the records. What an earlier run
left in the folder is kept: a run with the same tenant and the same destination goes on where the last one was.
"""

import json
import os
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from tests.emulator import Emulator, PushedEvent, Tenant
from tests.emulator.emulator import SECRET_PLACEHOLDER
from tests.emulator.intake import AUDITS_KEY, SIGNINS_KEY
from tests.emulator.processes import Connector, Presses, stop_all

WHOLE_S = 112.0
LOOK_S = 5.0
CHECK_S = 60.0
SEKOIA_INTAKE = "https://intake.sekoia.io"
COMMANDS = (("graph_entra_signins", "signins", SIGNINS_KEY), ("graph_entra_audits", "audits", AUDITS_KEY))
# What the emulator sets so that its private authority is trusted: the real hosts have certificates of their own.
_TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR")
_PROXIES = ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy")
_PEM = "-----BEGIN"
_SECRETS = ("CLIENT_SECRET", "CLIENT_CERTIFICATE", "INTAKE_KEY")


def real(folder: Path, presses: Presses, *, follow: bool) -> int:
    """Reads the real tenant; returns the exit status: 0 if both connectors ran and ended well."""
    console = Console()
    sentence = _missing(os.environ)
    if sentence is not None:
        console.print(sentence, soft_wrap=True, highlight=False, markup=False)
        return 1
    tenant = Tenant(tenant_id=os.environ["TENANT_ID"].strip(), client_id=os.environ["CLIENT_ID"].strip())
    with Emulator(tenant) as emulator:
        return _Reading(console, emulator, _own_folder(folder, tenant), presses).run(follow=follow)


def _missing(given: Mapping[str, str]) -> str | None:
    """The sentence about what is not there; None if all of it is."""
    for name in ("TENANT_ID", "CLIENT_ID"):
        if not given.get(name, "").strip():
            return f"{name} is empty or missing. With a tenant of your own, TENANT_ID and CLIENT_ID are needed."
    credentials = [name for name in ("CLIENT_SECRET", "CLIENT_CERTIFICATE") if name in given]
    if not credentials:
        return "CLIENT_SECRET or CLIENT_CERTIFICATE is needed with TENANT_ID and CLIENT_ID."
    for name in credentials:
        if not given[name].strip():
            return f"{name} is set, but empty. Unset it, or give it its value."
    certificate = given.get("CLIENT_CERTIFICATE", _PEM)
    if _PEM not in certificate and not Path(certificate.strip()).is_file():
        return "CLIENT_CERTIFICATE is neither a PEM text nor the name of a file that can be read."
    return None


def _own_folder(folder: Path, tenant: Tenant) -> Path:
    """The folder of this tenant and this destination: what was delivered elsewhere was not delivered here."""
    key = os.environ.get("INTAKE_KEY", "")
    destination = f"intake-{sha256(key.encode()).hexdigest()[:8]}" if key else "file"
    own = folder / "real" / "".join(sign if sign.isalnum() else "-" for sign in tenant.tenant_id) / destination
    for _, name, _ in COMMANDS:
        (own / name).mkdir(parents=True, exist_ok=True)
    return own


class _Reading:
    """One run."""

    def __init__(self, console: Console, emulator: Emulator, folder: Path, presses: Presses) -> None:
        self._console = console
        self._emulator = emulator
        self._folder = folder
        self._presses = presses
        self._counts: Counter[str] = Counter()
        self._lines = 0
        self._connectors: list[Connector] = []
        self._to_sekoia = bool(os.environ.get("INTAKE_KEY"))

    def run(self, *, follow: bool) -> int:
        """Returns the exit status."""
        began_s = time.monotonic()
        sentence = self._account_fault()
        if sentence is not None or self._presses.count:
            self._say(sentence or "Stopped.")
            return 1 if sentence else 0
        with (self._folder / "events.jsonl").open("a") as kept:

            def keep(events: list[PushedEvent]) -> None:
                for event in events:
                    kept.write(event.text + "\n")
                    self._counts[event.intake_key] += 1
                kept.flush()

            self._emulator.intake.keep = keep
            for command, name, key in COMMANDS:
                environment = self._environment(self._folder / name, key)
                self._connectors.append(Connector(command, environment, self._folder / f"{name}.log"))
            where = "Sekoia.io" if self._to_sekoia else f"{self._folder}/events.jsonl"
            self._say(f"Reading {self._emulator.tenant.tenant_id} from the real Graph into {where}; Ctrl-C ends it.")
            failure = None
            while not self._presses.count and failure is None and (follow or time.monotonic() - began_s < WHOLE_S):
                self._presses.wait(LOOK_S)
                failure = self._look()
            delivered = self._progress()
            self._say("Stopping.")
            statuses = stop_all(self._connectors)
            if self._presses.count:  # stopped while it was still starting: it had no handler yet
                statuses = [0 if status == -signal.SIGTERM else status for status in statuses]
            if not self._to_sekoia:
                delivered = self._progress()
        self._tell_lines()
        self._say(f"{delivered}; exit statuses {statuses}")
        if failure is not None:
            self._say(failure)
        return 0 if failure is None and not any(statuses) else 1

    def _account_fault(self) -> str | None:
        """What the account check says of this configuration; None if it works."""
        output = self._folder / "check.log"
        check = Connector("validate_module_configuration", self._environment(self._folder / "signins", "-"), output)
        give_up_s = time.monotonic() + CHECK_S
        while check.process.poll() is None and time.monotonic() < give_up_s and not self._presses.count:
            self._presses.wait(0.2)
        check.kill()
        told = [call for call in self._emulator.platform.callbacks if "results" in call]
        if told:
            return None if told[-1]["results"].get("success") else str(told[-1].get("error", "The check failed."))
        return None if self._presses.count else f"The account check gave no answer: see {output}."

    def _look(self) -> str | None:
        """Says what is new; returns what a connector ended by itself with."""
        self._tell_lines()
        self._say(f"{datetime.now(UTC):%H:%M:%S}  {self._progress()}")
        for connector in self._connectors:
            try:
                connector.check()
            except RuntimeError as error:
                return str(error)
        return None

    def _tell_lines(self) -> None:
        lines = self._emulator.platform.logs[self._lines :]
        self._lines += len(lines)
        for line in lines:
            self._say(f"{line['level']}: {line['message']}")

    def _progress(self) -> str:
        """What the intake has acknowledged in this run."""
        if not self._to_sekoia:
            return f"delivered: sign-ins {self._counts[SIGNINS_KEY]:,}, audits {self._counts[AUDITS_KEY]:,}"
        delivered = [figure for connector in self._connectors for figure in _delivered(connector)]
        return "delivered: " + (", ".join(f"{stream} {count:,.0f}" for stream, count in delivered) or "nothing yet")

    def _environment(self, data_path: Path, key: str) -> dict[str, str]:
        """The platform's environment, with the caller's own proxy and trust, and without any secret."""
        environment = self._emulator.environment(
            data_path=data_path,
            connector={"frequency": 60, "start_time": 24},
            module={"cloud": os.environ.get("CLOUD", "global")},
            intake_key=os.environ.get("INTAKE_KEY") or key,
        )
        platform = self._emulator.platform
        platform.secrets = _credentials(os.environ)
        hidden = dict.fromkeys(platform.secrets, SECRET_PLACEHOLDER)
        shown = {name: value for name, value in platform.module_configuration.items() if name != "client_secret"}
        platform.module_configuration = {**shown, **hidden}
        environment["MODULE_CONFIGURATION"] = json.dumps(platform.module_configuration)
        for name in (*_TRUST, *_PROXIES):
            environment.pop(name, None)
            if name in os.environ:
                environment[name] = os.environ[name]
        if self._to_sekoia:
            environment["INTAKE_URL"] = os.environ.get("INTAKE_URL", SEKOIA_INTAKE)
        local = "127.0.0.1,localhost"
        environment["NO_PROXY"] = environment["no_proxy"] = f"{environment.get('NO_PROXY', '')},{local}".lstrip(",")
        for name in _SECRETS:
            environment.pop(name, None)
        return environment

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def _credentials(given: Mapping[str, str]) -> dict[str, str]:
    """What the platform hands over; a certificate is its PEM text, or the name of the file that holds it."""
    secrets = {}
    if "CLIENT_SECRET" in given:
        secrets["client_secret"] = given["CLIENT_SECRET"]
    if "CLIENT_CERTIFICATE" in given:
        text = given["CLIENT_CERTIFICATE"]
        secrets["client_certificate"] = text if _PEM in text else Path(text.strip()).read_text()
    return secrets


def _delivered(connector: Connector) -> list[tuple[str, float]]:
    """What a connector's own metrics say that the intake has acknowledged, by stream."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{connector.port('/metrics')}/metrics", timeout=5) as page:
            families = list(text_string_to_metric_families(page.read().decode()))
    except (OSError, RuntimeError):  # it has not begun, or is about to end
        return []
    return [
        (sample.labels["stream"], sample.value)
        for family in families
        for sample in family.samples
        if sample.name == "graph_entra_records_delivered_total"
    ]
