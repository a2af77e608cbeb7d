"""Records of real tenants, as Graph answered them: what is pushed says the same, member for member."""

from datetime import timedelta
from pathlib import Path

import orjson
import pytest

from tests.integration.rig import Rig

FOLDER = Path(__file__).parents[2].parent / "shared" / "samples"

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the samples' folder is absent: {FOLDER}")


@pytest.mark.parametrize(
    ("name", "stream", "cloud", "version"),
    [
        ("signins_v1.json", "interactiveUser", "global", "v1.0"),
        ("signins_beta.json", "interactiveUser", "us_gov", "beta"),
        ("signins_beta.json", "nonInteractiveUser", "global", "beta"),
        ("directory_audits.json", "directoryAudits", "global", "v1.0"),
        ("directory_audits.json", "directoryAudits", "china", "v1.0"),
    ],
)
@pytest.mark.parametrize("dated", ["now", "then"])
async def test_sample_is_delivered_as_it_is(
    rig: Rig, name: str, stream: str, cloud: str, version: str, dated: str
) -> None:
    """Every sample reaches the intake equal, once, whether it states a time of the window or its own of long ago."""
    member = "activityDateTime" if stream == "directoryAudits" else "createdDateTime"
    samples = orjson.loads((FOLDER / name).read_bytes())["value"]
    assert samples
    for number, sample in enumerate(samples):
        created = rig.clock.now() - timedelta(hours=1, seconds=-number)
        if dated == "now":
            sample[member] = f"{created:%Y-%m-%dT%H:%M:%S}.1234567Z"
        rig.emulator.tenant.add(stream, sample, created=created)
    types = () if stream == "directoryAudits" else (stream,)
    async with rig.collecting(*types, cloud=cloud) as run:
        await run.complete()
        assert run.complaints() == []
    texts = [orjson.loads(text) for text in rig.emulator.intake.texts()]
    assert sorted(texts, key=lambda record: record["id"]) == sorted(samples, key=lambda record: record["id"])
    assert {request.version for request in rig.graph_requests if request.stream} == {version}
