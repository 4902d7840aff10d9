"""Other Home Assistant versions than the locked one, each in a Python environment of its own beside the checkout."""

import asyncio
import hashlib
import os
import re
import shutil
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import DemoError
from .ha_config import ROOT
from .progress import say

if TYPE_CHECKING:
    from collections.abc import Sequence

_WALKER = ROOT / "scripts" / "ha_requirements.py"
# What the virtual adapter imports and Home Assistant does not bring; the versions are those of the lock file.
_ADAPTER_PACKAGES = ("bumble",)
_RECIPE = hashlib.sha256(_WALKER.read_bytes() + Path(__file__).read_bytes()).hexdigest()
"""An environment made by another recipe is made anew."""
_MISSING = re.compile(r"there is no version of ([\w.-]+)==([\w.]+)")


def locked_version() -> str:
    """The version that the lock file pins, which is the one this Python has."""
    return installed_version("homeassistant")


async def python_with(wanted: str) -> tuple[str, Path]:
    """A Python that has the Home Assistant `wanted` (a version, or ``latest``): the version and the interpreter.

    The locked version is there already; any other is installed once, under that version's own constraints, and kept.
    Raises DemoError when it cannot be had.
    """
    version = await _newest() if wanted == "latest" else wanted
    if not re.fullmatch(r"\d{4}\.\d{1,2}\.\d+(b\d+)?", version):
        raise DemoError(
            f"{version!r} is not a version of Home Assistant, such as 2026.11.0, or 'latest'"
        )
    if version == locked_version():
        return version, Path(sys.executable)
    folder = ROOT / f".venv-ha-{version}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if python.exists() and ready.exists() and ready.read_text() == _RECIPE:
        return version, python
    say(f"installing Home Assistant {version} into {folder.name}")
    await _run(_uv(), "venv", "--quiet", "--clear", "--python", sys.executable, folder)
    await _install(python, [f"homeassistant=={version}"])
    package = next(folder.glob("lib/python3*/site-packages/homeassistant"))
    (folder / "integrations.txt").write_text(await _run(python, _WALKER))
    await _install(
        python,
        [
            f"homeassistant=={version}",
            *(f"{name}=={installed_version(name)}" for name in _ADAPTER_PACKAGES),
            f"--requirements={folder / 'integrations.txt'}",
            f"--constraints={package / 'package_constraints.txt'}",
        ],
        folder / "overrides.txt",
    )
    ready.write_text(_RECIPE)
    return version, python


async def _install(python: Path, requirements: list[str], overrides: Path | None = None) -> None:
    """Install with uv.

    A registry may lack a version that a fresh Home Assistant pins. With `overrides` (a file for them) the next older one
    is taken then, which is said: they belong to integrations that the demo only needs to be importable.
    """
    command = [_uv(), "pip", "install", "--quiet", "--python", str(python), *requirements]
    relaxed: list[str] = []
    while True:
        try:
            await _run(*command, *([f"--overrides={overrides}"] if relaxed else []))
        except DemoError as err:
            missing = _MISSING.search(str(err))
            if overrides is None or missing is None or f"{missing[1]}<={missing[2]}" in relaxed:
                raise
            say(f"the registry has no {missing[1]} {missing[2]}: taking an older one")
            relaxed.append(f"{missing[1]}<={missing[2]}")
            _write_lines(overrides, relaxed)
        else:
            return


def _write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


async def _newest() -> str:
    """The newest release in the registry that runs on this Python."""
    compiled = await _run(
        _uv(),
        *("pip", "compile", "--quiet", "--no-deps", "--no-header", "--no-annotate"),
        *("--refresh-package", "homeassistant", "--python", sys.executable, "-"),
        given="homeassistant\n",
    )
    return compiled.strip().removeprefix("homeassistant==")


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv")  # Home Assistant itself requires it
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise DemoError("uv is needed to install another Home Assistant: run scripts/setup")
    return found


async def _run(*command: str | Path, given: str = "") -> str:
    """Run a command with `given` as its input, and return its output. Raises DemoError with what it said."""
    words: Sequence[str] = [str(word) for word in command]
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        cwd=ROOT,
    )
    output, complaint = await process.communicate(given.encode())
    if process.returncode != 0:
        raise DemoError(
            f"{' '.join(words[:3])} failed:\n{complaint.decode(errors='replace').strip()}"
        )
    return output.decode()
