"""For every test: property tests try the same examples in continuous integration, and new ones at a developer's."""

import os
import shutil

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

# Alert rules are evaluated by the real Prometheus, which a user's machine need not have (Debian's package prometheus).
collect_ignore = [] if shutil.which("promtool") and shutil.which("prometheus") else ["integration/test_alerts.py"]
