"""Bad luck and bad will around pairing, releasing and the time: what must not happen then."""

from typing import TYPE_CHECKING, Any

from homeassistant.config_entries import SOURCE_RECONFIGURE
from world import DOMAIN, SETUP_CODE

from custom_components.igrs_lock.store import PendingPairing, async_get_memory

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

PAIR_CONFIRM, SEALED = 0x03, 0x13
UNUSED = PendingPairing(lock_key="00" * 16, account_id="AAAA-AAAA-AAAA-AAAA")


async def menu(hass: HomeAssistant, entry: Any, choice: str) -> dict[str, Any]:
    """Open the reconfigure menu and choose."""
    flows = hass.config_entries.flow
    result = await flows.async_init(
        DOMAIN, context={"source": SOURCE_RECONFIGURE, "entry_id": entry.entry_id}
    )
    return dict(await flows.async_configure(result["flow_id"], {"next_step_id": choice}))


# --- the owner's word on the clock ----------------------------------------------------------------


async def test_pairing_anew_does_not_let_the_clock_go_back(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    """A guest's key that ended must not come to life again."""
    world.kernel_synchronised = False
    memory = await async_get_memory(hass)
    memory.vouch_for_clock()
    entry = await world.pair(lock)
    later = int(world.now()) + 1_000_000  # since then this machine's clock went back
    memory.lock(lock.unique_id)["time_set"] = later
    lock.core.inner_button_held(10)
    await world.advance(1)
    result = await world.submit(await menu(hass, entry, "pair_again"), {"setup_code": SETUP_CODE})
    assert result["reason"] == "paired_again"
    assert "time_set" not in memory.lock(lock.unique_id)
    memory.forget(lock.unique_id)
    assert memory.time_set == later
    await world.advance(61)
    await world.forget_memory()
    assert (await async_get_memory(hass)).time_set == later


async def test_what_one_lock_was_set_to_holds_for_all(
    hass: HomeAssistant, world: World, lock: TestLock
) -> None:
    world.kernel_synchronised = False
    memory = await async_get_memory(hass)
    memory.vouch_for_clock()
    memory.lock("a neighbour in the same home")["time_set"] = int(world.now()) + 1_000_000
    await world.pair(lock)
    assert not lock.core.clock_trusted
