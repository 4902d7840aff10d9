"""Radio tests run Bumble on the real clock, or in virtual time (see virtual_time.py).

Home Assistant's test plugin is active in this process: it blocks sockets unless a test asks for
the fixture `socket_enabled`, and its `freezer` must not be used: Bumble would wait for ever.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

for folder in (ROOT, ROOT / "firmware", ROOT / "tests" / "radio"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import custom_components  # noqa: E402 - found on the path set above

# Home Assistant loads custom integrations from here: the simulator's adapter is one.
custom_components.__path__.append(str(ROOT / "simulator"))
