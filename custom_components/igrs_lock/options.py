"""What the owner chose in the lock itself (commands 47 and 4C)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback

from .device_information import async_refresh
from .errors import NoAnswerError
from .ilp import Capability, Event, IlpError, Option, OptionValue, Result, Status, requests
from .ilp import RefusedError as Refused
from .movement import refusal
from .sync import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from .coordinator import IgrsLockCoordinator
    from .ilp import Reply
    from .log_store import LogEntry

_LOGGER = logging.getLogger(__name__)

AUTO_LOCK_MAX: Final = 86_400
"""The longest delay that a lock takes, in seconds."""

_NEEDED: Final = {
    Option.AUTO_LOCK_SECONDS: Capability.AUTO_LOCK,
    Option.SOUND: Capability(0),
    Option.KEYPAD: Capability.KEYPAD,
}


class LockOptions:
    """A lock's options as it told them, never as they were wished.

    They are read once and kept across restarts; the lock's log tells when to read them again.
    """

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._remembered = coordinator.remembered
        self._restarted = False
        self._listeners: list[Callable[[], None]] = []

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin; returns what ends it."""
        self._coordinator.sync.register(Job.OPTIONS, self.async_run)
        if "options_read" not in self._remembered:
            self._nudge()
        for entry in self._coordinator.log.entries:
            self._recorded(entry)
        return self._coordinator.log.async_listen(self._recorded)

    def supported(self, option: Option) -> bool:
        """Whether the lock says that it has an option. Not authenticated."""
        return _NEEDED[option] in self._coordinator.capabilities

    def get(self, option: Option) -> int | None:
        """Return what the lock said last; None before it said anything."""
        return self._remembered.get("options", {}).get(str(int(option)))

    async def async_run(self) -> None:
        """Read all options: the job of `Sync`. Kin of OperationError and IlpError."""
        status, *values = await self._coordinator.async_request(
            requests.get_status(), *self._reading()
        )
        self._take(Status.of(status), values)
        if self._restarted:
            # Maybe with other firmware.
            await async_refresh(self._hass, self._coordinator)
            self._restarted = False

    async def async_set(self, option: Option, value: int) -> None:
        """Let the lock have an option and read it back. Kin of OperationError."""
        name = self._coordinator.config_entry.title
        try:
            written, *values = await self._coordinator.async_request(
                requests.set_option(option, value), *self._reading()
            )
            status = Status.of(written)
            if status.result is not Result.DONE:
                raise refusal(status.result, name)
            self._take(status, values)
        except NoAnswerError:
            # Maybe it was set.
            self._nudge()
            raise
        except IlpError as err:
            _LOGGER.debug("%s: broken answer: %s", name, err)
            self._nudge()
            raise NoAnswerError(name) from err

    @callback
    def async_listen(self, listener: Callable[[], None]) -> CALLBACK_TYPE:
        """Call `listener` when options were read; returns what ends it."""
        self._listeners.append(listener)

        @callback
        def stop() -> None:
            self._listeners.remove(listener)

        return stop

    def _reading(self) -> list[requests.Request]:
        return [requests.get_option(option) for option in _NEEDED if self.supported(option)]

    @callback
    def _take(self, status: Status, values: list[Reply]) -> None:
        """Keep what was read in one message with a status."""
        read = {}
        for reply in values:
            try:
                told = OptionValue.of(reply)
            except Refused as err:
                # It has none, whatever its capabilities say.
                _LOGGER.debug("%s: %s", self._coordinator.config_entry.title, err)
            else:
                read[str(int(told.option))] = told.value
        self._remembered["options"] = read
        self._remembered["options_read"] = status.counter
        self._coordinator.memory.schedule_save()
        for listener in tuple(self._listeners):
            listener()

    @callback
    def _recorded(self, entry: LogEntry) -> None:
        """Read again what a record tells to have changed, or what may have been in a gap."""
        if (
            entry.event in (Event.OPTION_CHANGED, Event.RESTARTED, None)
            and self._remembered.get("options_read", 0) < entry.counter
        ):
            self._restarted |= entry.event is not Event.OPTION_CHANGED
            self._nudge()

    @callback
    def _nudge(self) -> None:
        self._coordinator.sync.nudge(Job.OPTIONS)
