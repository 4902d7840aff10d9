"""What the lock or this home does or does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast, override

from homeassistant.components.switch import SwitchEntity, SwitchEntityDescription
from homeassistant.const import EntityCategory

from .const import CONF_ALWAYS_CONNECTED
from .entity import IgrsLockEntity, IgrsLockOptionEntity
from .home import is_server
from .ilp import Option
from .remote.switch import async_add_switches

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

    from .coordinator import IgrsLockConfigEntry
    from .remote.gateway import ServerConfigEntry

PARALLEL_UPDATES = 1

OPTIONS: Final = {
    Option.SOUND: SwitchEntityDescription(
        key="sound", translation_key="sound", entity_category=EntityCategory.CONFIG
    ),
    Option.KEYPAD: SwitchEntityDescription(
        key="keypad", translation_key="keypad", entity_category=EntityCategory.CONFIG
    ),
}
ALWAYS_CONNECTED: Final = SwitchEntityDescription(
    key="always_connected",
    translation_key="always_connected",
    entity_category=EntityCategory.CONFIG,
    entity_registry_enabled_default=False,
)


async def async_setup_entry(
    _hass: HomeAssistant,
    entry: IgrsLockConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the switches of a lock, or that of a server."""
    if is_server(entry):
        async_add_switches(cast("ServerConfigEntry", entry), async_add_entities)
        return
    coordinator = entry.runtime_data
    async_add_entities(
        IgrsLockSwitch(coordinator, description, option)
        for option, description in OPTIONS.items()
        if coordinator.options.supported(option)
    )
    async_add_entities([AlwaysConnected(coordinator, ALWAYS_CONNECTED)])


class IgrsLockSwitch(IgrsLockOptionEntity, SwitchEntity):
    """An option of the lock that is on or off."""

    @property
    @override
    def is_on(self) -> bool | None:
        """Return what the lock said last; None before it was read."""
        value = self.coordinator.options.get(self._option)
        return None if value is None else bool(value)

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Let the lock do it."""
        await self._async_check_settings()
        await self.coordinator.options.async_set(self._option, 1)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Let the lock do it no more."""
        await self._async_check_settings()
        await self.coordinator.options.async_set(self._option, 0)


class AlwaysConnected(IgrsLockEntity, SwitchEntity):
    """Whether the connection to the lock is kept. This home's choice: it needs no lock."""

    @property
    @override
    def available(self) -> bool:
        """It can be chosen at any time."""
        return True

    @property
    @override
    def is_on(self) -> bool:
        """Return what was chosen."""
        return bool(self.coordinator.config_entry.options.get(CONF_ALWAYS_CONNECTED))

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Keep the connection from now on."""
        await self._async_check_settings()
        self._choose(on=True)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Connect when there is something to ask."""
        await self._async_check_settings()
        self._choose(on=False)

    def _choose(self, *, on: bool) -> None:
        entry = self.coordinator.config_entry
        self.hass.config_entries.async_update_entry(
            entry, options={**entry.options, CONF_ALWAYS_CONNECTED: on}
        )
        self.async_write_ha_state()
