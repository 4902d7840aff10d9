"""What helps to find out why a lock does not answer, without anything that opens it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from homeassistant.components import bluetooth
from homeassistant.components.bluetooth import MONOTONIC_TIME, BluetoothReachabilityIntent
from homeassistant.components.diagnostics import async_redact_data
from homeassistant.loader import async_get_integration

from .clock import kernel_synchronised
from .const import CONF_ACCOUNT_ID, CONF_LOCK_KEY, DOMAIN, SUBENTRY_PERSON
from .home import is_people, is_server
from .ilp import Option
from .person import Person
from .remote.diagnostics import server_diagnostics
from .state import CHANGED_BY, CONTROLLER_NAME

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant

    from .coordinator import IgrsLockCoordinator

TO_REDACT: Final = frozenset((CONF_LOCK_KEY, CONF_ACCOUNT_ID))


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: ConfigEntry[Any]
) -> dict[str, Any]:
    """Return what is known of a lock, its gateways and the last request; of people how many.

    Of a server how it stands with its link, and who it speaks for: not who they are.
    """
    version = str((await async_get_integration(hass, DOMAIN)).version)
    if is_people(entry):
        return {"version": version, "people": _people(entry)}
    if is_server(entry):
        return {"version": version, **server_diagnostics(entry)}
    coordinator: IgrsLockCoordinator = entry.runtime_data
    tracker, client, address = coordinator.tracker, coordinator.client, coordinator.address
    now = MONOTONIC_TIME()
    heard = bluetooth.async_last_service_info(hass, address, connectable=False)
    return {
        "version": version,
        "entry": {
            "title": entry.title,
            "data": async_redact_data(dict(entry.data), TO_REDACT),
            "options": dict(entry.options),
        },
        "state": None if coordinator.data is None else asdict(coordinator.data),
        "available": coordinator.available,
        "changed_by": _cause(coordinator.changed_by),
        "advertisements": {
            "counter": tracker.counter,
            "epoch": tracker.epoch,
            "heard_seconds_ago": _ago(now, tracker.heard_at),
            "new_counter_seconds_ago": _ago(now, tracker.advanced_at),
            "learned_interval": bluetooth.async_get_learned_advertising_interval(hass, address),
        },
        "path": None if heard is None else _path(hass, heard),
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
            "refusals": coordinator.operator.refusals,
            "last_request_ms": None if client.timing is None else client.timing.as_dict(),
        },
        **_work(coordinator),
        "options": {
            option.name.lower(): coordinator.options.get(option)
            for option in Option
            if coordinator.options.get(option) is not None
        },
        "watch": {
            "door_left_open": coordinator.watch.door_left_open,
            "auto_lock_failed": coordinator.watch.auto_lock_failed,
        },
        "clock": {
            "this_machine_synchronised": kernel_synchronised(),
            "owner_vouches": coordinator.memory.clock_vouched,
            "set": coordinator.remembered.get("time_set"),
            "offsets": coordinator.remembered.get("offsets"),
            "lock_off": client.clock_off,
        },
    }


def _work(coordinator: IgrsLockCoordinator) -> dict[str, Any]:
    """Return what waits to be done with the lock, and how many have access: not who."""
    log, access = coordinator.log, coordinator.accounts.access()
    return {
        "sync": coordinator.sync.status(),
        "log": {"cursor": log.cursor, "entries": len(log.entries)},
        "accounts": dict(Counter(one.state.value for one in access)),
    }


def _people(entry: ConfigEntry[Any]) -> dict[str, int]:
    """Return how many people of each kind there are."""
    people = [Person.of(one) for one in entry.get_subentries_of_type(SUBENTRY_PERSON)]
    return dict(Counter(person.kind.value for person in people))


def _cause(changed_by: str | None) -> str | None:
    """Return what moved the bolt; of a person only that it was one."""
    return changed_by if changed_by in (None, *CHANGED_BY, CONTROLLER_NAME) else "a person"


def _path(hass: HomeAssistant, heard: bluetooth.BluetoothServiceInfoBleak) -> dict[str, Any]:
    scanner = bluetooth.async_scanner_by_source(hass, heard.source)
    name = None if scanner is None else scanner.name
    return {"name": name, "source": heard.source, "rssi": heard.rssi}


def _ago(now: float, then: float | None) -> float | None:
    return None if then is None else round(now - then, 1)


def _slots(scanner: bluetooth.BaseHaScanner) -> str | None:
    allocations = scanner.get_allocations()
    return None if allocations is None else f"{allocations.free} of {allocations.slots} free"
