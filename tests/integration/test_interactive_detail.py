"""Interactive sign-ins in full detail come from beta; switching, and beta's refusals, lose and repeat nothing."""

from tests.emulator import Fault, GraphRequest
from tests.integration.rig import Rig

KIND = "interactiveUser"
REFUSED = Fault.status(400, body={"error": {"code": "BadRequest", "message": "Resource not found for the segment"}})


def versions(rig: Rig, since: int = 0) -> set[str | None]:
    """The versions that were asked for interactive sign-ins."""
    return {request.version for request in rig.graph_requests[since:] if request.stream == KIND}


async def test_standard_is_v1(rig: Rig) -> None:
    """Without a choice, beta is not asked."""
    rig.fill(KIND)
    async with rig.collecting(KIND) as run:
        await run.complete()
    assert versions(rig) == {"v1.0"}


async def test_full_is_beta(rig: Rig) -> None:
    """Full detail asks beta, and only beta."""
    rig.fill(KIND)
    async with rig.collecting(KIND, interactive_detail="full") as run:
        await run.complete()
    assert versions(rig) == {"beta"}


async def test_switching_goes_on_where_it_was(rig: Rig) -> None:
    """To full and back: what was delivered under the one is known under the other, what is new comes."""
    rig.fill(KIND)
    for seed, detail in enumerate(("standard", "full", "standard", "full"), start=1):
        asked = len(rig.graph_requests)
        async with rig.collecting(KIND, interactive_detail=detail) as run:
            await run.complete()
            rig.fill(KIND, count=5, hours=0.01, seed=seed)
            await run.complete()
        assert versions(rig, asked) == {"beta" if detail == "full" else "v1.0"}


async def test_v1_is_read_while_beta_refuses(rig: Rig) -> None:
    """It is told once, beta is asked again hourly, and when it answers it is told again; nothing lost or repeated."""
    faults = rig.emulator.graph.faults

    def is_beta(request: GraphRequest) -> bool:
        return request.stream == KIND and request.version == "beta"

    rig.fill(KIND)
    faults.inject(REFUSED, times=None, match=is_beta)
    async with rig.collecting(KIND, interactive_detail="full", frequency=300) as run:
        await run.until(lambda: run.said("v1.0 is read meanwhile"), "the line")
        await run.pass_time(5 * 3600)
        rig.fill(KIND, count=5, hours=0.01, seed=2)
        await run.pass_time(600)
        assert rig.emulator.intake.count == len(rig.held(KIND))
        assert len(run.said("v1.0 is read meanwhile", "interactive_detail")) == 1
        asked = sum(1 for request in rig.graph_requests if is_beta(request))
        assert asked < 20, "beta is asked about hourly while it refuses"
        faults.clear()
        await run.until(lambda: run.said("is read from beta again"), "the end")
        rig.fill(KIND, count=5, hours=0.01, seed=3)
        await run.pass_time(600)
        await run.complete()


async def test_one_bad_stretch_is_not_a_refusal_of_beta(rig: Rig) -> None:
    """What beta refuses in one place only is that place's trouble: beta stays."""
    rig.fill(KIND)
    rig.emulator.graph.faults.inject(REFUSED, times=1, match=lambda request: request.stream == KIND)
    async with rig.collecting(KIND, interactive_detail="full") as run:
        await run.complete()
        assert not run.said("meanwhile")
    assert versions(rig) == {"beta"}
