"""The app's image: Dockerfile, locked requirements, AppArmor profile."""

from __future__ import annotations

import json
import os
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Final

from . import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DOCKERFILE: Final = "addon/Dockerfile"
REQUIREMENTS: Final = "addon/requirements.txt"
PROFILE: Final = "addon/apparmor.txt"

_PINNED: Final = re.compile(
    r"[^$:@]+:(?P<python>\d+\.\d+)-[^@]*-\d{4}\.\d{2}\.\d+(?:@sha256:[0-9a-f]{64})?"
)
_REQUIREMENT: Final = re.compile(
    r"(?P<name>[a-z0-9][a-z0-9.-]*)==\S+(?P<hashes>(?: --hash=sha256:[0-9a-f]{64})*)"
)
_PIP: Final = (
    "--require-hashes",
    "--no-cache-dir",
    "--only-binary :all:",
    'PIP_EXTRA_INDEX_URL=""',
)
_WRITABLE: Final = ("/data/", "/tmp/", "/dev/")  # noqa: S108  a rule of the profile


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: its word, its flags, and the rest."""

    word: str
    flags: dict[str, str]
    text: str

    def listed(self) -> list[str]:
        """Return the arguments of the exec form; empty if it is not that form."""
        try:
            read = json.loads(self.text[self.text.index("[") :])
        except ValueError:
            return []
        return read if isinstance(read, list) else []


def instructions(text: str) -> list[Instruction]:
    """Read a Dockerfile without here-documents."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    found = []
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, _, rest = line.partition(" ")
        flags = {}
        while match := re.match(r"\s*--([a-z-]+)=(\S+)\s+", rest):
            flags[match[1]] = match[2]
            rest = rest[match.end() :]
        found.append(Instruction(word.upper(), flags, rest.strip()))
    return found


def check(root: Path, config: dict[str, Any], ports: dict[str, int]) -> Iterator[Finding]:
    """Check the image's files. `ports` are those of the listeners, by name, as the start of the app has them."""
    found = instructions((root / DOCKERFILE).read_text("utf-8"))
    yield from _bases(found)
    yield from _copies(found, root / "addon")
    yield from _commands(found, root / "addon", ports)
    yield from _labels(found, config)
    yield from _requirements(root)
    yield from _profile((root / PROFILE).read_text("utf-8"), str(config.get("slug")), found)


def _finding(key: str, text: str) -> Finding:
    return Finding(DOCKERFILE, key, text)


def _bases(found: list[Instruction]) -> Iterator[Finding]:
    stages: set[str] = set()
    images = set()
    for one in found:
        if one.word != "FROM":
            continue
        image, *name = one.text.split(" AS ")
        if image not in stages:
            images.add(image)
            if not _PINNED.fullmatch(image):
                yield _finding(
                    "FROM", f"{image} can change: name the tag with its date, not through an ARG"
                )
        stages.update(name)
    if len(images) != 1:
        yield _finding("FROM", "the stages need one base: what is built in one runs in the other")


def _python(found: list[Instruction]) -> str:
    for one in found:
        if one.word == "FROM" and (pinned := _PINNED.fullmatch(one.text.split(" AS ")[0])):
            return f"python{pinned['python']}"
    return "python"


def _copies(found: list[Instruction], folder: Path) -> Iterator[Finding]:
    ignore = (folder / ".dockerignore").read_text("utf-8").split("\n")
    stages = {
        one.text.split(" AS ")[-1] for one in found if one.word == "FROM" and " AS " in one.text
    }
    for one in found:
        if one.word == "ADD":
            yield _finding("ADD", "takes what may change: use COPY")
        if one.word != "COPY":
            continue
        if "from" in one.flags:
            if one.flags["from"] not in stages:
                yield _finding("COPY", f"there is no stage {one.flags['from']}")
            continue
        *sources, target = one.text.split()
        for source in sources:
            if not (folder / source).exists():
                yield _finding("COPY", f"{source} does not exist")
            if _ignored(source, ignore):
                yield _finding("COPY", f"{source} is left out by .dockerignore")
        if "site-packages" in target and f"/{_python(found)}/" not in target:
            yield _finding("COPY", f"{target} is not where {_python(found)} looks")


def _ignored(source: str, rules: list[str]) -> bool:
    ignored = False
    for rule in filter(None, rules):
        if not rule.startswith("#") and fnmatch(source, rule.removeprefix("!")):
            ignored = not rule.startswith("!")
    return ignored


def _commands(found: list[Instruction], folder: Path, ports: dict[str, int]) -> Iterator[Finding]:
    words = {one.word: one for one in found}
    installs = [
        one.text
        for one in found
        if one.word == "RUN" and " install " in one.text and "pip" in one.text
    ]
    if not installs:
        yield _finding("RUN", "installs no requirements with pip")
    for text in installs:
        for flag in _PIP:
            if flag not in text:
                yield _finding("RUN", f"pip needs {flag}")
    program = words["ENTRYPOINT"].listed()[:1] if "ENTRYPOINT" in words else []
    if not program:
        yield _finding(
            "ENTRYPOINT",
            "must be a list: a shell before the server keeps the signal to stop from it",
        )
    else:
        file = folder / "rootfs" / program[0].lstrip("/")
        if not file.is_file() or not os.access(file, os.X_OK):
            yield _finding("ENTRYPOINT", f"{program[0]} is no executable file in rootfs")
    asked = " ".join(words["HEALTHCHECK"].listed()) if "HEALTHCHECK" in words else ""
    if f":{ports['METRICS']}/healthz" not in asked:
        yield _finding(
            "HEALTHCHECK", f"must ask /healthz at {ports['METRICS']}, which is open in any case"
        )
    if words.get("EXPOSE", Instruction("", {}, "")).text != str(ports["PUBLIC"]):
        yield _finding("EXPOSE", f"must be {ports['PUBLIC']}, the public port")


def _labels(found: list[Instruction], config: dict[str, Any]) -> Iterator[Finding]:
    labels = {
        key: value
        for one in found
        if one.word == "LABEL"
        for key, _, value in (part.partition("=") for part in shlex.split(one.text))
    }
    wanted = {
        "io.hass.type": "app",
        "io.hass.arch": "|".join(config.get("arch", ())),
        "io.hass.version": config.get("version"),
        "io.hass.name": config.get("name"),
        "io.hass.description": config.get("description"),
    }
    for key, value in wanted.items():
        if labels.get(key) != value:
            yield _finding(f"LABEL {key}", f"must be {value}, as in config.yaml")


def _requirements(root: Path) -> Iterator[Finding]:
    locked = set()
    text = re.sub(r"\s*\\\n\s*", " ", (root / REQUIREMENTS).read_text("utf-8"))
    for line in filter(None, (line.partition(" #")[0].strip() for line in text.splitlines())):
        if line.startswith("#"):
            continue
        found = _REQUIREMENT.fullmatch(line)
        if not found or not found["hashes"]:
            yield Finding(
                REQUIREMENTS, line.split()[0], "must be name==version with hashes and nothing else"
            )
        else:
            locked.add(found["name"])
    for line in (root / "addon" / "requirements.in").read_text("utf-8").splitlines():
        wanted = re.match(r"[A-Za-z0-9._-]+", line)
        if wanted and re.sub(r"[-_.]+", "-", wanted[0]).lower() not in locked:
            yield Finding(REQUIREMENTS, wanted[0], "is not locked: run scripts/requirements")


def _profile(text: str, slug: str, found: list[Instruction]) -> Iterator[Finding]:
    names = re.findall(r"^profile ([^ ]+)", text, re.MULTILINE)
    if names != [slug]:
        yield Finding(PROFILE, "profile", f"the file must begin one profile, named {slug}")
    if "flags=(attach_disconnected,mediate_deleted)" not in text:
        yield Finding(
            PROFILE, "profile", "needs attach_disconnected: a container's files have no full path"
        )
    rules = [line.partition("#")[0].strip() for line in text.splitlines()]
    if sum(rule.count("{") - rule.count("}") for rule in rules):
        yield Finding(PROFILE, "", "brackets do not match")
    for rule in filter(None, rules):
        path, _, rights = rule.removesuffix(",").rpartition(" ")
        if re.match(
            r"(capability|file|mount|ptrace|change_profile|network)\b *,|capability|mount|ptrace|file ",
            rule,
        ):
            yield Finding(PROFILE, rule, "the server needs no such right")
        elif path.startswith(("/", "@")) and re.fullmatch(r"[a-zA-Z]+", rights):
            if re.search(r"[UuPpCc]x", rights):
                yield Finding(PROFILE, rule, "a program must stay in this profile: ix")
            if re.search(r"[wal]", rights) and not path.startswith(_WRITABLE):
                yield Finding(PROFILE, rule, "nothing there may be written")
    program = next(
        (one.listed()[0] for one in found if one.word == "ENTRYPOINT" and one.listed()), ""
    )
    for needed in (program, f"/usr/local/bin/{_python(found)}"):
        if not any(rule.startswith(f"{needed} ") and "ix" in rule for rule in rules):
            yield Finding(PROFILE, needed, "must be allowed to run")
