"""SIGTERM ends the process within 5 s with status 0, whatever it is doing."""

import time
from datetime import datetime, timedelta

import pytest

from tests.emulator import Emulator, Fault, Tenant
from tests.emulator.records import fill
from tests.end_to_end.conftest import Start, until


def stall_graph(emulator: Emulator) -> None:
    """Graph's first answer never comes."""
    emulator.graph.faults.inject(Fault.stall(600), times=None)


def stall_paging(emulator: Emulator) -> None:
    """The second page never comes."""
    emulator.graph.faults.inject(Fault.stall(600, after_bytes=5000), times=None, match=lambda r: r.is_next_link)


def throttle(emulator: Emulator) -> None:
    """Graph wants to be left alone for an hour."""
    emulator.graph.faults.inject(Fault.retry_after(429, "3600"), times=None)


def intake_down(emulator: Emulator) -> None:
    """The intake answers 500."""
    emulator.intake.faults.inject(Fault.status(500), times=None)


def intake_stalls(emulator: Emulator) -> None:
    """The intake takes the push and does not answer."""
    emulator.intake.faults.inject(Fault.stall(600), times=None)


def no_secrets(emulator: Emulator) -> None:
    """The platform does not hand over the secret."""
    emulator.platform.secrets_faults.inject(Fault.status(503), times=None)


def secrets_stall(emulator: Emulator) -> None:
    """The secrets API does not answer."""
    emulator.platform.secrets_faults.inject(Fault.stall(600), times=None)


def logs_down(emulator: Emulator) -> None:
    """The logs API fails while there is an error to tell."""
    emulator.platform.logs_faults.inject(Fault.stall(600), times=None)
    emulator.intake.faults.inject(Fault.status(401), times=None)


def login_stalls(emulator: Emulator) -> None:
    """Entra does not answer."""
    emulator.login.faults.inject(Fault.stall(600), times=None)


def nothing(_: Emulator) -> None:
    """Everything is well: the connector is idle."""


@pytest.mark.parametrize(
    "trouble",
    [
        nothing,
        stall_graph,
        stall_paging,
        throttle,
        intake_down,
        intake_stalls,
        no_secrets,
        secrets_stall,
        logs_down,
        login_stalls,
    ],
    ids=lambda trouble: trouble.__name__,
)
def test_sigterm_ends_it_within_five_seconds(
    emulator: Emulator, tenant: Tenant, start: Start, now: datetime, trouble
) -> None:
    """Idle, paging, throttled, waiting for the intake, the platform or Entra: it ends in time, with status 0."""
    fill(tenant, "interactiveUser", 1500, now - timedelta(hours=2), now, seed=1)
    trouble(emulator)
    connector = start()
    busy = {
        nothing: lambda: emulator.intake.count >= 1500,
        stall_paging: lambda: any(r.is_next_link for r in emulator.graph.requests),
        no_secrets: lambda: emulator.platform.secrets_faults.used,
        secrets_stall: lambda: emulator.platform.secrets_faults.used,
        login_stalls: lambda: emulator.login.faults.used,
        intake_down: lambda: emulator.intake.faults.used > 1,
        intake_stalls: lambda: emulator.intake.faults.used,
        logs_down: lambda: emulator.intake.faults.used,
    }.get(trouble, lambda: emulator.graph.faults.used)
    until(busy)
    time.sleep(0.5)
    began = time.monotonic()
    assert connector.stop() == 0
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("arguments", "module", "sentence"),
    [
        ({"frequency": 0}, {}, "frequency is 0. It must be a whole number of seconds from 1 to 3600."),
        ({"start_time": 800}, {}, "start_time is 800. It must be a whole number of hours from 0 to 720."),
        ({"sign_in_types": []}, {}, "sign_in_types is empty. It must be at least one of interactiveUser, "),
        ({"sign_in_types": ["robots"]}, {}, "sign_in_types is 'robots'. It must be at least one of interactiveUser, "),
        ({"intake_key": " "}, {}, "intake_key is empty. It must be the key of the Sekoia intake."),
        ({}, {"tenant_id": " "}, "tenant_id is empty. It must be the Directory (tenant) ID"),
        ({}, {"client_id": ""}, "client_id is empty. It must be the Application (client) ID"),
        ({}, {"cloud": "mars"}, "cloud is 'mars'. It must be one of global, us_gov, us_gov_dod, china."),
        ({}, {"client_secret": ""}, "client_secret is empty. Enter the Value of a client secret"),
    ],
)
def test_a_bad_configuration_is_said_once_in_one_sentence(
    emulator: Emulator, start: Start, arguments, module, sentence
) -> None:
    """One critical line names the field and what is allowed; no traceback, no hot loop, and SIGTERM ends it."""
    connector = start(**arguments, module=module)
    until(lambda: emulator.platform.messages("critical"), 30)
    time.sleep(1)
    assert len(emulator.platform.logs) == 1
    assert emulator.platform.messages("critical")[0].startswith(sentence)
    assert "Traceback" not in connector.output.read_text()
    assert not emulator.graph.requests
    assert connector.stop() == 0
