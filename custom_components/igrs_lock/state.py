"""What a lock said last, and who or what moved its bolt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from .ilp import CONTROLLER_SLOT, Advertisement, Bolt, Door, Source, StateEvent

if TYPE_CHECKING:
    from .log_store import LogEntry

CONTROLLER_NAME: Final = "Home Assistant"
CAUSES: Final = {
    Source.KEYPAD: "keypad",
    Source.BY_HAND: "by_hand",
    Source.AUTO_LOCK: "auto_lock",
    Source.BUTTON: "button",
    Source.NETWORK: "network",
}
CHANGED_BY: Final = (*CAUSES.values(),)


@dataclass(frozen=True, slots=True)
class LockState:
    """What the lock said last, authenticated. `battery` in percent; None for what is not known.

    Low battery and tampering only advertisements tell.
    """

    bolt: Bolt
    door: Door
    battery: int | None
    low_battery: bool | None = None
    tamper: bool | None = None

    @classmethod
    def advertised(cls, advertisement: Advertisement) -> Self:
        """Read an authentic advertisement."""
        return cls(
            advertisement.bolt,
            advertisement.door,
            advertisement.battery,
            advertisement.low_battery,
            advertisement.tamper,
        )


def cause(event: StateEvent | LogEntry, holder: str | None) -> str | None:
    """Return who or what moved the bolt: a name, or a key of CHANGED_BY; None when not known.

    `holder` is the name of whoever has the event's slot.
    """
    if event.source is Source.BLUETOOTH:
        return CONTROLLER_NAME if event.slot == CONTROLLER_SLOT else holder
    return holder or CAUSES.get(event.source)
