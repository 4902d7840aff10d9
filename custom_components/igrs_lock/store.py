"""What outlives a restart beside the config entries.

Two stores: what was last known of each lock (counters, so that an old packet is known to be old),
and the keys of pairings that were cut off, in a file of its own that is written at once.
"""

import logging
from typing import Any, Final, TypedDict

from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.singleton import singleton
from homeassistant.helpers.storage import Store
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN

_LOGGER = logging.getLogger(__name__)

_VERSION: Final = 1
_SAVE_DELAY: Final = 60
_FORGET_DELAY: Final = 30
_PENDING_MAX: Final = 4
_PAIRING_FILE: Final = f"{DOMAIN}.pairing"


class LockMemory(TypedDict, total=False):
    """What is remembered of one lock.

    `counter` and `epoch` of its advertisements; `changed_by` with the `bolt` and the `log_bits`
    it belongs to; when its time was set (Unix seconds) and with which offsets; its options by number
    and the counter when they were read; since when (Unix seconds) the door is open or auto-lock late.
    """

    counter: int | None
    epoch: int
    changed_by: str | None
    bolt: int
    log_bits: int
    time_set: int
    offsets: list[int]
    options: dict[str, int]
    options_read: int
    stretches: dict[str, tuple[str, float]]


class PendingPairing(TypedDict):
    """A key that a lock may have taken: hex of 16 bytes, and the account ID made for it."""

    lock_key: str
    account_id: str


class Memory:
    """The locks' memories by device identifier, and whether the owner vouches for the clock."""

    def __init__(self, hass: HomeAssistant) -> None:
        self._store: Store[dict[str, Any]] = Store(hass, _VERSION, DOMAIN, private=True)
        self._locks: dict[str, LockMemory] = {}
        self._clock_vouched = False
        self._time_set = 0  # of locks that were paired anew or are gone
        self._people_made = False
        self._saving = False

    async def async_load(self) -> None:
        """Read what was stored."""
        data = await self._store.async_load() or {}
        self._locks = data.get("locks", {})
        self._clock_vouched = data.get("clock_vouched", False)
        self._time_set = data.get("time_set", 0)
        self._people_made = data.get("people_made", False)

    @property
    def time_set(self) -> int:
        """The latest time that any lock was ever set to (Unix seconds), 0 when none was."""
        return max(self._time_set, *(lock.get("time_set", 0) for lock in self._locks.values()), 0)

    @property
    def clock_vouched(self) -> bool:
        """Whether the owner said that this machine's clock is right without a time service."""
        return self._clock_vouched

    @property
    def people_made(self) -> bool:
        """Whether there was a People entry already, which is not made twice by itself."""
        return self._people_made

    @callback
    def note_people_made(self) -> None:
        """Note that there is a People entry."""
        if not self._people_made:
            self._people_made = True
            self.schedule_save()

    @callback
    def vouch_for_clock(self) -> None:
        """Note the owner's word."""
        self._clock_vouched = True
        self.schedule_save()

    @callback
    def lock(self, device_id: str) -> LockMemory:
        """Return a lock's memory to read and to change; call `schedule_save` after changing."""
        return self._locks.setdefault(device_id, LockMemory())

    @callback
    def renew(self, device_id: str) -> LockMemory:
        """Return an empty memory for a lock with a new key."""
        self._time_set = self.time_set
        self._locks[device_id] = LockMemory()
        return self._locks[device_id]

    @callback
    def forget(self, device_id: str) -> None:
        """Drop a lock's memory."""
        self._time_set = self.time_set
        if self._locks.pop(device_id, None) is not None:
            self.schedule_save()

    @callback
    def schedule_save(self) -> None:
        """Write within a minute; later changes do not put it off."""
        if not self._saving:
            self._saving = True
            self._store.async_delay_save(self._data, _SAVE_DELAY)

    @callback
    def _data(self) -> dict[str, Any]:
        self._saving = False
        return {
            "locks": self._locks,
            "clock_vouched": self._clock_vouched,
            "time_set": self._time_set,
            "people_made": self._people_made,
        }


class PendingPairings:
    """Keys agreed but not yet proved, by device identifier, newest last."""

    def __init__(self, hass: HomeAssistant) -> None:
        self._store: Store[dict[str, list[PendingPairing]]] = Store(
            hass, _VERSION, _PAIRING_FILE, private=True, atomic_writes=True
        )
        self._hass = hass
        self._pending: dict[str, list[PendingPairing]] = {}

    async def async_load(self) -> None:
        """Read what was stored."""
        self._pending = await self._store.async_load() or {}

    @callback
    def of(self, device_id: str) -> list[PendingPairing]:
        """Return a lock's keys, newest first."""
        return self._pending.get(device_id, [])[::-1]

    async def async_add(self, device_id: str, pairing: PendingPairing) -> bool:
        """Store a key; return whether it is on disk, as the file itself tells.

        Saving alone does not say: it only logs that the disk is full, and while Home Assistant
        stops it is put off.
        """
        before = self._pending.get(device_id, [])
        self._pending[device_id] = [*before, pairing][-_PENDING_MAX:]
        await self._store.async_save(self._pending)
        if pairing in (await self._async_stored()).get(device_id, []):
            return True
        self._pending[device_id] = before
        return False

    async def _async_stored(self) -> dict[str, list[PendingPairing]]:
        """Read what is on disk: another store has nothing in memory."""
        store: Store[dict[str, list[PendingPairing]]] = Store(self._hass, _VERSION, _PAIRING_FILE)
        try:
            return await store.async_load() or {}
        except HomeAssistantError as err:
            _LOGGER.debug("The keys of pairings cannot be read back: %s", err)
            return {}

    @callback
    def forget(self, device_id: str) -> None:
        """Drop a lock's keys, on disk only after the config entry with the right one is there."""
        if self._pending.pop(device_id, None) is not None:
            self._store.async_delay_save(lambda: self._pending, _FORGET_DELAY)


_MEMORY: Final[HassKey[Memory]] = HassKey(f"{DOMAIN}_memory")
_PAIRINGS: Final[HassKey[PendingPairings]] = HassKey(f"{DOMAIN}_pairings")


@singleton(_MEMORY, async_=True)
async def async_get_memory(hass: HomeAssistant) -> Memory:
    """Return the one memory, loaded."""
    memory = Memory(hass)
    await memory.async_load()
    return memory


@singleton(_PAIRINGS, async_=True)
async def async_get_pairings(hass: HomeAssistant) -> PendingPairings:
    """Return the one list of pending pairings, loaded."""
    pairings = PendingPairings(hass)
    await pairings.async_load()
    return pairings
