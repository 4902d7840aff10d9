"""Home Assistant with two virtual gateways, and real lock cores in reach of them.

The clock stands still unless a test moves it: `world.advance` lets seconds pass for Home
Assistant, its event loop and the locks alike.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from homeassistant.core import callback
from homeassistant.util import dt as dt_util

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "firmware")]

# Before Home Assistant looks for this package in the folder of its own test configuration.
from ras_house import enrolled, ras, ras_folder, ras_house  # noqa: E402 - the path is set above
from world import SETUP_CODE, TestLock, World  # noqa: E402 - the path is set above

import custom_components.igrs_lock  # noqa: E402, F401

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from freezegun.api import FrozenDateTimeFactory
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event, EventStateChangedData, HomeAssistant

__all__ = ["SETUP_CODE", "enrolled", "ras", "ras_folder", "ras_house"]


@pytest.fixture(autouse=True)
def _custom_integrations(enable_custom_integrations: None) -> None:
    """Load the integration from the checkout."""


@pytest.fixture
async def world(hass: HomeAssistant, freezer: FrozenDateTimeFactory) -> AsyncGenerator[World]:
    """Two gateways, no lock yet; this machine's clock is right."""
    # A lock counts whole seconds: with a fraction, by chance, setting its time would move it and be an event in its log.
    freezer.move_to(dt_util.utcnow().replace(microsecond=0) + timedelta(seconds=1))
    world = World(hass, freezer)
    with (
        patch("bleak_retry_connector.establish_connection", world.connect),
        patch("custom_components.igrs_lock.coordinator.MONOTONIC_TIME", world.monotonic),
        patch("custom_components.igrs_lock.diagnostics.MONOTONIC_TIME", world.monotonic),
        patch(
            "custom_components.igrs_lock.clock.kernel_synchronised",
            lambda: world.kernel_synchronised,
        ),
    ):
        await world.start()
        yield world
        await world.stop()


@pytest.fixture
async def lock(world: World) -> TestLock:
    """A new lock: unpaired, in setup mode, in reach of both gateways, bolt out, door closed."""
    return world.add_lock()


@pytest.fixture
async def entry(hass: HomeAssistant, world: World, lock: TestLock) -> ConfigEntry[Any]:
    """The lock's config entry: paired by the real flow, and heard since."""
    return await world.pair(lock)


@pytest.fixture
async def quiet(world: World, lock: TestLock, entry: object) -> None:
    """Begin without a connection and with empty notes."""
    await world.advance(6)
    lock.traffic.clear()
    assert not lock.connections


@pytest.fixture
def states(hass: HomeAssistant, entry: object) -> list[str]:
    """Collect every state that the lock entity has from now on."""
    seen: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if event.data["entity_id"].startswith("lock.") and state and seen[-1:] != [state.state]:
            seen.append(state.state)

    hass.bus.async_listen("state_changed", note)
    return seen
