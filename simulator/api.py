"""The HTTP interface: what a person can do at a door, and what tests and benches need to see.

Documented in README.md. Errors are JSON: `{"error": "..."}` with 400 (not understood), 404 (no
such thing) or 409 (understood, but impossible at this door now).
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from aiohttp import web
from bsld import const as c

from .door import ImpossibleError
from .events import RESULTS
from .virtual_lock import VirtualLock
from .world import World

WORLD = web.AppKey("world", World)
HEARTBEAT_SECONDS = 15.0
MAX_BODY = 4096

type Body = dict[str, Any]
type Action = Callable[[World, VirtualLock, Body], Awaitable[Body | None]]


class BadRequestError(Exception):
    """What was sent is not understood; the text says what is wrong with it."""


class NoPowerError(ImpossibleError):
    """The lock has no power."""

    def __init__(self) -> None:
        super().__init__("The lock has no power.")


# --- reading what was sent ------------------------------------------------------------------------


async def read_body(request: web.Request) -> Body:
    """Read a JSON object.

    Raises:
        BadRequestError: it is not one.
    """
    if request.content_type != "application/json":
        # Also keeps plain forms of other pages out: they cannot send this type.
        raise BadRequestError("send JSON with Content-Type: application/json")
    try:
        body = json.loads(await request.text())
    except (ValueError, RecursionError) as error:
        raise BadRequestError("this is not JSON") from error
    if not isinstance(body, dict):
        raise BadRequestError("send a JSON object")
    return body


def only(body: Body, *names: str) -> None:
    """Refuse names that mean nothing, which are mistakes in writing.

    Raises:
        BadRequestError: there are some.
    """
    for name in body:
        if name not in names:
            allowed = f"; allowed: {', '.join(names)}" if names else "; nothing is expected"
            raise BadRequestError(f'unknown name "{name}"{allowed}')


def boolean(body: Body, name: str) -> bool:
    """Read true or false.

    Raises:
        BadRequestError: it is something else or missing.
    """
    value = body.get(name)
    if not isinstance(value, bool):
        raise BadRequestError(f'"{name}" must be true or false')
    return value


def number(body: Body, name: str, low: float, high: float) -> float:
    """Read a number within limits.

    Raises:
        BadRequestError: it is something else or missing.
    """
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise BadRequestError(f'"{name}" must be a number from {low:g} to {high:g}')
    return value


# --- actions --------------------------------------------------------------------------------------


async def _turn(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "bolt")
    if body.get("bolt") not in ("locked", "unlocked"):
        raise BadRequestError('"bolt" must be "locked" or "unlocked"')
    lock.door.turn(body["bolt"] == "locked")


async def _door(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "open")
    lock.door.move(boolean(body, "open"))


async def _pin(_world: World, lock: VirtualLock, body: Body) -> Body:
    only(body, "digits")
    digits = body.get("digits")
    if not isinstance(digits, str) or not 1 <= len(digits) <= 16 or not _is_digits(digits):
        raise BadRequestError('"digits" must be 1 to 16 digits, as a string')
    return _result(lock.pin_entered(digits), lock.pin_refusals())


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _result(result: int | None, words: Mapping[int, str] = MappingProxyType({})) -> Body:
    if result is None:
        raise NoPowerError
    return {
        "result": result,
        "meaning": words.get(result) or RESULTS.get(result, "unknown"),
        "accepted": result in (c.DONE, c.ACCEPTED),
    }


async def _jam(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "on")
    lock.door.block(boolean(body, "on"))


async def _battery(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "percent")
    lock.door.charge(number(body, "percent", 0, 100))


async def _forget_clock(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body)
    await lock.forget_clock()


async def _hold_button(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "seconds")
    seconds = number(body, "seconds", 0, 60) if "seconds" in body else c.SETUP_HOLD_S
    if not lock.button_held(seconds):
        raise NoPowerError


async def _press_button(_world: World, lock: VirtualLock, body: Body) -> Body:
    only(body)
    return _result(lock.button_pressed())


async def _tamper(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "on")
    lock.door.cover(boolean(body, "on"))


async def _power(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "on", "after_bytes")
    on = boolean(body, "on")
    if "after_bytes" in body:
        if on:
            raise BadRequestError('"after_bytes" goes with "on": false')
        lock.cut_power_after(int(number(body, "after_bytes", 0, 1_000_000)))
    elif on:
        await lock.power_on()
    else:
        lock.power_off()


async def _distance(world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "gateway", "rssi")
    gateway = body.get("gateway")
    if gateway is not None and not isinstance(gateway, str):
        raise BadRequestError('"gateway" must be a name, or null for all')
    if "rssi" not in body:
        raise BadRequestError('"rssi" is missing: dBm, or null for out of reach')
    rssi = None if body["rssi"] is None else int(number(body, "rssi", -127, 20))
    world.radio.set_rssi(lock.identity.id, gateway, rssi)
    world.radio_changed()


async def _motor(_world: World, lock: VirtualLock, body: Body) -> None:
    only(body, "seconds")
    lock.door.motor_seconds = number(body, "seconds", 0, 30)
    lock.changed()


ACTIONS: dict[str, Action] = {
    "turn": _turn,
    "door": _door,
    "pin": _pin,
    "jam": _jam,
    "battery": _battery,
    "forget_clock": _forget_clock,
    "hold_button": _hold_button,
    "press_button": _press_button,
    "tamper": _tamper,
    "power": _power,
    "distance": _distance,
    "motor": _motor,
}


# --- routes ---------------------------------------------------------------------------------------

routes = web.RouteTableDef()


def _lock(request: web.Request) -> VirtualLock:
    lock = request.app[WORLD].locks.get(request.match_info["id"].upper())
    if lock is None:
        raise web.HTTPNotFound(text="no such lock")
    return lock


@routes.get("/api/locks")
async def list_locks(request: web.Request) -> web.Response:
    """All locks."""
    world = request.app[WORLD]
    return web.json_response([world.lock_state(lock) for lock in world.locks.values()])


@routes.get("/api/locks/{id}")
async def show_lock(request: web.Request) -> web.Response:
    """One lock."""
    return web.json_response(request.app[WORLD].lock_state(_lock(request)))


@routes.get("/api/locks/{id}/trace")
async def show_trace(request: web.Request) -> web.Response:
    """What happened when, for benches."""
    return web.json_response(list(_lock(request).traced))


@routes.delete("/api/locks/{id}/trace")
async def clear_trace(request: web.Request) -> web.Response:
    """Forget the trace."""
    _lock(request).traced.clear()
    return web.json_response([])


@routes.post("/api/locks/{id}/{action}")
async def act(request: web.Request) -> web.Response:
    """Do something to a lock; answers its state, with a result where there is one."""
    world, lock = request.app[WORLD], _lock(request)
    action = ACTIONS.get(request.match_info["action"])
    if action is None:
        raise web.HTTPNotFound(text=f"no such action; there are {', '.join(ACTIONS)}")
    result = await action(world, lock, await read_body(request))
    return web.json_response(world.lock_state(lock) | (result or {}))


@routes.get("/api/radio")
async def show_radio(request: web.Request) -> web.Response:
    """The radio's settings and adapters."""
    return web.json_response(request.app[WORLD].radio_state())


@routes.post("/api/radio")
async def set_radio(request: web.Request) -> web.Response:
    """Change the radio: `interval_ms` holds for new connections, `loss` at once."""
    world = request.app[WORLD]
    body = await read_body(request)
    only(body, "interval_ms", "loss")
    interval = world.radio.interval_ms
    if "interval_ms" in body:
        interval = None if body["interval_ms"] is None else number(body, "interval_ms", 0, 4000)
        if interval is not None and 0 < interval < 7.5:
            raise BadRequestError('"interval_ms" must be 0, 7.5 to 4000, or null')
    loss = number(body, "loss", 0, 1) if "loss" in body else world.radio.loss
    world.radio.interval_ms = interval
    world.radio.set_loss(loss)
    world.radio_changed()
    return web.json_response(world.radio_state())


@routes.get("/api/events")
async def stream(request: web.Request) -> web.StreamResponse:
    """Server-sent events: `lock` (a lock's state) and `radio`, first all, then every change."""
    world = request.app[WORLD]
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    await response.prepare(request)

    async def send(kind: str, payload: object) -> None:
        await response.write(f"event: {kind}\ndata: {json.dumps(payload)}\n\n".encode())

    # A page that was closed is no error.
    with contextlib.suppress(ConnectionResetError), world.hub.listen() as queue:
        await send("radio", world.radio_state())
        for lock in world.locks.values():
            await send("lock", world.lock_state(lock))
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    item = await queue.get()
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if item is None:
                break
            await send(*item)
    return response
