"""Puts the integration's folder on the path, so that `ilp` is found without Home Assistant.

Behind the standard library's places: a platform of the integration may be named like one of its
modules (`select`).
"""

import sys
from pathlib import Path

INTEGRATION = Path(__file__).resolve().parents[2] / "custom_components" / "igrs_lock"
sys.path.append(str(INTEGRATION))
