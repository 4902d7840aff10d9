"""Several gateways: any with a free connection will do, another one when one fails, briefly."""

from typing import TYPE_CHECKING

import pytest
from bleak.exc import BleakError

from custom_components.igrs_lock.const import IDLE_HOLD

if TYPE_CHECKING:
    from world import TestLock, World

pytestmark = pytest.mark.usefixtures("quiet")


async def test_a_gateway_without_free_connections_does_not_keep_the_other_from_it(
    world: World, lock: TestLock
) -> None:
    world.near.free = 0
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"


async def test_a_gateway_that_does_not_tell_its_connections_is_tried(
    world: World, lock: TestLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.near.free = world.far.free = 0
    monkeypatch.setattr(world.far, "get_allocations", lambda: None)
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"


@pytest.mark.parametrize("failures", [1, 2])
async def test_a_connection_that_fails_is_tried_again_by_another_path(
    world: World, lock: TestLock, failures: int
) -> None:
    left = [BleakError("no")] * failures

    def fail() -> None:
        if left:
            raise left.pop()

    lock.on_connect = fail
    await world.call(lock, "unlock")
    assert world.state(lock) == "unlocked"
    assert not left


async def test_one_gateway_alone_is_tried_twice_and_no_more(world: World, lock: TestLock) -> None:
    world.far.hears.clear()
    world.far.forget(lock.address)
    tried = []

    def fail() -> None:
        tried.append(1)
        raise BleakError("no")

    lock.on_connect = fail
    assert await world.failing(lock, "unlock") == "out_of_reach"
    assert len(tried) == 2


async def test_a_connection_is_given_back_after_a_few_seconds(world: World, lock: TestLock) -> None:
    await world.call(lock, "unlock")
    assert lock.connections
    await world.advance(3)  # the log is read by the same connection
    await world.advance(IDLE_HOLD)
    assert not lock.connections
