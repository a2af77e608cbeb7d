"""The records of tests/records, as Graph answers them: what is pushed says the same, member for member."""

import re
from datetime import timedelta

import pytest

from tests import records
from tests.emulator.verdict import canonical
from tests.integration.rig import Rig

_TIME = re.compile(rb'"(createdDateTime|activityDateTime)":"[^"]*"')


@pytest.mark.parametrize(
    ("kind", "cloud", "version"),
    [
        ("interactive_v1", "global", "v1.0"),
        ("interactive_beta", "us_gov", "beta"),
        ("non_interactive", "global", "beta"),
        ("service_principal", "global", "beta"),
        ("managed_identity", "global", "beta"),
        ("directory_audits", "global", "v1.0"),
        ("directory_audits", "china", "v1.0"),
    ],
)
@pytest.mark.parametrize("dated", ["now", "then"])
async def test_sample_is_delivered_as_it_is(rig: Rig, kind: str, cloud: str, version: str, dated: str) -> None:
    """Every sample reaches the intake equal, once, whether it states a time of the window or its own of long ago."""
    stream = records.STREAMS[kind]
    samples = records.texts(kind)
    for number, sample in enumerate(samples):
        created = rig.clock.now() - timedelta(hours=1, seconds=-number)
        if dated == "now":
            samples[number] = _TIME.sub(rb'"\1":"%s.1234567Z"' % f"{created:%Y-%m-%dT%H:%M:%S}".encode(), sample, 1)
        rig.emulator.tenant.add(stream, samples[number], created=created)
    types = () if stream == "directoryAudits" else (stream,)
    async with rig.collecting(*types, cloud=cloud) as run:
        await run.complete()
        assert run.complaints() == []
    assert sorted(map(canonical, rig.emulator.intake.texts())) == sorted(map(canonical, samples))
    assert {request.version for request in rig.graph_requests if request.stream} == {version}
