"""The lock itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, override

from homeassistant.components.lock import LockEntity, LockEntityDescription
from homeassistant.components.lock.const import LockEntityFeature
from homeassistant.core import Context, callback

from .entity import IgrsLockEntity
from .ilp import Bolt, Capability, Door, Operation

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry

PARALLEL_UPDATES = 0
"""The coordinator does one movement at a time, and knows how long the next one has waited."""

LOCK: Final = LockEntityDescription(key="lock", translation_key="lock", name=None)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the lock."""
    async_add_entities([IgrsLock(entry.runtime_data, LOCK)])


class IgrsLock(IgrsLockEntity, LockEntity):
    """Shows the bolt; a movement asked for here until its end is known, never the wish."""

    _bolt: Bolt | None = None

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Show the news; a change that this home did not ask for is nobody's here.

        Home Assistant keeps the context of an action for five seconds: a turn by hand right after
        an operation would be told as its user's.
        """
        bolt = None if self._state is None else self._state.bolt
        if bolt is not self._bolt and self.coordinator.moving is None:
            self.async_set_context(Context())
        self._bolt = bolt
        super()._handle_coordinator_update()

    @override
    def _shows(self) -> object:
        coordinator, state = self.coordinator, self._state
        bolt, door = (None, None) if state is None else (state.bolt, state.door)
        return bolt, door, coordinator.moving, coordinator.changed_by

    @property
    @override
    def supported_features(self) -> LockEntityFeature:
        """*Open* where there is a latch to pull."""
        if Capability.LATCH in self.coordinator.capabilities:
            return LockEntityFeature.OPEN
        return LockEntityFeature(0)

    @property
    @override
    def is_locked(self) -> bool | None:
        """Whether the door is held shut: with the door open, a bolt that is out locks nothing."""
        if (state := self._state) is None or state.bolt is Bolt.UNKNOWN:
            return None
        return state.bolt is Bolt.LOCKED and state.door is not Door.OPEN

    @property
    @override
    def is_locking(self) -> bool:
        """Whether the bolt moves out, or was told to."""
        return self._moves(Operation.LOCK, Bolt.LOCKING)

    @property
    @override
    def is_unlocking(self) -> bool:
        """Whether the bolt moves in, or was told to."""
        return self._moves(Operation.UNLOCK, Bolt.UNLOCKING)

    @property
    @override
    def is_opening(self) -> bool:
        """Whether the latch is to be pulled."""
        return self.coordinator.moving is Operation.OPEN

    @property
    @override
    def is_open(self) -> bool:
        """Whether the latch is pulled."""
        return self._stands(Bolt.OPEN)

    @property
    @override
    def is_jammed(self) -> bool:
        """Whether the lock says so."""
        return self._stands(Bolt.JAMMED)

    @property
    @override
    def changed_by(self) -> str | None:
        """Who or what moved the bolt last; None when that is not known."""
        return self.coordinator.changed_by

    @override
    async def async_lock(self, **kwargs: Any) -> None:
        """Move the bolt out."""
        await self._async_operate(Operation.LOCK)

    @override
    async def async_unlock(self, **kwargs: Any) -> None:
        """Move the bolt in."""
        await self._async_operate(Operation.UNLOCK)

    @override
    async def async_open(self, **kwargs: Any) -> None:
        """Move the bolt in and pull the latch."""
        await self._async_operate(Operation.OPEN)

    async def _async_operate(self, operation: Operation) -> None:
        """Operate as whoever asks: a user who is tied to a person may no more than that person.

        Automations and voice are nobody's: then it is this home itself.
        """
        # Both before anything is awaited: the next call sets another context.
        context, asked_at = self._context, time.monotonic()
        coordinator = self.coordinator
        identity = await coordinator.home.async_identity(coordinator, context)
        await coordinator.async_operate(operation, identity, asked_at=asked_at)

    def _moves(self, operation: Operation, bolt: Bolt) -> bool:
        if (moving := self.coordinator.moving) is not None:
            return moving is operation
        return (state := self._state) is not None and state.bolt is bolt

    def _stands(self, bolt: Bolt) -> bool:
        state = self._state
        return state is not None and state.bolt is bolt and self.coordinator.moving is None
