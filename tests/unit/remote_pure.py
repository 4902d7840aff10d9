"""The pure modules of remote access, without the integration's __init__, which needs Home Assistant's setup."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = Path(__file__).resolve().parents[2] / "custom_components" / "igrs_lock"
_NAME = "igrs_lock_link"
for _package, _path in ((_NAME, _FOLDER), (f"{_NAME}.remote", _FOLDER / "remote")):
    sys.modules[_package] = ModuleType(_package)
    sys.modules[_package].__path__ = [str(_path)]


def pure(name: str) -> Any:
    """Import a module of `remote`."""
    return importlib.import_module(f"{_NAME}.remote.{name}")
