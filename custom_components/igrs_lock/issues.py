"""What the owner should know and do something about, as repair issues that go by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import BluetoothReachabilityIntent
from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_call_later

from .const import (
    DOMAIN,
    ISSUE_AUTO_LOCK_FAILED,
    ISSUE_DOOR_LEFT_OPEN,
    ISSUE_LOG_GAP,
    ISSUE_LOW_BATTERY,
    ISSUE_OUT_OF_REACH,
    ISSUE_RESET_ELSEWHERE,
    OUT_OF_REACH_AFTER,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from .coordinator import IgrsLockCoordinator

LOCK_ISSUES: Final = (
    ISSUE_AUTO_LOCK_FAILED,
    ISSUE_DOOR_LEFT_OPEN,
    ISSUE_LOG_GAP,
    ISSUE_LOW_BATTERY,
    ISSUE_OUT_OF_REACH,
    ISSUE_RESET_ELSEWHERE,
)
"""Each is `<this>_<device id>` in the registry."""
_FOUND_ONCE: Final = frozenset((ISSUE_LOG_GAP,))
"""These are kept over a restart; the others are found anew."""


@callback
def async_raise_issue(
    hass: HomeAssistant,
    coordinator: IgrsLockCoordinator,
    issue: str,
    *,
    fixable: bool = False,
    placeholders: Mapping[str, str] | None = None,
) -> None:
    """Raise an issue of a lock. The texts have its `name`, and `placeholders`."""
    entry = coordinator.config_entry
    ir.async_create_issue(
        hass,
        DOMAIN,
        f"{issue}_{coordinator.device_id}",
        is_fixable=fixable,
        is_persistent=issue in _FOUND_ONCE,
        severity=ir.IssueSeverity.WARNING,
        translation_key=issue,
        translation_placeholders={"name": entry.title, **(placeholders or {})},
        data={"entry_id": entry.entry_id},
    )


@callback
def async_delete_issues(hass: HomeAssistant, device_id: str) -> None:
    """Delete the issues of a lock that is gone, or that nobody looks after any more."""
    for issue in LOCK_ISSUES:
        ir.async_delete_issue(hass, DOMAIN, f"{issue}_{device_id}")


class IssueKeeper:
    """Raises and deletes what one lock's state tells."""

    def __init__(self, hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
        self._hass = hass
        self._coordinator = coordinator
        self._cancel_timer: CALLBACK_TYPE | None = None

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin; returns what ends it."""
        coordinator = self._coordinator
        stops = (
            coordinator.async_add_listener(self._async_update),
            coordinator.watch.async_listen(self._async_update),
            self._disarm,
        )
        self._async_update()

        @callback
        def stop() -> None:
            for each in stops:
                each()
            if coordinator.config_entry.disabled_by is not None:
                async_delete_issues(self._hass, coordinator.device_id)

        return stop

    @callback
    def _async_update(self) -> None:
        coordinator = self._coordinator
        if not coordinator.available or coordinator.data is None:
            # What was so may still be so. After a start it takes the hour, too.
            if self._cancel_timer is None:
                self._cancel_timer = async_call_later(
                    self._hass,
                    OUT_OF_REACH_AFTER,
                    HassJob(self._async_out_of_reach, cancel_on_shutdown=True),
                )
            return
        self._disarm()
        watch = coordinator.watch
        self._show(ISSUE_OUT_OF_REACH, wanted=False)
        if (low := coordinator.data.low_battery) is not None:
            self._show(ISSUE_LOW_BATTERY, wanted=low)
        self._show(ISSUE_AUTO_LOCK_FAILED, wanted=watch.auto_lock_failed)
        self._show(ISSUE_DOOR_LEFT_OPEN, wanted=watch.door_left_open, minutes=str(watch.minutes))

    @callback
    def _async_out_of_reach(self, _now: datetime) -> None:
        reason = bluetooth.async_address_reachability_diagnostics(
            self._hass, self._coordinator.address, BluetoothReachabilityIntent.CONNECTION
        )
        async_raise_issue(
            self._hass, self._coordinator, ISSUE_OUT_OF_REACH, placeholders={"reason": reason}
        )

    @callback
    def _show(self, issue: str, *, wanted: bool | None, **placeholders: str) -> None:
        if wanted:
            async_raise_issue(self._hass, self._coordinator, issue, placeholders=placeholders)
        else:
            issue_id = f"{issue}_{self._coordinator.device_id}"
            ir.async_delete_issue(self._hass, DOMAIN, issue_id)

    @callback
    def _disarm(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer()
            self._cancel_timer = None
