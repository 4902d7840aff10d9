"""Passwords (section 6): Argon2id in two threads of its own with a bounded queue, and the rules for new ones.

The list of common passwords is Royce Williams's "top 20,000" as Django ships it, those of 8 characters and more.
"""

import asyncio
import secrets
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

SHORTEST = 8
SHORTEST_ALONE = 15  # without a second factor
LONGEST = 256
RUNNING = 2  # with 19 MiB each
WAITING = 16
SPARE = (
    4  # of those, which strangers do not get: a flood of them leaves room for who was here before
)

Password = Annotated[
    str, msgspec.Meta(min_length=1, max_length=LONGEST, description="up to 256 characters")
]

# OWASP's first choice for Argon2id.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, hash_len=32, salt_len=16)


def normal(password: str) -> str:
    """Return the form that is hashed: NFKC, so that the same password typed on another keyboard is the same."""
    return unicodedata.normalize("NFKC", password)


@cache
def _common() -> str:
    # 80 KB in one piece: a search takes microseconds, a set of it would take a megabyte.
    text = (Path(__file__).parent / "common_passwords.txt").read_text(encoding="utf-8")
    return f"\n{text.strip()}\n"


def is_common(password: str) -> bool:
    """Tell whether a password is on the list of common ones, or is a short text said several times."""
    text = normal(password).strip().casefold()
    if "\n" in text:
        return False
    period = (text + text).find(text, 1)
    return (
        period < min(len(text), SHORTEST)
        or f"\n{text[:period]}\n" in _common()
        or f"\n{text}\n" in _common()
    )


def check(password: str, *, second_factor: bool, names: Iterable[str]) -> None:
    """Check a new password. Raises Refused(MALFORMED), which says the rule and not the password.

    `names` are the e-mail address and the display name, neither of which it may be. There are no rules on what kinds
    of characters it must have.
    """
    shortest = SHORTEST if second_factor else SHORTEST_ALONE
    text = normal(password)
    if len(text) < shortest:
        raise Refused(Status.MALFORMED, f"password must have at least {shortest} characters")
    if len(text) > LONGEST:
        raise Refused(Status.MALFORMED, f"password must have at most {LONGEST} characters")
    taken = {normal(part).casefold() for name in names for part in (name, name.partition("@")[0])}
    if text.strip().casefold() in taken:
        raise Refused(Status.MALFORMED, "password must not be the name or the e-mail address")
    if is_common(text):
        raise Refused(Status.MALFORMED, "password is a common one")


class Passwords:
    """Hashes and verifies. At most two at once, sixteen wait, more are refused (41), so memory is bounded (case 32)."""

    def __init__(self, _ras: Ras) -> None:
        self._threads = ThreadPoolExecutor(RUNNING, "argon2")
        self._taken = 0
        self._nobody = ""

    async def start(self) -> None:
        """Make the hash that unknown accounts are checked against."""
        self._nobody = await self._run(lambda: HASHER.hash(secrets.token_urlsafe(24)))

    async def stop(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def tick(self) -> None:
        """Nothing is due."""

    @property
    def waiting(self) -> int:
        """How many wait for a thread."""
        return max(self._taken - RUNNING, 0)

    async def hash(self, password: str) -> str:
        """Return the hash to store. Raises Refused(SLOW_DOWN)."""
        text = normal(password)
        return await self._run(lambda: HASHER.hash(text))

    async def verify(
        self, stored: str | None, password: str, *, stranger: bool = False
    ) -> tuple[bool, str | None]:
        """Tell whether a password is right, and return a new hash if the stored one has old parameters.

        Without a stored one (no account, or none with a password) the same work is done and the answer is no.
        `stranger`: who asks has shown nothing else. Raises Refused(SLOW_DOWN).
        """
        text = normal(password)
        known = stored is not None
        return await self._run(
            lambda: _verify(stored or self._nobody, text, known=known),
            spare=SPARE if stranger else 0,
        )

    async def _run[T](self, work: Callable[[], T], *, spare: int = 0) -> T:
        if self._taken >= RUNNING + WAITING - spare:
            raise Refused(Status.SLOW_DOWN, retry_after=1)
        loop = asyncio.get_running_loop()
        self._taken += 1

        def freed(_future: Future[T]) -> None:
            # When the thread is free, not when the one who asked went away.
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._free)

        future = self._threads.submit(work)
        future.add_done_callback(freed)
        return await asyncio.wrap_future(future)

    def _free(self) -> None:
        self._taken -= 1


def _verify(stored: str, text: str, *, known: bool) -> tuple[bool, str | None]:
    try:
        HASHER.verify(stored, text)
    except VerificationError, InvalidHashError:
        return False, None
    if not known:
        return False, None
    return True, HASHER.hash(text) if HASHER.check_needs_rehash(stored) else None
