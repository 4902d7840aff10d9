"""The ledger: who was given access to which lock, and what is still to be written or removed.

One private file, written at once and read back from the disk: before anything is sent to a lock,
what is meant by it is certainly stored. A file that is missing or broken is an empty ledger; then
every lock's accounts are read, and whatever is on a lock is a question to the owner.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store

from .const import DOMAIN
from .errors import LedgerNotSavedError
from .ledger_lock import Doomed, Grant, Holder, LockLedger, Question, QuestionKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_LOGGER = logging.getLogger(__name__)

_VERSION: Final = 1
_FILE: Final = f"{DOMAIN}.people"
_SAVE_DELAY: Final = 60

__all__ = ["Doomed", "Grant", "Holder", "Ledger", "LockLedger"]


class Ledger:
    """Every lock's part by device identifier, and the people as they were last.

    `people` are title and data of each subentry, so that a People entry that was removed can be
    made again; `kept`: it is gone, and the owner lets the locks be as they are. `users` are the
    Home Assistant users that ever were somebody: who is nobody any more is not this home instead.
    """

    def __init__(self, hass: HomeAssistant) -> None:
        self._hass = hass
        self._store: Store[dict[str, Any]] = Store(
            hass, _VERSION, _FILE, private=True, atomic_writes=True
        )
        self._locks: dict[str, LockLedger] = {}
        self._saving = asyncio.Lock()
        self.people: dict[str, dict[str, Any]] = {}
        self.kept = False
        self.users: set[str] = set()

    async def async_load(self) -> None:
        """Read what was stored."""
        try:
            data = await self._store.async_load() or {}
            self._locks = {key: LockLedger.of(lock) for key, lock in data.get("locks", {}).items()}
            self.people = dict(data.get("people", {}))
            self.kept = bool(data.get("kept", False))
            self.users = {str(user_id) for user_id in data.get("users", ())}
        except HomeAssistantError, AttributeError, LookupError, TypeError, ValueError:
            self._locks, self.people, self.kept, self.users = {}, {}, False, set()
        else:
            return
        # Without the error, which may show what is in the file.
        _LOGGER.error("The list of people's access cannot be read: you are asked about every lock")

    # --- locks ----------------------------------------------------------------------------------

    @callback
    def lock(self, device_id: str) -> LockLedger:
        """Return a lock's part to read and to change; `await async_save` after changing."""
        return self._locks.setdefault(device_id, LockLedger())

    @property
    def locks(self) -> dict[str, LockLedger]:
        """Every lock's part, to read."""
        return self._locks

    @callback
    def holder(self, device_id: str, slot: int, counter: int) -> Holder | None:
        """Return who held a slot when the record with this counter was written.

        None for nobody of this home. Slots 254 and 255 are not here.
        """
        lock = self._locks.get(device_id)
        return None if lock is None else lock.holder(slot, counter)

    @callback
    def forget_lock(self, device_id: str) -> None:
        """Drop a lock that was removed from Home Assistant, on disk a moment later."""
        if self._locks.pop(device_id, None) is not None:
            self._store.async_delay_save(self._data, 0)

    async def async_renew_lock(self, device_id: str, listed: Mapping[str, str]) -> None:
        """Begin anew for a lock that was just paired: it holds nobody but this home.

        Whoever is `listed` for it (names by person ID) is let in again only when the owner says
        so: the list may be a restored backup's, and the lock cannot tell any more. Nor may a PIN
        from before be written then. Who held which slot stays known, since the log goes on.
        LedgerNotSavedError.
        """
        before = self._locks.get(device_id, LockLedger())
        self._locks[device_id] = LockLedger(
            epoch=0,
            accounts_counter=None,
            holders=before.holders,
            ended=before.ended,
            questions={
                person_id: Question(QuestionKind.PAIRED, person_id, name, None)
                for person_id, name in listed.items()
            },
        )
        await self.async_save()

    # --- PINs -----------------------------------------------------------------------------------

    async def async_set_pin(self, person_id: str, device_ids: Iterable[str], digits: str) -> None:
        """Keep a PIN ("" takes it away) until each of the locks has it.

        LedgerNotSavedError: then none is kept, not in memory either.
        """
        before: list[tuple[LockLedger, str | None]] = []
        for device_id in device_ids:
            lock = self.lock(device_id)
            before.append((lock, lock.pins.get(person_id)))
            lock.pins[person_id] = digits
            if (grant := lock.grants.get(person_id)) is not None:
                grant.pin_taken = False
        try:
            await self.async_save()
        except LedgerNotSavedError:
            for lock, pin in before:
                if pin is None:
                    lock.pins.pop(person_id, None)
                else:
                    lock.pins[person_id] = pin
            raise

    # --- disk -----------------------------------------------------------------------------------

    async def async_save(self) -> None:
        """Write the ledger; LedgerNotSavedError unless the disk has it, as the file itself tells.

        Saving alone does not say: it only logs that the disk is full, and while Home Assistant
        stops it is put off.
        """
        async with self._saving:
            data = self._data()
            await self._store.async_save(data)
            if await self._async_stored() != data:
                _LOGGER.error("The list of people's access could not be stored on disk")
                raise LedgerNotSavedError("")

    async def async_save_decision(
        self, device_ids: Iterable[str], decide: Callable[[], None]
    ) -> None:
        """Do what the owner decided about locks, and store it; else LedgerNotSavedError.

        Then it is not done: in memory alone it would be written to a lock later, though the owner
        was told otherwise.
        """
        before = [(lock, lock.decided()) for lock in map(self.lock, device_ids)]
        kept = self.kept
        decide()
        try:
            await self.async_save()
        except LedgerNotSavedError:
            for lock, decided in before:
                lock.take_back(decided)
            self.kept = kept
            raise

    @callback
    def async_save_soon(self) -> None:
        """Write within a minute what would be no loss."""
        self._store.async_delay_save(self._data, _SAVE_DELAY)

    async def _async_stored(self) -> dict[str, Any]:
        """Read what is on disk: another store has nothing in memory."""
        store: Store[dict[str, Any]] = Store(self._hass, _VERSION, _FILE)
        try:
            return await store.async_load() or {}
        except HomeAssistantError as err:
            _LOGGER.debug("The list of people's access cannot be read back: %s", err)
            return {}

    @callback
    def _data(self) -> dict[str, Any]:
        return {
            "locks": {device_id: lock.as_dict() for device_id, lock in self._locks.items()},
            "people": {key: dict(person) for key, person in self.people.items()},
            "kept": self.kept,
            "users": sorted(self.users),
        }
