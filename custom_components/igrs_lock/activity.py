"""What a lock's log tells, as sentences for Activity."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from homeassistant.core import HomeAssistant, callback

if TYPE_CHECKING:
    from .coordinator import IgrsLockCoordinator
    from .log_store import LogEntry

_NAME_MAX: Final = 100


def plain_name(name: str) -> str:
    """Return a name that stays one name in a sentence: no line breaks, no control characters."""
    # Cc, Cf (also what turns the direction of writing), Cs, Zl, Zp and so on.
    kept = (" " if unicodedata.category(one)[0] in "CZ" else one for one in name)
    return " ".join("".join(kept).split())[:_NAME_MAX]


class Activity:
    """Tells Activity each entry of one lock's log, once."""

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator

    async def async_prepare(self) -> None:
        """Load the sentences."""

    @callback
    def async_tell(self, entry: LogEntry) -> None:
        """Tell an entry."""
