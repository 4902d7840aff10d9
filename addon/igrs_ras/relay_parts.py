"""What a relay consists of: its messages as both peers send them, and what is known of one under way."""

import hashlib
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from igrs_ras import wire
from igrs_ras.relay_rows import Name
from igrs_ras.status import Refused, Status
from igrs_ras.window import Window

if TYPE_CHECKING:
    from igrs_ras.hub import Client
    from igrs_ras.link import Link
    from igrs_ras.ras import Ras

DATA = 512  # bytes of a message
MESSAGES = 128  # of a relay, in each direction

OPEN_OF_USER, OPEN_OF_SITE = 8, 64  # relays at once
SITE_FACTOR = 3  # a site's relays a minute, for each that a user may open

type Outcome = Literal["answered", "failed", "expired", "unknown"]
Number = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class Part(wire.Body):
    """What names a client's relay: the lock, and the key that the client chose."""

    site: wire.Id
    lock: wire.Device
    key: wire.Ulid


class DataBody(Part, kw_only=True):
    """A message for the lock: number `n` from 0, base64 of at most 512 bytes, base64 of its SHA-256."""

    n: Number
    data: str
    hash: str


class OpenBody(DataBody, kw_only=True):
    """The first message. It must reach the gateway within `ttl_ms`."""

    ttl_ms: Annotated[int, msgspec.Meta(ge=1, le=15_000)]


class GatewayState(wire.Body):
    """The gateway has handed the client's message `n` to the radio."""

    relay: wire.Id
    state: Literal["sent_to_lock"]
    n: Number


class GatewayData(wire.Body):
    """A message of the lock."""

    relay: wire.Id
    n: Number
    data: str
    hash: str


class GatewayEnd(wire.Body):
    """How it ended at the gateway. `code` of clause 7.6 says why it failed."""

    relay: wire.Id
    outcome: Outcome
    code: int = 0


class BrokenError(Exception):
    """A number was left out, or came again with another message."""


class Direction:
    """The messages of one direction: each number once, in order, with one content."""

    __slots__ = ("_hashes",)

    def __init__(self) -> None:
        self._hashes: list[bytes] = []

    @property
    def last(self) -> int:
        """The last number; -1 before the first."""
        return len(self._hashes) - 1

    def take(self, n: int, data: str, digest: str) -> bool:
        """Tell whether the message is new; False if it is a repeat. Raises BrokenError."""
        try:
            content = wire.unb64(data, field="data")
            found = wire.unb64(digest, 32, field="hash")
        except Refused as error:
            raise BrokenError from error
        if len(content) > DATA or hashlib.sha256(content).digest() != found:
            raise BrokenError
        if n < len(self._hashes):
            if self._hashes[n] != found:
                raise BrokenError
            return False
        if n > len(self._hashes) or n >= MESSAGES:
            raise BrokenError
        self._hashes.append(found)
        return True


class Relay:
    """One relay under way."""

    __slots__ = (
        "client", "end", "expires", "from_client", "from_gateway", "hash", "heard", "id", "link", "name", "opened", "recorded",
        "state", "told",
    )  # fmt: skip

    def __init__(self, name: Name, digest: bytes, client: Client, now: float, expires: int) -> None:
        self.id = wire.new_id()
        self.name = name
        self.hash = digest  # of its first message
        self.client = client
        self.link: Link | None = None  # set when the first byte goes on
        self.from_client = Direction()
        self.from_gateway = Direction()
        self.state = "accepted"
        self.recorded = False  # that it was accepted
        self.end: tuple[Outcome, Status] | None = None
        self.told: tuple[str, Status] | None = None  # the end, as the client knows it
        self.expires = expires
        self.opened = self.heard = now

    def body(self) -> dict[str, str | int]:
        """Return the names by which the client knows it."""
        return {"site": self.name[1], "lock": self.name[2], "key": self.name[3]}

    def stands(self) -> tuple[str, int]:
        """Return state and code as they may be told now: an end that is not recorded yet is none."""
        if self.told is not None:
            return self.told
        return ("sent_to_lock" if self.state == "answered" else self.state), Status.DONE


def first_message(body: OpenBody) -> Direction:
    """Return a client's messages so far: this one. Raises Refused(MALFORMED)."""
    direction = Direction()
    try:
        direction.take(body.n, body.data, body.hash)
    except BrokenError as error:
        raise Refused(
            Status.MALFORMED, "the first message has n 0, at most 512 bytes, and its own hash"
        ) from error
    return direction


class Load:
    """How much users and sites relay: at once, and a minute."""

    def __init__(self, ras: Ras) -> None:
        limit = ras.settings.relays_per_minute
        self._of_user = Window(ras.clock, limit, 60)
        self._of_site = Window(ras.clock, limit * SITE_FACTOR, 60)
        self._open: dict[str, int] = {}

    def any(self, one: str) -> bool:
        """Tell whether a user or a site has a relay under way."""
        return one in self._open

    def begin(self, name: Name) -> None:
        """Count a relay. Raises Refused(SLOW_DOWN)."""
        user, site = name[:2]
        if (
            self._open.get(user, 0) >= OPEN_OF_USER
            or self._open.get(site, 0) >= OPEN_OF_SITE
            or self._of_user.full(user)
            or self._of_site.full(site)
        ):
            raise Refused(Status.SLOW_DOWN)
        self._of_user.add(user)
        self._of_site.add(site)
        for one in (user, site):
            self._open[one] = self._open.get(one, 0) + 1

    def spare_site(self, name: Name) -> None:
        """Give the site its relay back: it was refused, and strangers must not use up what members may."""
        self._of_site.back(name[1])

    def end(self, name: Name) -> None:
        """A relay is over."""
        for one in name[:2]:
            self._open[one] -= 1
            if not self._open[one]:
                del self._open[one]
