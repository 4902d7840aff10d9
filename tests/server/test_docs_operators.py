"""docs/ras-operators.md says what is so: settings, verbs, exit statuses, numbers, ports."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
from igrs_ras import control
from igrs_ras.accounts import passwords
from igrs_ras.api.address import SUPERVISOR, SUPERVISOR_NETWORK
from igrs_ras.cli import VARIABLE, parser
from igrs_ras.metrics import Metrics
from igrs_ras.settings import PREFIX, Settings
from igrs_ras.storage.migrate import COPIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from igrs_ras.ras import Ras

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs/ras-operators.md").read_text("utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the first table below a heading of its page."""
    below = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in below.splitlines() if line.startswith("|")]
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines[2:]]


def test_the_table_of_settings_is_that_of_the_code() -> None:
    documented = {name.strip("`"): default.strip("`") for name, default, *_ in table("Settings")}
    real = {}
    for field in msgspec.structs.fields(Settings):
        default = field.default if field.default is not msgspec.NODEFAULT else []
        text = str(default)
        real[field.encode_name] = (
            "" if default in ("", []) else text.lower() if isinstance(default, bool) else text
        )
    assert documented == real
    assert f"`{PREFIX}`" in TEXT


def leaves(
    top: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All verbs of the command with their parsers."""
    groups = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield path, top
    for group in groups:
        for name, below in group.choices.items():
            yield from leaves(below, f"{path} {name}".strip())


def test_the_table_of_verbs_is_that_of_the_command() -> None:
    verbs = dict(leaves(parser()))
    documented = {}
    for usage, text in table("The command"):
        words = re.findall(r"^[a-z-]+(?: [a-z-]+)?(?=[ `])", usage.strip("`") + "`")
        verb = next(verb for verb in (words[0], words[0].split(" ")[0]) if verb in verbs)
        documented[verb] = f"{usage} {text}"
    assert documented.keys() == verbs.keys()
    for verb, below in verbs.items():
        options = {
            option
            for action in below._actions
            for option in action.option_strings
            if option.startswith("--") and option not in ("--help", "--json")
        }
        assert options == set(re.findall(r"--[a-z-]+", documented[verb])) | (
            # Said for verify where files are: a backup's passphrase.
            {"--passphrase-file"} if verb == "audit verify" else set()
        ), verb


def test_every_call_in_the_examples_is_one_that_the_command_takes() -> None:
    code = re.findall(r"`([^`\n]*)`", TEXT) + [
        line
        for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
        for line in block.splitlines()
    ]
    calls = [
        re.sub(r"\s+#.*", "", line.partition(start)[2])
        for line in code
        for start in ("igrs-ras ", "-m igrs_ras ")
        if start in line
    ]
    assert len(calls) > 15
    for call in calls:
        words = shlex.split(call)
        match words:
            case ["user", "delete" | "password-reset" | "end-sessions"]:
                words.append("ID")
        parser().parse_args(words)


def test_exit_statuses_are_those_of_the_command() -> None:
    said = TEXT.partition("Exit status: ")[2].partition(". ")[0]
    assert [int(number) for number in re.findall(r"\d+", said)] == [
        0,
        control.USAGE,
        control.REFUSED,
        control.NOT_READY,
        control.AUDIT_BROKEN,
    ]
    assert f"`{VARIABLE}`" in TEXT


def test_the_numbers_are_those_that_prometheus_gets() -> None:
    documented = set(re.findall(r"^\| `(igrs_ras_[a-z_]+)` \|", TEXT, re.MULTILINE))
    metrics = Metrics(cast("Ras", None))  # of which nothing is read here
    real = {
        family.name for family in metrics.registry.collect() if family.name.startswith("igrs_ras_")
    }
    assert documented == real
    used = {name.removesuffix("_total") for name in re.findall(r"igrs_ras_[a-z_]+", TEXT)}
    assert used <= real


def test_other_figures_are_those_of_the_code() -> None:
    assert f"{passwords.WAITING} at most" in TEXT
    assert passwords.RUNNING == 2
    assert COPIES == 3
    settings = Settings()
    assert f"The default limit is {settings.sockets:,} connections" in TEXT


def test_what_the_log_says_is_what_the_page_explains() -> None:
    said = " ".join(path.read_text("utf-8") for path in (ROOT / "addon/igrs_ras").rglob("*.py"))
    said = re.sub(r"\"\s*\"", "", re.sub(r"\s+", " ", said))
    for quoted in (
        "listen is reachable from other machines without TLS",
        "another igrs-ras uses this data folder",
        "another igrs-ras uses this database",
        "a newer igrs-ras made this database",
        "the database does not work",
        "the database is not the one that was used last",
        "a gateway's key is used twice",
        "it is no longer signed",
    ):
        assert quoted in said, quoted
        assert quoted.removeprefix("another igrs-ras uses ") in TEXT, quoted


def test_the_addresses_of_the_supervisor_are_as_home_assistant_has_them() -> None:
    assert SUPERVISOR == "172.30.32.2"
    assert str(SUPERVISOR_NETWORK) == "172.30.32.0/23"
