"""What both programs share: a state file that only its owner reads, and errors in one line."""

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import aiohttp
from peer import Closed, Denied

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path


REASONS = {
    1012: "it stops or starts again",
    1013: "it is not ready",
    4401: "not signed in, or the session ended",
    4403: "revoked",
    4409: "somebody else uses the same key",
}


class ProgramError(Exception):
    """Something that a person has to know. The text is one line."""


def read_state(file: Path) -> dict[str, Any]:
    """Return what was stored. Raises ProgramError."""
    try:
        found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ProgramError(f"there is no {file} yet: see --help for where to begin") from error
    except (OSError, ValueError) as error:
        raise ProgramError(f"{file} cannot be read ({type(error).__name__})") from error
    return found


def write_state(file: Path, state: dict[str, Any]) -> None:
    """Replace the file at once and for good; mode 0600, since it holds keys."""
    part = file.with_name(f".{file.name}.part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        json.dump(state, opened, indent=1)
        opened.flush()
        os.fsync(handle)
    part.replace(file)


def explain(error: BaseException) -> str:
    """Say what happened, for people."""
    match error:
        case Denied():
            return f"the server refused: {error.message} ({error.status})"
        case Closed(code=None):
            return "there is no connection to the server"
        case Closed():
            reason = REASONS.get(error.code or 0, "it gave no reason")
            return f"the server closed the connection: {reason} ({error.code})"
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientError() | ConnectionError():
            return "the server cannot be reached"
    return str(error)


def run(program: str, work: Coroutine[Any, Any, None]) -> NoReturn:
    """Run a command and end the process: 0 done, 3 if it could not be done."""
    try:
        asyncio.run(work)
    except (ProgramError, Denied, Closed, TimeoutError, aiohttp.ClientError, OSError) as error:
        print(f"{program}: {explain(error)}", file=sys.stderr)
        sys.exit(3)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
