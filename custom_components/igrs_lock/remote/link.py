"""The link to the server: one outgoing connection, proved by both sides, kept while it is wanted.

Whatever ends it, it is made again by itself, unless the server says that this home's key is revoked
or used by somebody else. A server may send anything: what is malformed is dropped, the rest is
handed on in its order, and how much of it is worked off a second is bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant

    from .clock import ServerClock
    from .store import RemoteStore
    from .wire import Message


class Down(StrEnum):
    """Why there is no link."""

    STOPPED = "stopped"
    """It is not wanted: switched off, or Home Assistant stops."""
    LOST = "lost"
    """It ended without a reason, or was silent for 30 seconds."""
    RESTARTING = "restarting"
    """The server stops or starts, or is not ready."""
    UNREACHABLE = "unreachable"
    """Nothing answers at the address."""
    TLS = "tls"
    """The certificate does not prove the name."""
    NOT_A_SERVER = "not_a_server"
    """What answers does not speak the gateway's protocol."""
    KEY_CHANGED = "key_changed"
    """The server has, or proved, another key than the one that this home stored."""
    REFUSED = "refused"
    """The server does not know this home's gateway, or its key."""
    REVOKED = "revoked"
    """The server revoked this home's gateway. No connection by itself."""
    COPY = "copy"
    """Somebody else uses this home's key. No connection by itself, also after a restart."""
    FALSE_CHECKPOINT = "false_checkpoint"
    """The server did not sign what this home stored as signed. No connection by itself."""
    NOT_SAVED = "not_saved"
    """The connection's number could not be stored on disk, so none was made."""

    @property
    def final(self) -> bool:
        """Whether no connection is made by itself any more."""
        return self in (Down.STOPPED, Down.REVOKED, Down.COPY, Down.FALSE_CHECKPOINT)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What the server said of itself when the link was made.

    `restored`: it was put back from a copy since the last link, or still waits for this home's list.
    """

    site: str
    generation: int
    restored: bool
    public_url: str
    reached: bool


class Delegate(Protocol):
    """Who works with the link. Everything is called from the event loop."""

    async def async_linked(self, welcome: Welcome) -> None:
        """Bring the server in line: the list first. A task of the link; LinkDown and Refused may be raised.

        Durable events come after it returned, so what may take long belongs in a task of its own.
        """

    async def async_durable(self, message: Message) -> None:
        """Deal with a durable event: its effect is stored on return. It may come again.

        Malformed drops it; RemoteNotSaved and LinkDown let it come again.
        """

    def received(self, message: Message) -> None:
        """Take a live message; must not wait. Malformed drops it."""

    def unlinked(self, down: Down) -> None:
        """Hear why there is no link: after each one, and after each attempt that failed."""

    def clock_off(self, seconds: int | None) -> None:
        """Hear by how much the server's clock is ahead of this machine's; None: not much any more."""

    def audit_changed(self) -> None:
        """Hear that the store has another problem of the audit, or none any more."""

    async def async_key_changed(self, private_key: bytes) -> None:
        """Keep this private key in the entry: the server takes no other any more."""


class GatewayLink:
    """The link of one server entry."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        store: RemoteStore,
        delegate: Delegate,
    ) -> None:
        """Prepare. Address, authority and keys are the entry's, read anew for each connection."""
        self.clock: ServerClock
        self.connected = False
        """Whether both sides are proved."""
        self.down: Down | None = None
        """Why there was no link last."""
        self.token: str | None = None
        """For HTTP calls while the link lasts."""

    def async_start(self) -> None:
        """Connect, and again whenever the link ends."""
        raise NotImplementedError

    async def async_stop(self) -> None:
        """Close at once."""
        raise NotImplementedError

    def async_move(self) -> None:
        """Connect anew at once: the entry's address, authority or keys have changed."""
        raise NotImplementedError

    async def async_request(
        self, kind: str, body: dict[str, Any] | None = None, lock: str = ""
    ) -> dict[str, Any]:
        """Send a message and return its answer's body. Refused, LinkDown."""
        raise NotImplementedError

    def send(self, kind: str, body: dict[str, Any] | None = None, lock: str = "") -> bool:
        """Send a message whose answer nobody waits for; False when it cannot go out."""
        raise NotImplementedError

    async def async_change_key(self) -> None:
        """Change this home's key at the server. Refused, LinkDown, RemoteNotSaved."""
        raise NotImplementedError
