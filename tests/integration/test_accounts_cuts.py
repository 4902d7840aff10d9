"""Power cuts of the lock and deaths of Home Assistant at every point of writing somebody's access."""

from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from tenants import Cutter, Tenants, restart

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.errors import NoAnswerError
from custom_components.igrs_lock.ledger import Ledger

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from world import World

DAY = 86400
FULL = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD
HOURS = {"weekdays": ilp.Weekday(0x1F), "first_minute": 480, "last_minute": 720, "uses": 7}
"""Somebody's restrictions, which no enabled account may ever lack."""


@pytest.fixture
def lock(world: World) -> TestLock:
    """A lock with a keypad."""
    return world.add_lock(FULL)


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    await world.advance(10)
    return Tenants(world, lock, entry)


def look(tenants: Tenants) -> None:
    """No account lets anybody do more than somebody meant."""
    for account in tenants.accounts():
        if account.rights & 0x80:
            assert account.not_after
            hours = (account.days, account.first, account.last, account.uses)
            assert hours in {(0x1F, 480, 720, 7), (0x03, 600, 660, 4)}


async def settle(world: World, tenants: Tenants) -> None:
    for _ in range(12):
        await world.advance(15)
        if not tenants.keeper.pending:
            assert not tenants.drifts()
            return
    raise AssertionError("never done")


async def household(world: World, tenants: Tenants, arm: Any) -> None:
    """Add, change, suspend, resume and remove somebody, with something in the way each time."""
    end = int(world.now()) + 5 * DAY
    arm()
    anna = tenants.add("Anna", "482913", not_after=end, **HOURS)
    await settle(world, tenants)
    if tenants.access("Anna").pin.value == "none":
        await tenants.set_pin(anna, "482913")  # it was not stored, and the owner was told
        await settle(world, tenants)
    account = tenants.account("Anna")
    assert (account.rights, account.days, account.uses) == (0xAF, 0x1F, 7)
    assert (account.not_after, bool(account.pin)) == (end, True)
    assert tenants.state("Anna") == "active"
    assert tenants.access("Anna").pin.value == "set"
    arm()
    tenants.change(
        anna,
        weekdays=ilp.Weekday(3),
        first_minute=600,
        last_minute=660,
        uses=4,
        not_after=end - DAY,
    )
    await settle(world, tenants)
    account = tenants.account("Anna")
    assert (account.rights, account.days, account.uses) == (0xAF, 3, 4)
    assert account.not_after == end - DAY
    arm()
    tenants.change(anna, suspended=True)
    await settle(world, tenants)
    assert tenants.account("Anna").rights == 0x2F
    arm()
    tenants.remove(anna)
    await settle(world, tenants)
    assert not tenants.accounts()
    assert not tenants.issues()


async def test_attack_59_the_locks_power_is_cut_at_every_write(
    world: World, tenants: Tenants
) -> None:
    cutter = Cutter(tenants.lock, lambda: look(tenants))
    longest = 0
    for after in range(60):
        most = 0

        def arm(after: int = after) -> None:
            nonlocal most
            most = max(most, cutter.done)
            cutter.arm(after)

        await household(world, tenants, arm)
        longest = after
        if cutter.left is not None and cutter.done < after and most < after:
            break
    assert 10 < longest < 59


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
async def test_home_assistant_dies_at_every_save(
    world: World, tenants: Tenants, monkeypatch: pytest.MonkeyPatch, *, before: bool
) -> None:
    """Before a save: what was just answered is forgotten. After it: what was meant is not sent."""
    real = Ledger.async_save
    left: list[int] = []
    died: list[bool] = []

    async def save(self: Ledger) -> None:
        if died and died[-1]:
            raise NoAnswerError("dead")
        if left and left[0] == 0:
            left.clear()
            if not before:
                await real(self)
            died.append(True)
            raise NoAnswerError("dead")
        if left:
            left[0] -= 1
        await real(self)
        look(tenants)

    monkeypatch.setattr(Ledger, "async_save", save)
    longest = 0
    for after in range(40):
        deaths = len(died)

        def arm(after: int = after) -> None:
            left[:] = [after]

        async def settle_dying(world: World, tenants: Tenants) -> None:
            for _ in range(12):
                await world.advance(15)
                if died and died[-1]:
                    died[-1] = False
                    await restart(tenants)
                    await world.advance(15)
                elif not tenants.keeper.pending:
                    return
            raise AssertionError("never done")

        monkeypatch.setattr("test_accounts_cuts.settle", settle_dying)
        await household(world, tenants, arm)
        longest = after
        if len(died) == deaths:
            break
    assert 5 < longest < 39


@pytest.mark.parametrize("lost", ["write", "notify"])
async def test_every_message_or_answer_is_lost_once(
    world: World, tenants: Tenants, lost: str
) -> None:
    left: list[int] = []

    def drop(data: bytes) -> bytes | None:
        if left and data[1] == 0x13:
            left[0] -= 1
            if left[0] < 0:
                left.clear()
                for connection in list(tenants.lock.connections):
                    connection.end()
                return None
        return data

    if lost == "write":
        tenants.lock.on_write = drop
    else:
        tenants.lock.on_notify = drop
    for after in range(14):

        def arm(after: int = after) -> None:
            left[:] = [after]

        await household(world, tenants, arm)
