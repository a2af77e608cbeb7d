"""For every test: property tests try the same examples in continuous integration, and new ones at a developer's."""

import os
import shutil
from collections import Counter

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Alert rules are evaluated by the real Prometheus, which a user's machine need not have (Debian's package prometheus).
collect_ignore = [] if shutil.which("promtool") and shutil.which("prometheus") else ["integration/test_alerts.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Deals the tests of real processes, which wait more than they work, among the others: no core is ever idle."""
    waiting = [item for item in items if "end_to_end" in item.path.parts]
    others = [item for item in items if "end_to_end" not in item.path.parts]
    if not waiting or not others:
        return
    seen: Counter[str] = Counter()

    def turn(item: pytest.Item) -> int:
        test, *_ = item.nodeid.split("[")
        seen[test] += 1
        return seen[test]

    # One of each test before the second of any: slow ones of one kind do not follow each other in one worker.
    waiting.sort(key=turn)
    items[:] = others
    apart = len(others) // len(waiting) + 1
    for place, item in enumerate(waiting):
        items.insert(place * apart, item)
