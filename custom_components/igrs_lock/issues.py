"""What the owner should know and do something about, as repair issues."""

from __future__ import annotations

from typing import Final

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir

from .const import (
    DOMAIN,
    ISSUE_AUTO_LOCK_FAILED,
    ISSUE_DOOR_LEFT_OPEN,
    ISSUE_LOG_GAP,
    ISSUE_LOW_BATTERY,
    ISSUE_OUT_OF_REACH,
    ISSUE_RESET_ELSEWHERE,
)

LOCK_ISSUES: Final = (
    ISSUE_AUTO_LOCK_FAILED,
    ISSUE_DOOR_LEFT_OPEN,
    ISSUE_LOG_GAP,
    ISSUE_LOW_BATTERY,
    ISSUE_OUT_OF_REACH,
    ISSUE_RESET_ELSEWHERE,
)
"""Each is `<this>_<device id>` in the registry."""


@callback
def async_delete_issues(hass: HomeAssistant, device_id: str) -> None:
    """Delete the issues of a lock that is gone."""
    for issue in LOCK_ISSUES:
        ir.async_delete_issue(hass, DOMAIN, f"{issue}_{device_id}")
