"""The unit tests import the client as `ilp` and the lock as `bsld`, without Home Assistant."""

import sys
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).resolve().parents[2]

# Behind the standard library's places: a platform may be named like one of its modules.
for folder in ("custom_components/igrs_lock", "firmware", "tests/vectors"):
    sys.path.append(str(ROOT / folder))

# No time limits: they fail on slow machines and prove nothing.
settings.register_profile("project", deadline=None, print_blob=True)
settings.load_profile("project")
