"""A lock has one name: what its owner calls the device.

Home Assistant's dialogs name the device and not the entry, but errors, the log, repairs and the
dialogs about people speak of locks by the title of their entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from homeassistant.core import callback
from homeassistant.helpers import device_registry as dr
from homeassistant.helpers import entity_registry as er

from .const import DOMAIN

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant

    from .coordinator import IgrsLockConfigEntry


@callback
def async_follow_name(hass: HomeAssistant, entry: IgrsLockConfigEntry) -> CALLBACK_TYPE:
    """Give the entry each name that the owner gives the device; return what ends this."""
    devices = dr.async_get(hass)

    @callback
    def renamed(event: Event[dr.EventDeviceRegistryUpdatedData]) -> None:
        data = event.data
        if data["action"] != "update" or "name_by_user" not in data["changes"]:
            return
        device = devices.async_get(data["device_id"])
        coordinator = entry.runtime_data
        if (
            device is not None
            and (DOMAIN, coordinator.device_id) in device.identifiers
            # Without a name of the owner's it has the title already.
            and device.name_by_user
        ):
            coordinator.client.rename(device.name_by_user)
            hass.config_entries.async_update_entry(entry, title=device.name_by_user)

    return hass.bus.async_listen(dr.EVENT_DEVICE_REGISTRY_UPDATED, renamed)


@callback
def async_name_lock(hass: HomeAssistant, entry: ConfigEntry[Any], name: str) -> None:
    """Name a lock that was just paired, as Home Assistant's dialog does: also its entities' ids."""
    devices, entities = dr.async_get(hass), er.async_get(hass)
    for device in dr.async_entries_for_config_entry(devices, entry.entry_id):
        devices.async_update_device(device.id, name_by_user=name)
    for entity in er.async_entries_for_config_entry(entities, entry.entry_id):
        if (wanted := entities.async_regenerate_entity_id(entity)) != entity.entity_id:
            entities.async_update_entity(entity.entity_id, new_entity_id=wanted)
    hass.config_entries.async_update_entry(entry, title=name)
