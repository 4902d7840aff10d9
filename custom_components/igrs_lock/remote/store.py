"""What a home stores about one server, in a private file of its own.

Written at once and read back from the disk: before the server hears of something, it is certainly
stored. A file that cannot be read lets nobody in: then remote access is off, and the connection's
number is gone, so that the server takes this home for a copy until it is enrolled anew.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store

from ..const import DOMAIN
from .records import Invitation, InvitationKind, InvitationState, Phone
from .wire import Malformed, RemoteNotSaved, b64, unb64

if TYPE_CHECKING:
    from collections.abc import Callable

_LOGGER = logging.getLogger(__name__)

__all__ = ["Invitation", "InvitationKind", "InvitationState", "Phone", "RemoteStore"]

_VERSION: Final = 1
_HEADS_MAX: Final = 16
"""Old heads of the audit that are kept."""


class RemoteStore:
    """One server's file. Change the fields, then `await async_save()` before anything is told."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        self._hass = hass
        self._file = f"{DOMAIN}.remote.{entry_id}"
        self._store = self._open()
        self._saving = asyncio.Lock()
        self._retired = False
        self._reset()

    def _reset(self) -> None:
        self.n = 0
        """The number of the last connection; stored before it is used."""
        self.enabled = True
        """Whether remote access is switched on."""
        self.copied = False
        """The server knows a copy of this home's key: no connection until it is enrolled anew."""
        self.next_key = b""
        """A private key that the server may have taken in place of the entry's."""
        self.generation = 0
        """The site's, as the server said last; 0 before the first link."""
        self.restored = 0
        """A generation that the server took because it was put back from a copy; 0 once the owner knows."""
        self.seq = 0
        """The last durable event that was dealt with, in the events' own generation."""
        self.seq_generation = 0
        self.audit: tuple[int, bytes] | None = None
        """The head of the audit as this home followed it."""
        self.checkpoint: dict[str, Any] | None = None
        """The last checkpoint that was right, without its entries, as the server sent it."""
        self.old_audits: list[tuple[int, bytes, int]] = []
        """Heads that the audit does not continue any more, with the generation that they were of."""
        self.audit_problem: dict[str, Any] | None = None
        """What contradicts the own head: see `audit.Problem`."""
        self.locks: dict[str, int] = {}
        """Capabilities of the locks that this home wants on the server, by device identifier."""
        self.invitations: dict[str, Invitation] = {}
        self.phones: dict[str, Phone] = {}
        self.owners: set[str] = set()
        """Users of the server that are owners here."""
        self.numbers: dict[str, int] = {}
        """The last number of sealed keys, by user."""
        self.rotations: set[str] = set()
        """People whose accounts are to be replaced: somebody else may have their keys."""

    def _open(self) -> Store[dict[str, Any]]:
        return Store(self._hass, _VERSION, self._file, private=True, atomic_writes=True)

    async def async_load(self) -> None:
        """Read what was stored."""
        try:
            data = await self._store.async_load()
            if data is not None:
                self._take(data)
        except (
            HomeAssistantError,
            AttributeError,
            LookupError,
            TypeError,
            ValueError,
            Malformed,
        ):
            self._reset()
            self.enabled = False
        else:
            return
        # Without the error, which may show what is in the file.
        _LOGGER.error("What is known of a remote access server cannot be read: it is switched off")

    async def async_save(self, undo: Callable[[], None] | None = None) -> None:
        """Write it all; RemoteNotSaved unless the disk has it, as the file itself tells.

        Saving alone does not say: it only logs that the disk is full, and while Home Assistant
        stops it is put off. `undo` takes back what was changed for it, before the error is raised.
        Once begun it is finished, also if whoever waits for it does not any more: an older file must
        not take a newer one's place, and nothing may stay changed that is not stored.
        """
        saving = self._hass.async_create_task(self._async_save(undo), f"{self._file} save")
        if not await asyncio.shield(saving):
            raise RemoteNotSaved

    async def _async_save(self, undo: Callable[[], None] | None) -> bool:
        """Write it all, or take back what was changed; whether the disk has it."""
        async with self._saving:
            data = self._data()
            if not self._retired:
                await self._store.async_save(data)
                if await self._async_stored() == data:
                    return True
                _LOGGER.error("What is known of a remote access server could not be stored on disk")
        if undo is not None:
            undo()
        return False

    async def async_retire(self) -> None:
        """Store nothing any more: what is still under way must not overwrite what comes after."""
        async with self._saving:
            self._retired = True

    async def async_remove(self) -> None:
        """Delete the file: the entry is gone. Nothing is stored any more."""
        async with self._saving:
            self._retired = True
            await self._store.async_remove()

    @callback
    def async_begin_anew(self) -> None:
        """Forget what belonged to the enrolment of before; save afterwards.

        Who joined stays: a site keeps its members. Invitations do not: they may be known to a copy.
        Keys that were given out for one are replaced, unless the owner is being asked about them.
        """
        self.rotations |= {
            one.person_id
            for one in self.invitations.values()
            if one.client and one.state is InvitationState.ANSWERED
        }
        self.n = 0
        self.copied = False
        self.next_key = b""
        self.generation = self.seq = self.seq_generation = 0
        if self.audit is not None:
            self.keep_audit()
        self.audit_problem = self.checkpoint = None
        ended = (InvitationState.WITHDRAWN, InvitationState.EXPIRED)
        self.invitations = {
            id_: one for id_, one in self.invitations.items() if one.client and one.state in ended
        }

    @callback
    def keep_audit(self) -> None:
        """Put the head of the audit, with its checkpoint's generation, to the old ones."""
        if self.audit is not None:
            generation = 0 if self.checkpoint is None else self.checkpoint["generation"]
            self.old_audits = [*self.old_audits, (*self.audit, generation)][-_HEADS_MAX:]
        self.audit = None

    async def _async_stored(self) -> dict[str, Any]:
        """Read what is on disk: another store has nothing in memory."""
        try:
            return await self._open().async_load() or {}
        except HomeAssistantError as err:
            _LOGGER.debug("What is known of a server cannot be read back: %s", type(err).__name__)
            return {}

    @callback
    def _data(self) -> dict[str, Any]:
        return {
            "n": self.n,
            "enabled": self.enabled,
            "copied": self.copied,
            "next_key": b64(self.next_key),
            "generation": self.generation,
            "restored": self.restored,
            "seq": self.seq,
            "seq_generation": self.seq_generation,
            "audit": None if self.audit is None else [self.audit[0], b64(self.audit[1])],
            "checkpoint": None if self.checkpoint is None else dict(self.checkpoint),
            "old_audits": [[at, b64(head), of] for at, head, of in self.old_audits],
            "audit_problem": None if self.audit_problem is None else dict(self.audit_problem),
            "locks": dict(self.locks),
            "invitations": [one.as_dict() for one in self.invitations.values()],
            "phones": [one.as_dict() for one in self.phones.values()],
            "owners": sorted(self.owners),
            "numbers": dict(self.numbers),
            "rotations": sorted(self.rotations),
        }

    @callback
    def _take(self, data: dict[str, Any]) -> None:
        self.n = int(data["n"])
        self.enabled = data["enabled"] is True
        self.copied = data["copied"] is True
        self.next_key = unb64(data["next_key"])
        self.generation = int(data["generation"])
        self.restored = int(data["restored"])
        self.seq = int(data["seq"])
        self.seq_generation = int(data["seq_generation"])
        audit = data["audit"]
        self.audit = None if audit is None else (int(audit[0]), unb64(audit[1], 32))
        self.checkpoint = data["checkpoint"]
        self.old_audits = [
            (int(at), unb64(head, 32), int(of)) for at, head, of in data["old_audits"]
        ]
        self.audit_problem = data["audit_problem"]
        self.locks = {device: int(value) for device, value in data["locks"].items()}
        self.invitations = {one["id"]: Invitation.of(one) for one in data["invitations"]}
        self.phones = {one["id"]: Phone.of(one) for one in data["phones"]}
        self.owners = {str(user) for user in data["owners"]}
        self.numbers = {user: int(number) for user, number in data["numbers"].items()}
        self.rotations = {str(person_id) for person_id in data["rotations"]}
