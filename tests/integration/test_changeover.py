"""From a secret to a certificate to a renewed certificate, while the tenant goes on: nothing is lost or repeated."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.emulator.certificates import Pair, make_pair, spare_key
from tests.emulator.tenant import AUDITS
from tests.integration.rig import Rig, Run

# Whatever time it is in the test.
START = datetime(2020, 1, 1, tzinfo=UTC)
OLD = make_pair(start=START, days=36_500)
NEW = make_pair(spare_key(1), start=START, days=36_500, name="renewed")


def asked_with(rig: Rig, since: int) -> set[str]:
    """What Entra was shown since its so many-th request."""
    forms = [request.body for request in rig.emulator.login.requests[since:] if "grant_type" in request.body]
    assert forms
    return {name for form in forms for name in ("client_secret", "client_assertion") if name in form}


async def goes_on(rig: Rig, run: Run, seed: int) -> None:
    """With a new token: everything that is new arrives, once, and everything older stays as it was."""
    rig.fill("interactiveUser", count=30, hours=0.02, seed=seed)
    rig.emulator.login.revoke()
    await run.complete("interactiveUser")


async def test_the_changeover_loses_and_repeats_nothing(rig: Rig) -> None:
    """A restart at each step, as when the account is saved; at the last, nothing of before is left."""
    tenant, login = rig.emulator.tenant, rig.emulator.login
    rig.fill("interactiveUser", count=60)
    async with rig.collecting("interactiveUser") as run:
        await run.complete("interactiveUser")
        assert asked_with(rig, 0) == {"client_secret"}

    # Both are in the form; the public half is on the app registration; then the secret is deleted there.
    tenant.certificates = [OLD.certificate]
    rig.emulator.secrets = {"client_secret": tenant.client_secret, "client_certificate": OLD.pem}
    rig.fill("interactiveUser", count=30, hours=0.05, seed=1)
    since = len(login.requests)
    async with rig.collecting("interactiveUser") as run:
        await run.until(lambda: run.said("the certificate is used, and the secret is not", level="info"), "the note")
        await run.complete("interactiveUser")
        tenant.client_secret = "emu8Q~another-one"
        await goes_on(rig, run, 2)
        assert asked_with(rig, since) == {"client_assertion"}

    # The renewed one is uploaded beside the old one, pasted, and the old one is deleted.
    tenant.certificates = [OLD.certificate, NEW.certificate]
    rig.emulator.secrets = {"client_certificate": NEW.pem}
    rig.fill("interactiveUser", count=30, hours=0.05, seed=3)
    async with rig.collecting("interactiveUser") as run:
        await run.complete("interactiveUser")
        tenant.certificates = [NEW.certificate]
        await goes_on(rig, run, 4)
        assert not run.said("the certificate is used, and the secret is not")


@pytest.mark.parametrize(("left_days", "says"), [(29.5, "29.5 days"), (2.9, "2.9 days"), (0.5, "0.5 days")])
async def test_a_certificate_that_ends_is_told(rig: Rig, left_days: float, says: str) -> None:
    """From itself: no permission is needed; named by its thumbprint."""
    end = rig.clock.now() + timedelta(days=left_days)
    pair: Pair = make_pair(start=end - timedelta(days=20_000), days=20_000)
    tenant = rig.emulator.tenant
    tenant.certificates, tenant.roles = [pair.certificate], ["AuditLog.Read.All"]
    rig.emulator.secrets = {"client_certificate": pair.pem}
    rig.fill(AUDITS, count=3)
    async with rig.collecting() as run:
        await run.until(lambda: run.said("ends in", level="warning"), "the warning")
        (warning,) = run.said("ends in", level="warning")
    assert warning.startswith(f"The certificate of thumbprint {pair.thumbprint} ends in {says}")
    assert "upload its public half" in warning
