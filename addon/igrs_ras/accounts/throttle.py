"""Limits on guessing and on use (section 6): counts in the table `throttle`, by a hashed name of what is limited.

Two rules. A *delay* lets some failures pass, then asks for a pause that doubles with each further one, and forgets
after a quiet time. A *quota* lets so many through in a window. An attempt is counted before it is checked and given
back when it was right or was not made, so that many at once do not slip through; one that is refused is not counted,
so that hammering does not keep a door shut.

Who is counted: a browser that signed in before (known device) by account and device alone; everybody else by account
and address, by address, and by account. So one address cannot try many accounts, many addresses cannot try one
account, and a stranger's failures never slow down the owner's own browser.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select

from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import throttle

if TYPE_CHECKING:
    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

PURGE_SECONDS = 60.0
ROWS = 100_000
KEPT = b"\x01"  # the first byte of buckets that a stranger's many others do not push out
# A clock that was set back by more than this makes a count worthless: it would block for as long as the step.
BACKWARDS = MINUTE


@dataclass(frozen=True, slots=True)
class Delay:
    """After `free` failures each one asks for a pause: `base`, doubled each time, `cap` at most. Times in ms."""

    name: str
    free: int
    base: int
    cap: int
    forget: int = DAY

    def _forgotten(self, since: int, now: int) -> bool:
        return now >= since + self.forget or now < since - BACKWARDS

    def pause(self, count: int) -> int:
        """Return the pause in ms that `count` failures ask for."""
        if count < self.free:
            return 0
        return min(self.base << min(count - self.free, 32), self.cap)

    def wait(self, count: int, since: int, now: int) -> int:
        """Return how long to wait yet; `since` is the last failure."""
        if self._forgotten(since, now):
            return 0
        pause = self.pause(count)
        return min(max(since + pause - now, 0), pause)

    def add(self, count: int, since: int, now: int) -> tuple[int, int, int]:
        """Return (count, since, until when the row matters) after one more failure."""
        return (1 if self._forgotten(since, now) else count + 1), now, now + self.forget


@dataclass(frozen=True, slots=True)
class Quota:
    """`count` uses in a `window` of ms that begins with the first."""

    name: str
    count: int
    window: int

    def _over(self, since: int, now: int) -> bool:
        return now >= since + self.window or now < since - BACKWARDS

    def wait(self, count: int, since: int, now: int) -> int:
        """Return how long to wait yet; `since` is the first use in the window."""
        if self._over(since, now) or count < self.count:
            return 0
        return min(since + self.window - now, self.window)

    def add(self, count: int, since: int, now: int) -> tuple[int, int, int]:
        """Return (count, since, until when the row matters) after one more use."""
        if self._over(since, now):
            count, since = 0, now
        return count + 1, since, since + self.window


type Rule = Delay | Quota

# Passwords. A stranger gets 5 tries from one address, then about 30 a day; an address 20 over all accounts; one
# account 100 from all strangers, then one in 5 minutes at worst.
PAIR = Delay("pair", free=5, base=30 * SECOND, cap=HOUR)
DEVICE = Delay("device", free=5, base=30 * SECOND, cap=15 * MINUTE)
ADDRESS = Delay("address", free=20, base=30 * SECOND, cap=HOUR)
ACCOUNT = Delay("account", free=100, base=SECOND, cap=5 * MINUTE)
PROOF = Quota("proof", 10, HOUR)  # a password or code again, within a session
# Six digits: ten tries an hour, thirty a day, whatever the address.
CODES = Quota("codes", 10, HOUR)
CODES_A_DAY = Quota("codes day", 30, DAY)
CONFIRMATIONS = Quota("confirmations", 100, HOUR)  # of one address, by everybody together
# Of whatever addresses: who may try any must not fill the table.
CONFIRMERS = Quota("confirmers", 60, HOUR)
CONFIRMERS_UNKNOWN = Quota("confirmers unknown", 1000, HOUR)
CHANGES = Quota(
    "changes", 120, HOUR
)  # sign-ins and changes of one account: each is written into its homes' audit
MAILS = Quota("mails", 3, HOUR)
REGISTRATIONS = Quota("registrations", 20, HOUR)
RESETS = Quota("resets", 10, HOUR)
# Codes of 80 bits that a home or the command line gave out (case 8): failures by address, and of all whose address
# says nothing.
CODE_GUESSES = Quota("code guesses", 5, HOUR)
CODE_GUESSES_UNKNOWN = Quota("code guesses unknown", 50, HOUR)


@dataclass(frozen=True, slots=True)
class Use:
    """One bucket: a rule and what it is counted for."""

    rule: Rule
    key: tuple[str, ...]

    @property
    def bucket(self) -> bytes:
        """The bucket's name in the table: nothing can be read from it, but whether it may make room for others."""
        parts = (self.rule.name, *self.key)
        digest = hashlib.sha256(
            b"".join(len(p.encode()).to_bytes(4) + p.encode() for p in parts)
        ).digest()
        return (KEPT if self._kept else b"\x00") + digest[1:]

    @property
    def _kept(self) -> bool:
        # Of users only, so they are few, and what they guard has few possible values.
        return self.rule is PROOF or (
            self.rule in (CODES, CODES_A_DAY) and self.key[:1] != ("verify",)
        )


def sign_in_uses(account: str, address: str, device: str) -> list[Use]:
    """Return what a password attempt counts for. `device` is empty unless it is known for this account."""
    if device:
        return [Use(DEVICE, (account, device))]
    if not address:
        return [Use(ACCOUNT, (account,))]
    return [Use(PAIR, (account, address)), Use(ADDRESS, (address,)), Use(ACCOUNT, (account,))]


def code_uses(purpose: str, account: str, device: str = "") -> list[Use]:
    """Return what a try of a six-digit code counts for."""
    return [Use(CODES, (purpose, account, device)), Use(CODES_A_DAY, (purpose, account, device))]


def confirm_uses(email: str, caller: str) -> list[Use]:
    """Return what a try to confirm an address counts for; `caller` is a user or where the request comes from.

    By caller, so that a stranger cannot keep somebody from confirming his own address.
    """
    every = Use(CONFIRMERS, (caller,)) if caller else Use(CONFIRMERS_UNKNOWN, ())
    return [*code_uses("verify", email, caller), Use(CONFIRMATIONS, (email,)), every]


def guess_uses(purpose: str, address: str, device: str = "") -> list[Use]:
    """Return what a try of an 80-bit code counts for; give it back when the code was right.

    `device` is empty unless it is known for the account.
    """
    if device:
        return [Use(CODE_GUESSES, (purpose, "device", device))]
    return [
        Use(CODE_GUESSES, (purpose, address)) if address else Use(CODE_GUESSES_UNKNOWN, (purpose,))
    ]


class Throttle:
    """Counts and refuses."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._purged = 0.0

    async def start(self) -> None:
        """Nothing to begin."""
        self._purged = self._ras.clock.monotonic()

    async def stop(self) -> None:
        """Nothing to end."""

    async def tick(self) -> None:
        """Forget once a minute what no longer matters."""
        if self._ras.clock.monotonic() - self._purged >= PURGE_SECONDS:
            self._purged = self._ras.clock.monotonic()
            await self._ras.store.write(purge)

    async def take(self, uses: Sequence[Use]) -> None:
        """Count an attempt. Raises Refused(TOO_MANY_ATTEMPTS), and then counts nothing."""
        await self._ras.store.write(lambda tx: take(tx, uses))

    async def give_back(self, uses: Sequence[Use], *, made: bool = True) -> None:
        """The attempt was right, or was not made."""
        await self._ras.store.write(lambda tx: give_back(tx, uses, made=made))


def take(tx: Transaction, uses: Sequence[Use]) -> None:
    """Count an attempt within a job. Raises Refused(TOO_MANY_ATTEMPTS)."""
    buckets = {use.bucket: use.rule for use in uses}
    found = tx.execute(
        select(throttle.c.bucket, throttle.c.count.label("uses"), throttle.c.since).where(
            throttle.c.bucket.in_(list(buckets))
        )
    )
    rows = {bytes(row.bucket): (row.uses, row.since) for row in found}
    wait = max(
        (buckets[bucket].wait(uses, since, tx.now) for bucket, (uses, since) in rows.items()),
        default=0,
    )
    if wait > 0:
        raise Refused(Status.TOO_MANY_ATTEMPTS, retry_after=-(-wait // 1000))
    for bucket, rule in buckets.items():
        before, since = rows.get(bucket, (0, tx.now))
        count, since, until = rule.add(before, since, tx.now)
        values = {"count": count, "since": since, "until": until}
        if bucket in rows:
            tx.execute(throttle.update().where(throttle.c.bucket == bucket).values(values))
        else:
            tx.execute(throttle.insert(), {"bucket": bucket, **values})


def give_back(tx: Transaction, uses: Sequence[Use], *, made: bool = True) -> None:
    """Take an attempt back within a job. What counts one person's own failures (pair, device) begins anew.

    `made`: false if the attempt was not made after all, which says nothing of those before it.
    """
    for use in uses:
        own = use.rule in (PAIR, DEVICE)
        if own and not made:
            tx.execute(
                delete(throttle).where(throttle.c.bucket == use.bucket, throttle.c.count <= 1)
            )
        if own and made:
            tx.execute(delete(throttle).where(throttle.c.bucket == use.bucket))
        else:
            tx.execute(
                throttle.update()
                .where(throttle.c.bucket == use.bucket, throttle.c.count > 0)
                .values(count=throttle.c.count - 1)
            )


def purge(tx: Transaction, rows: int = ROWS) -> None:
    """Delete what no longer matters; of too many rows those with the fewest failures, which tell the least."""
    tx.execute(delete(throttle).where(throttle.c.until <= tx.now))
    free = throttle.c.bucket < KEPT
    over = tx.execute(select(func.count()).select_from(throttle).where(free)).scalar_one() - rows
    if over > 0:
        least = (
            select(throttle.c.bucket)
            .where(free)
            .order_by(throttle.c.count, throttle.c.until)
            .limit(over)
        )
        tx.execute(delete(throttle).where(throttle.c.bucket.in_(least)))
