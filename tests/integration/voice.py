"""The lock entity in each of its states, brought there by the real lock, for the voice tests."""

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bsld import const as c

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from world import TestLock, World

# What a test asks for -> the state of the entity.
STATES = {
    "locked": "locked",
    "unlocked": "unlocked",
    "locking": "locking",
    "unlocking": "unlocking",
    "opening": "opening",
    "jammed": "jammed",
    "open": "open",
    "bolt out beside an open door": "unlocked",
    "unknown": "unknown",
    "unavailable": "unavailable",
}
_MOVES = {"locking": "lock", "unlocking": "unlock", "opening": "open"}


@asynccontextmanager
async def brought_to(world: World, lock: TestLock, what: str) -> AsyncGenerator[None]:
    """Have a lock's entity in the state that STATES has for `what`; a movement ends afterwards."""
    moving: asyncio.Future[Any] | None = None
    core = lock.core
    match what:
        case "locking" | "unlocking" | "opening":
            if what == "locking":
                core.bolt_sensed(c.BOLT_UNLOCKED)
                await world.settle()
            target = {"entity_id": f"lock.{lock.entity}"}
            moving = asyncio.ensure_future(
                world.hass.services.async_call("lock", _MOVES[what], target, blocking=True)
            )
            await world.settle()
        case "bolt out beside an open door":
            core.door_sensed(True)
        case "unavailable":
            lock.silent = True
            await world.advance(100, 10)
        case "locked":
            pass
        case _:
            bolt = {
                "unlocked": c.BOLT_UNLOCKED, "jammed": c.BOLT_JAMMED, "open": c.BOLT_OPEN,
                "unknown": c.BOLT_UNKNOWN,
            }[what]  # fmt: skip
            core.bolt_sensed(bolt)
    await world.settle()
    assert world.state(lock) == STATES[what]
    yield
    if moving is not None:
        await world.advance(3)
        await moving
