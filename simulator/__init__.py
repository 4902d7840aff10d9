"""A virtual radio with ILP1 locks on it (development and tests only).

`python -m simulator` runs it as a process of its own; see README.md. The locks run the real lock
core, `firmware/bsld`, which is put on the import path here.
"""

import sys
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"

if str(FIRMWARE) not in sys.path:
    sys.path.insert(0, str(FIRMWARE))
