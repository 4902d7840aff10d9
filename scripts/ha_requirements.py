#!/usr/bin/env python3
"""Print the Python requirements that a set of Home Assistant integrations needs, sorted, one per line.

Home Assistant installs the requirements of its integrations while it runs. The demo and the end-to-end tests start it
with `--skip-pip`, so that nothing is downloaded or changed at run time; their requirements are locked beforehand, and
this walker finds them in the manifests of the Home Assistant that is installed (or unpacked in a folder):

    ha_requirements.py                                   what the demo needs, of the installed Home Assistant
    ha_requirements.py --home-assistant FOLDER           the same, of the package folder given
    ha_requirements.py history bluetooth_adapters+after  of these integrations only; `+after` follows the integration's
                                                         `after_dependencies` as well (one level, as bootstrap does)

A requirement without an exact version gets the one of Home Assistant's own `package_constraints.txt`, if that has one.
Only the standard library is used and Home Assistant is never imported: its start-up modules import integrations whose
requirements are the very thing asked for.
"""

import argparse
import ast
import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any

DEMO = (
    "default",  # everything that bootstrap always sets up (DEFAULT_INTEGRATIONS)
    "frontend",
    "recorder",
    "history",
    "logbook",
    "bluetooth_adapters+after",
    "hassio",  # imported by bootstrap even where there is no supervisor
)

LEFT_OUT = {
    "pymicro-vad": "no wheel for CPython 3.14: it would need a compiler and headers on every machine",
    "pyspeex-noise": "no wheel for CPython 3.14: it would need a compiler and headers on every machine",
}
"""Requirements not printed, by canonical name, with the reason. The demo puts stand-ins in their place."""

_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^\]]*\])?(?P<rest>.*)$")


class WalkError(Exception):
    """The Home Assistant package is not there or not as expected."""


def canonical(name: str) -> str:
    """The name of a distribution as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_folder(given: Path | None) -> Path:
    """The folder of the `homeassistant` package: the one given (or inside it), else the installed one."""
    if given is not None:
        folder = given / "homeassistant" if (given / "homeassistant").is_dir() else given
    else:
        spec = importlib.util.find_spec("homeassistant")
        if spec is None or spec.origin is None:
            raise WalkError("Home Assistant is not installed for this Python")
        folder = Path(spec.origin).parent
    if not (folder / "bootstrap.py").is_file():
        raise WalkError(f"{folder} is not the homeassistant package")
    return folder


def version(folder: Path) -> str:
    """Home Assistant's version, such as ``2026.10.4``."""
    values = {
        statement.target.id: ast.literal_eval(statement.value)
        for statement in ast.parse((folder / "const.py").read_text("utf-8")).body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and statement.target.id in ("MAJOR_VERSION", "MINOR_VERSION", "PATCH_VERSION")
        and statement.value is not None
    }
    try:
        return "{MAJOR_VERSION}.{MINOR_VERSION}.{PATCH_VERSION}".format_map(values)
    except KeyError as err:
        raise WalkError(f"{err.args[0]} not found in {folder / 'const.py'}") from err


def default_integrations(folder: Path) -> set[str]:
    """What bootstrap sets up in every installation.

    The discovery and debugging integrations that bootstrap also names are left out: those sets only say in which order
    things start, not that they start.
    """
    found: set[str] = set()
    names = ("CORE_INTEGRATIONS", "DEFAULT_INTEGRATIONS")
    for statement in ast.parse((folder / "bootstrap.py").read_text("utf-8")).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.value, ast.Set):
            continue
        if any(isinstance(target, ast.Name) and target.id in names for target in statement.targets):
            # Base platforms come by a starred expression over another module's set; they are added below.
            found |= {
                element.value
                for element in statement.value.elts
                if isinstance(element, ast.Constant) and isinstance(element.value, str)
            }
    if not found:
        raise WalkError(f"DEFAULT_INTEGRATIONS not found in {folder / 'bootstrap.py'}")
    return found | base_platforms(folder)


def base_platforms(folder: Path) -> set[str]:
    """The domains of all entity platforms; bootstrap sets up every one of them but two, which cost nothing."""
    path = folder / "generated" / "entity_platforms.py"
    for statement in ast.parse(path.read_text("utf-8")).body:
        if isinstance(statement, ast.ClassDef):
            return {
                item.value.value
                for item in statement.body
                if isinstance(item, ast.Assign)
                and isinstance(item.value, ast.Constant)
                and isinstance(item.value.value, str)
            }
    raise WalkError(f"no platforms found in {path}")


def manifest(folder: Path, domain: str) -> dict[str, Any]:
    """The manifest of one integration."""
    path = folder / "components" / domain / "manifest.json"
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise WalkError(f"Home Assistant {version(folder)} has no integration {domain!r}") from None
    if not isinstance(loaded, dict):
        raise WalkError(f"{path} is not a manifest")
    return loaded


def integrations(folder: Path, wanted: tuple[str, ...]) -> set[str]:
    """The domains wanted and everything they depend on, directly or through others."""
    todo: list[str] = []
    for word in wanted:
        domain, _, after = word.partition("+")
        if domain == "default":
            todo += default_integrations(folder)
            continue
        todo.append(domain)
        if after:
            todo += manifest(folder, domain).get("after_dependencies", [])
    done: set[str] = set()
    while todo:
        domain = todo.pop()
        if domain not in done:
            done.add(domain)
            todo += manifest(folder, domain).get("dependencies", [])
    return done


def constraints(folder: Path) -> dict[str, str]:
    """Exact versions of `package_constraints.txt` by canonical name, such as ``{"aiohttp": "==3.14.5"}``."""
    pins: dict[str, str] = {}
    for line in (folder / "package_constraints.txt").read_text("utf-8").splitlines():
        match = _REQUIREMENT.match(line.partition("#")[0].strip())
        if match and match["rest"].startswith("=="):
            pins[canonical(match["name"])] = match["rest"]
    return pins


def requirements(folder: Path, wanted: tuple[str, ...] = DEMO) -> list[str]:
    """The requirement lines of the integrations wanted, sorted, without those left out.

    Raises WalkError when an integration is unknown or the package is not as expected.
    """
    pins = constraints(folder)
    lines: set[str] = set()
    for domain in integrations(folder, wanted):
        for requirement in manifest(folder, domain).get("requirements", []):
            match = _REQUIREMENT.match(requirement)
            if match is None:
                raise WalkError(
                    f"{domain} has the requirement {requirement!r}, which is not understood"
                )
            name = canonical(match["name"])
            if name not in LEFT_OUT:
                rest = match["rest"] or pins.get(name, "")
                lines.add(f"{name}{match['extras'] or ''}{rest}")
    return sorted(lines)


def main() -> int:
    """Command line: prints the lines, or one readable error."""
    parser = argparse.ArgumentParser(
        description="Requirements of a set of Home Assistant integrations"
    )
    parser.add_argument("integrations", nargs="*", help="domains (default: those of the demo)")
    parser.add_argument(
        "--home-assistant",
        type=Path,
        metavar="FOLDER",
        help="package folder, if not the installed one",
    )
    arguments = parser.parse_args()
    try:
        folder = package_folder(arguments.home_assistant)
        lines = requirements(folder, tuple(arguments.integrations) or DEMO)
        print(
            f"# Requirements of Home Assistant {version(folder)}'s own integrations, by scripts/ha_requirements.py."
        )
    except WalkError as err:
        print(f"ha_requirements: {err}", file=sys.stderr)
        return 1
    for name, reason in sorted(LEFT_OUT.items()):
        print(f"# Left out: {name} ({reason})")
    print(*lines, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
