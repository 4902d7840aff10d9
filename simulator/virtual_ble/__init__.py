"""Gives Home Assistant Bluetooth adapters on the simulator's radio. For development only.

Not part of IGRS Lock and never installed with it: a development set-up links this folder into
`<config>/custom_components`. Several adapters make several gateways. See README.md.
"""

from typing import TYPE_CHECKING

from homeassistant.components import bluetooth
from homeassistant.const import CONF_HOST, CONF_MODE, CONF_NAME, CONF_PORT, EVENT_HOMEASSISTANT_STOP
from homeassistant.core import callback
from homeassistant.helpers import config_validation as cv

import voluptuous as vol  # isort: skip (after homeassistant, which puts probatio in its place)

from .adapter import Adapter, Settings
from .cache import GattCache
from .const import CONF_SLOTS, CONF_WAIT_FOR_MTU, DEFAULT_SLOTS, DOMAIN
from .scanner import VirtualScanner

if TYPE_CHECKING:
    from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant
    from homeassistant.helpers.typing import ConfigType

ADAPTER_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_PORT): cv.port,
        vol.Required(CONF_NAME): cv.string,
        vol.Optional(CONF_HOST, default="127.0.0.1"): cv.string,
        vol.Optional(CONF_MODE, default="auto"): vol.In(["auto", "active", "passive"]),
        vol.Optional(CONF_SLOTS, default=DEFAULT_SLOTS): vol.All(vol.Coerce(int), vol.Range(1, 9)),
        vol.Optional(CONF_WAIT_FOR_MTU, default=True): cv.boolean,
    }
)
CONFIG_SCHEMA = vol.Schema(
    {DOMAIN: vol.All(cv.ensure_list, [ADAPTER_SCHEMA])}, extra=vol.ALLOW_EXTRA
)


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Register a scanner for each adapter, and bring the adapters up in the background."""
    cache = GattCache()
    for entry in config[DOMAIN]:
        settings = Settings(
            name=entry[CONF_NAME],
            host=entry[CONF_HOST],
            port=entry[CONF_PORT],
            slots=entry[CONF_SLOTS],
            wait_for_mtu=entry[CONF_WAIT_FOR_MTU],
        )
        adapter = Adapter(settings, cache)
        scanner = VirtualScanner(adapter, entry[CONF_MODE])
        stops = [bluetooth.async_register_scanner(hass, scanner), scanner.async_setup()]

        @callback
        def stop(_event: Event, stops: list[CALLBACK_TYPE] = stops) -> None:
            for undo in stops:
                undo()

        hass.bus.async_listen_once(EVENT_HOMEASSISTANT_STOP, stop)
        hass.async_create_background_task(adapter.run(), f"virtual_ble {adapter.settings.name}")
    return True
