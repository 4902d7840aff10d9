"""What a lock says of itself in Bluetooth's Device Information service.

Not authenticated: anybody could have sent it. It is shown on the device's page and nowhere used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from homeassistant.helpers import device_registry as dr

from .const import CONF_MANUFACTURER, CONF_MODEL, CONF_SW_VERSION, MANUFACTURER

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

    from .coordinator import IgrsLockCoordinator

_MODEL_UUID: Final = "00002a24-0000-1000-8000-00805f9b34fb"
_FIRMWARE_UUID: Final = "00002a26-0000-1000-8000-00805f9b34fb"
_MANUFACTURER_UUID: Final = "00002a29-0000-1000-8000-00805f9b34fb"
_TEXT_MAX: Final = 64

UUIDS: Final = (_MANUFACTURER_UUID, _MODEL_UUID, _FIRMWARE_UUID)
"""What to read, in the order that `entry_data` takes."""


def entry_data(
    manufacturer: bytes | None, model: bytes | None, firmware: bytes | None
) -> dict[str, str | None]:
    """Return what a config entry keeps of what was read."""
    return {
        CONF_MANUFACTURER: _text(manufacturer),
        CONF_MODEL: _text(model),
        CONF_SW_VERSION: _text(firmware),
    }


async def async_refresh(hass: HomeAssistant, coordinator: IgrsLockCoordinator) -> None:
    """Read it anew, and show it on the device's page. Kin of OperationError."""
    entry = coordinator.config_entry
    told = entry_data(*await coordinator.client.async_read(*UUIDS))
    if not hass.config_entries.async_update_entry(entry, data={**entry.data, **told}):
        return
    devices = dr.async_get(hass)
    for device in dr.async_entries_for_config_entry(devices, entry.entry_id):
        devices.async_update_device(
            device.id,
            manufacturer=told[CONF_MANUFACTURER] or MANUFACTURER,
            model=told[CONF_MODEL],
            sw_version=told[CONF_SW_VERSION],
        )


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    text = "".join(letter for letter in value.decode(errors="replace") if letter.isprintable())
    return text.strip()[:_TEXT_MAX] or None
