"""What helps to find out why a lock does not answer, without anything that opens it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import MONOTONIC_TIME, BluetoothReachabilityIntent
from homeassistant.components.diagnostics import async_redact_data
from homeassistant.loader import async_get_integration

from .clock import kernel_synchronised
from .const import CONF_ACCOUNT_ID, CONF_LOCK_KEY, DOMAIN

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

    from .coordinator import IgrsLockConfigEntry

TO_REDACT: Final = frozenset((CONF_LOCK_KEY, CONF_ACCOUNT_ID))


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: IgrsLockConfigEntry
) -> dict[str, Any]:
    """Return what is known of a lock, its gateways and the last request."""
    coordinator = entry.runtime_data
    tracker, client, address = coordinator.tracker, coordinator.client, coordinator.address
    now = MONOTONIC_TIME()
    heard = bluetooth.async_last_service_info(hass, address, connectable=False)
    return {
        "version": str((await async_get_integration(hass, DOMAIN)).version),
        "entry": {
            "title": entry.title,
            "data": async_redact_data(dict(entry.data), TO_REDACT),
        },
        "state": None if coordinator.data is None else asdict(coordinator.data),
        "available": coordinator.available,
        "changed_by": coordinator.changed_by,
        "advertisements": {
            "counter": tracker.counter,
            "epoch": tracker.epoch,
            "heard_seconds_ago": _ago(now, tracker.heard_at),
            "new_counter_seconds_ago": _ago(now, tracker.advanced_at),
            "learned_interval": bluetooth.async_get_learned_advertising_interval(hass, address),
        },
        "path": None if heard is None else heard.source,
        "gateways": [
            {
                "name": path.scanner.name,
                "source": path.scanner.source,
                "connectable": path.scanner.connectable,
                "rssi": path.advertisement.rssi,
                "failures": path.scanner.connection_failures(address),
                "slots": _slots(path.scanner),
            }
            for path in bluetooth.async_scanner_devices_by_address(hass, address, False)
        ],
        "reachability": bluetooth.async_address_reachability_diagnostics(
            hass, address, BluetoothReachabilityIntent.CONNECTION
        ),
        "connection": {
            "session": client.session_alive,
            "refusals": client.refusals,
            "last_request_ms": None if client.timing is None else client.timing.as_dict(),
        },
        "clock": {
            "this_machine_synchronised": kernel_synchronised(),
            "owner_vouches": coordinator.memory.clock_vouched,
            "set": coordinator.remembered.get("time_set"),
            "offsets": coordinator.remembered.get("offsets"),
            "lock_off": client.clock_off,
        },
    }


def _ago(now: float, then: float | None) -> float | None:
    return None if then is None else round(now - then, 1)


def _slots(scanner: bluetooth.BaseHaScanner) -> str | None:
    allocations = scanner.get_allocations()
    return None if allocations is None else f"{allocations.free} of {allocations.slots} free"
