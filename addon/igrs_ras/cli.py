"""The command `igrs-ras`: reads arguments, lets the running server or this process do the verb, prints the outcome.

Exit status: 0 done, 2 usage or settings, 3 refused, 4 not ready or in use, 5 the audit is broken. Every error is one
line on standard error that says what to do next. What takes long to import is imported by the verb that needs it.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, override

from igrs_ras import __version__
from igrs_ras.control import AUDIT_BROKEN, USAGE, VerbError, ask

if TYPE_CHECKING:
    from igrs_ras.settings import Settings

VARIABLE = "IGRS_BACKUP_PASSPHRASE"  # may hold a passphrase


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    @override
    def error(self, message: str) -> NoReturn:
        raise VerbError(USAGE, f"{message} (see {self.prog} --help)")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs."""
    top = _Parser(
        prog="igrs-ras", description="The remote access server of IGRS Lock.", allow_abbrev=False
    )
    top.add_argument("--version", action="version", version=f"igrs-ras {__version__}")
    top.add_argument(
        "--config", type=Path, metavar="FILE",
        help="settings as TOML or JSON (or IGRS_RAS_CONFIG; IGRS_RAS_… variables go over it)",
    )  # fmt: skip
    top.add_argument("--json", action="store_true", help="print the outcome as JSON")
    groups = top.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)
    _leaf(groups, "serve", "run the server until SIGTERM")
    _leaf(groups, "migrate", "bring the database to this version's schema; serve does it too")
    _leaf(groups, "status", "tell how the server is")
    _users(_group(groups, "user", "people's accounts"))
    _sites(_group(groups, "site", "homes"))
    _gateways(_group(groups, "gateway", "homes' gateways"))
    _backups(groups)
    _audit(_group(groups, "audit", "the homes' audit"))
    config = _group(groups, "config", "the settings")
    _leaf(config, "check", "check settings, certificate and database", "config check")
    return top


def _leaf(within: Any, name: str, text: str, verb: str = "") -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = within.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    made.set_defaults(verb=verb or name)
    made.add_argument("--json", action="store_true", default=argparse.SUPPRESS)
    return made


def _group(within: Any, name: str, text: str) -> Any:
    made = within.add_parser(name, help=text, description=text, allow_abbrev=False)
    return made.add_subparsers(metavar="VERB", required=True, parser_class=_Parser)


def _users(user: Any) -> None:
    _leaf(user, "list", "list the users", "user list")
    for name, text in (
        ("show", "show a user with his sites and sessions"),
        ("password-reset", "make a one-time code for a new password"),
        ("end-sessions", "end all sessions of a user"),
        ("delete", "delete a user for good"),
    ):
        made = _leaf(user, name, text, f"user {name}")
        made.add_argument("user", metavar="ID|E-MAIL")
        if name == "delete":
            made.add_argument("--yes", action="store_true", help="do it")


def _sites(site: Any) -> None:
    _leaf(site, "list", "list the sites", "site list")
    _leaf(site, "show", "show a site", "site show").add_argument("site", metavar="ID")
    made = _leaf(site, "rename", "change what a site is called here", "site rename")
    made.add_argument("site", metavar="ID")
    made.add_argument("name", metavar="NAME")
    made = _leaf(site, "remove", "delete a site with its audit for good", "site remove")
    made.add_argument("site", metavar="ID")
    made.add_argument("--yes", action="store_true", help="do it")


def _gateways(gateway: Any) -> None:
    made = _leaf(gateway, "code", "make an enrolment code, good for one hour, once", "gateway code")
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("--new-site", metavar="NAME", help="for a home that is new here")
    which.add_argument(
        "--site", metavar="ID", help="for another gateway of a site; it replaces the present one"
    )
    made.add_argument(
        "--local", action="store_true", help="it works only on this machine's app network"
    )
    _leaf(gateway, "list", "list the gateways", "gateway list")
    _leaf(gateway, "revoke", "revoke a gateway for good", "gateway revoke").add_argument(
        "gateway", metavar="ID"
    )


def _backups(groups: Any) -> None:
    made = _leaf(groups, "backup", "write a backup; the server may run")
    made.add_argument("file", metavar="FILE", type=Path)
    made.add_argument("--replace", action="store_true", help="replace the file if it is there")
    _passphrase(made)
    made = _leaf(groups, "restore", "put a backup in the database's place; no server may run")
    made.add_argument("file", metavar="FILE", type=Path)
    made.add_argument(
        "--force", action="store_true", help="replace a database in use; it is kept beside"
    )
    _passphrase(made)


def _audit(audit: Any) -> None:
    made = _leaf(audit, "verify", "check that the audit is what was signed", "audit verify")
    made.add_argument("--site", metavar="ID")
    made.add_argument(
        "--head", metavar="INDEX:HASH", help="what the home's gateway knows of the site's chain"
    )
    made.add_argument("--file", metavar="FILE", type=Path, help="check a backup or a SQLite file")
    _passphrase(made)
    made = _leaf(audit, "show", "show a site's last entries", "audit show")
    made.add_argument("site", metavar="ID")
    made.add_argument("--last", metavar="N", type=_positive, default=50)


def _positive(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 100_000:
        raise argparse.ArgumentTypeError("must be a number from 1 to 100000")
    return int(text)


def _passphrase(made: argparse.ArgumentParser) -> None:
    made.add_argument(
        "--passphrase-file", metavar="FILE",
        help=f"the backup's passphrase, one line; - reads standard input (or {VARIABLE})",
    )  # fmt: skip


def _read_passphrase(given: str | None) -> str | None:
    if given is None:
        return os.environ.get(VARIABLE) or None
    try:
        text = sys.stdin.readline() if given == "-" else Path(given).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise VerbError(USAGE, f"the passphrase cannot be read from {given}") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or "\n" in text:
        raise VerbError(USAGE, "the passphrase must be one line that is not empty")
    return text


def _settings(file: Path | None) -> Settings:
    from igrs_ras.settings import SettingsError, load  # noqa: PLC0415

    try:
        return load(file)
    except SettingsError as error:
        raise VerbError(USAGE, f"settings: {error}") from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    os.umask(0o077)
    try:
        given = vars(parser().parse_args(arguments))
        verb, as_json = given.pop("verb"), given.pop("json")
        settings = _settings(given.pop("config"))
        data = _run(settings, verb, given)
    except VerbError as error:
        print(f"igrs-ras: {error.text}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130
    if data is None:
        return 0
    try:
        _show(data, as_json=as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, as in `| head`. What is left goes nowhere at the interpreter's end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return AUDIT_BROKEN if data.get("holds") is False else 0


def _show(data: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(data, indent=2, ensure_ascii=True))
    else:
        from igrs_ras.output import show  # noqa: PLC0415

        show(data)


def _run(settings: Settings, verb: str, given: dict[str, Any]) -> dict[str, Any] | None:
    if verb == "serve":
        from igrs_ras.offline import serve  # noqa: PLC0415

        serve(settings)
        return None
    if "passphrase_file" in given:
        given["passphrase"] = _read_passphrase(given.pop("passphrase_file"))
    if (file := given.get("file")) is not None:
        given["file"] = str(file.absolute())
    from_file = verb == "audit verify" and file is not None
    if verb in ("config check", "restore", "migrate") or from_file:
        from igrs_ras import offline  # noqa: PLC0415

        return offline.VERBS[verb](settings, given)
    if verb == "audit verify":
        given.pop("file")
        if given.pop("passphrase") is not None and os.environ.get(VARIABLE) is None:
            raise VerbError(USAGE, "--passphrase-file goes with --file")
    data = ask(settings.folder, verb, given)
    if data is not None:
        return data
    from igrs_ras import offline  # noqa: PLC0415

    return offline.alone(settings, verb, given)


def event_loop(work: Any) -> None:
    """Run a coroutine on uvloop where there is one: it needs an eighth of the memory per TLS connection."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        asyncio.run(work)
    else:
        uvloop.run(work)
