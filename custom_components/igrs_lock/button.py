"""Finding out which lock it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, override

from homeassistant.components.button import ButtonEntity, ButtonEntityDescription
from homeassistant.components.button.const import ButtonDeviceClass
from homeassistant.const import EntityCategory

from .entity import IgrsLockEntity
from .errors import NoAnswerError
from .ilp import IlpError, Result, Status, requests
from .movement import refusal

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry

PARALLEL_UPDATES = 1

IDENTIFY: Final = ButtonEntityDescription(
    key="identify",
    device_class=ButtonDeviceClass.IDENTIFY,
    entity_category=EntityCategory.CONFIG,
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the button."""
    async_add_entities([IdentifyButton(entry.runtime_data, IDENTIFY)])


class IdentifyButton(IgrsLockEntity, ButtonEntity):
    """Lets the lock sound or blink for five seconds."""

    @override
    async def async_press(self) -> None:
        """Ask for it (command 4F)."""
        name = self.coordinator.config_entry.title
        await self._async_check_settings()
        (reply,) = await self.coordinator.async_request(requests.identify())
        try:
            status = Status.of(reply)
        except IlpError as err:
            raise NoAnswerError(name) from err
        if status.result is not Result.DONE:
            raise refusal(status.result, name)
