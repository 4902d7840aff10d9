"""People's access to locks whose entry is not set up, a disabled one's for example.

Nobody can tell such a lock of a removal. What was decided is noted all the same, and the owner is
told who can still open it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from homeassistant.core import HomeAssistant, callback

from .account_intake import note_taken, refresh, refresh_ended
from .account_issues import async_update_away_issues
from .account_plan import Terms
from .drift import Wanted
from .errors import OperationError
from .home import keypad_locks

if TYPE_CHECKING:
    from .home import Home

_LOGGER = logging.getLogger(__name__)


async def async_refresh_away(hass: HomeAssistant, home: Home) -> None:
    """Take what the owner changed about people into the ledgers of locks that are not set up."""
    if home.people_entry is None:
        return
    changed = False
    for device_id in [one for one in home.ledger.locks if one not in home.coordinators]:
        changed |= _refresh(hass, home, device_id)
        async_update_away_issues(hass, home, device_id)
    if changed:
        try:
            await home.ledger.async_save()
        except OperationError as err:
            _LOGGER.debug("People are not stored: %s", err)  # the ledger has logged it


@callback
def _refresh(hass: HomeAssistant, home: Home, device_id: str) -> bool:
    ledger, taken = home.ledger.lock(device_id), home.taken.setdefault(device_id, set())
    changed = refresh_ended(ledger, home, device_id, taken)
    wanted = {
        person.id: Wanted(person.name, Terms.of(person))
        for person in home.persons().values()
        if device_id in person.locks and person.id not in ledger.ended
    }
    keypad = device_id in keypad_locks(hass)
    changed |= refresh(ledger, wanted, int(time.time()), keypad=keypad)
    note_taken(ledger, home, device_id, taken)
    return changed
