"""What a lock's log tells, as one sentence each for Activity."""

from __future__ import annotations

import time
import unicodedata
from typing import TYPE_CHECKING, Final

from homeassistant.const import (
    ATTR_DOMAIN,
    ATTR_ENTITY_ID,
    ATTR_NAME,
    EVENT_LOGBOOK_ENTRY,
    Platform,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.translation import async_get_translations
from homeassistant.util import dt as dt_util

from .const import DOMAIN
from .ilp import CONTROLLER_SLOT, Event, Option, Result, Source
from .log_names import is_accounted
from .state import CONTROLLER_NAME

if TYPE_CHECKING:
    from .coordinator import IgrsLockCoordinator
    from .log_store import LogEntry

_NAME_MAX: Final = 100
_MESSAGE: Final = "message"
_AHEAD: Final = 60
"""Seconds by which a record may be ahead of this machine's clock and still be believed."""

_HOW: Final = {
    Source.BY_HAND: "_by_hand",
    Source.BUTTON: "_button",
    Source.KEYPAD: "_keypad",
    Source.NETWORK: "_network",
    Source.BLUETOOTH: "",
}
_DENIED: Final[dict[int, str]] = {
    Result.NO_RIGHT: "_no_right",
    Result.OUTSIDE_TIME: "_outside_time",
    Result.DISABLED: "_suspended",
}
_OPTIONS: Final[dict[int, str]] = {
    Option.AUTO_LOCK_SECONDS: "_auto_lock",
    Option.SOUND: "_sound",
    Option.KEYPAD: "_keypad",
}
_CLOCK: Final = (("minutes", 60, 90), ("hours", 3600, 2 * 3600), ("days", 86400, 2 * 86400))
"""Units with their seconds, and from how many seconds on they are told: never one of them."""


def plain_name(name: str) -> str:
    """Return a name that stays one name in a sentence: no line breaks, no control characters."""
    # Cc, Cf (also what turns the direction of writing), Zl, Zp and so on.
    kept = (" " if unicodedata.category(one)[0] in "CZ" else one for one in name)
    return " ".join("".join(kept).split())[:_NAME_MAX]


class Activity:
    """Tells Activity each entry of one lock's log."""

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._texts: dict[str, str] = {}

    async def async_prepare(self) -> None:
        """Load the sentences in the owner's language."""
        prefix = f"component.{DOMAIN}.common.activity_"
        texts = await async_get_translations(
            self._hass, self._hass.config.language, "common", {DOMAIN}
        )
        self._texts = {key.removeprefix(prefix): text for key, text in texts.items()}

    @callback
    def async_tell(self, entry: LogEntry) -> None:
        """Tell an entry, at the lock.

        As `logbook.async_log_entry` does; importing that would load half of Home Assistant where
        nobody uses it.
        """
        data = {
            ATTR_NAME: plain_name(self._coordinator.config_entry.title),
            _MESSAGE: self.sentence(entry),
            ATTR_DOMAIN: DOMAIN,
        }
        entity_id = er.async_get(self._hass).async_get_entity_id(
            Platform.LOCK, DOMAIN, f"{self._coordinator.device_id}_lock"
        )
        if entity_id is not None:
            data[ATTR_ENTITY_ID] = entity_id
        self._hass.bus.async_fire(EVENT_LOGBOOK_ENTRY, data)

    def sentence(self, entry: LogEntry) -> str:
        """Return what is told after the lock's name; with the time of what is no news."""
        what = self._what(entry)
        if entry.fresh:
            return what
        if (at := entry.happened_at) is None:
            return self._text("at_unknown", what=what)
        local = dt_util.as_local(dt_util.utc_from_timestamp(at))
        key = "at" if at <= time.time() + _AHEAD else "at_ahead"
        return self._text(key, what=what, date=f"{local:%Y-%m-%d}", time=f"{local:%H:%M}")

    def _what(self, entry: LogEntry) -> str:
        match entry.event:
            case None:
                return self._text("log_gap")
            case Event.LOCKED if entry.source is Source.AUTO_LOCK:
                return self._text("locked_auto_lock")
            case Event.LOCKED | Event.UNLOCKED | Event.OPENED as event:
                return self._turn(event, entry)
            case Event.JAMMED:
                return self._jammed(entry)
            case Event.ACCESS_DENIED:
                return self._by("access_denied" + _DENIED.get(entry.detail, ""), entry)
            case Event.ACCOUNT_CHANGED:
                return self._account(entry)
            case Event.OPTION_CHANGED:
                return self._by("option_changed" + _OPTIONS.get(entry.detail, ""), entry)
            case Event.CLOCK_SET:
                return self._clock(entry)
            case event:
                return self._text(event.name.lower())

    def _turn(self, event: Event, entry: LogEntry) -> str:
        key = event.name.lower()
        if (how := _HOW.get(entry.source)) is None:
            return self._text(key)
        if entry.source in (Source.BY_HAND, Source.BUTTON):
            return self._text(key + how)
        if entry.name is None and how:
            return self._text(key + how)
        return self._by(f"{key}{how}_person", entry)

    def _jammed(self, entry: LogEntry) -> str:
        if entry.source is Source.AUTO_LOCK:
            return self._text("jammed_auto_lock")
        if entry.source is Source.BY_HAND:
            return self._text("jammed_by_hand")
        return self._text("jammed") if entry.name is None else self._by("jammed_person", entry)

    def _account(self, entry: LogEntry) -> str:
        coordinator = self._coordinator
        ledger = coordinator.home.ledger.lock(coordinator.device_id)
        _, whom = coordinator.log.who(entry.detail, entry.counter, Source.UNKNOWN)
        if whom is None or not is_accounted(ledger, entry):
            # What others change may make the slot somebody else's.
            return self._by("account_changed", entry)
        return self._by("account_changed_person", entry, whom=whom)

    def _clock(self, entry: LogEntry) -> str:
        """Tell how far a clock was off; only of news it is known when it was set."""
        off = round(time.time()) - entry.timestamp
        if entry.fresh and entry.timestamp:
            for unit, seconds, least in reversed(_CLOCK):
                if abs(off) >= least:
                    key = f"clock_set_{'behind' if off > 0 else 'ahead'}_{unit}"
                    return self._text(key, number=str(round(abs(off) / seconds)))
        return self._text("clock_set")

    def _by(self, key: str, entry: LogEntry, **placeholders: str) -> str:
        person = entry.name
        if person is None:
            person = CONTROLLER_NAME if entry.slot == CONTROLLER_SLOT else self._text("somebody")
        return self._text(key, person=person, **placeholders)

    def _text(self, key: str, **placeholders: str) -> str:
        return self._texts.get(key, key).format(**placeholders)
