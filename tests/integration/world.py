"""A small world for the tests: gateways, locks with the real core, and time that is moved."""

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from bleak.exc import BleakError
from board import SETUP_BYTES, SETUP_CODE, Connection, Gateway, TestLock
from bsld import advert
from bsld import const as c
from bsld.identifiers import local_name
from homeassistant.components import bluetooth
from homeassistant.config_entries import SOURCE_USER, ConfigEntry
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.exceptions import HomeAssistantError
from homeassistant.loader import async_get_integration
from homeassistant.setup import async_setup_component

from custom_components.igrs_lock import ilp

if TYPE_CHECKING:
    from collections.abc import Callable

    from bleak.backends.device import BLEDevice
    from freezegun.api import FrozenDateTimeFactory
    from homeassistant.core import HomeAssistant

DOMAIN = "igrs_lock"
__all__ = ["DOMAIN", "SETUP_CODE", "TestLock", "World", "name_of", "swap_once"]


class OtherController:
    """A controller on a connection of its own: a neighbour's, a second one, or a test's hand."""

    def __init__(self, world: World, lock: TestLock) -> None:
        self.world = world
        self.lock = lock
        self.key = b""
        self.heard: list[bytes] = []
        self.connection = Connection(lock, lambda _connection: None)

    async def say(self, message: bytes) -> bytes:
        """Send a message and return the last one that came back."""
        if self.connection._notify is None:
            await self.connection.start_notify(
                self.connection.services.get_characteristic(c.RESPONSE_UUID),  # type: ignore[arg-type]  # it is there
                lambda _characteristic, data: self.heard.append(bytes(data[1:])),
            )
        self.lock.core.written(self.connection.number, b"\x80" + message)
        await self.world.settle()
        return self.heard[-1]

    async def pair(self) -> None:
        """Pair, and open the session that completes it."""
        client = ilp.PairingClient(SETUP_BYTES, self.lock.device_id)
        confirm = client.on_reply(await self.say(client.request()))
        await self.say(confirm)
        assert client.lock_key is not None
        self.key = ilp.controller_key(client.lock_key)
        await self.request(ilp.requests.get_status())

    async def request(self, *wanted: ilp.Request) -> bytes:
        """Send requests in a new session."""
        nonce = ilp.parse_challenge(await self.say(ilp.challenge_request()))
        session = ilp.ClientSession(
            self.key, self.lock.device_id, 255, ilp.NonceSource.CHALLENGE, nonce
        )
        return await self.say(session.open([one.at(int(time.time())) for one in wanted]))


class World:
    """Gateways, locks, and the hand on the clock."""

    def __init__(self, hass: HomeAssistant, freezer: FrozenDateTimeFactory) -> None:
        self.hass = hass
        self.freezer = freezer
        self.kernel_synchronised = True
        self.locks: dict[str, TestLock] = {}
        self.near: Gateway
        self.far: Gateway
        self.connections = 0
        self._stops: list[Callable[[], None]] = []

    # --- life ---

    async def start(self) -> None:
        # It notes the stack of every callback, and moved time looks like slow code to it.
        asyncio.get_running_loop().set_debug(False)
        assert await async_setup_component(self.hass, "bluetooth", {})
        await self.hass.async_block_till_done()
        # Home Assistant imports in threads, which moved time does not wait for.
        integration = await async_get_integration(self.hass, DOMAIN)
        await integration.async_get_platforms(
            [
                "binary_sensor", "button", "config_flow", "diagnostics", "event", "lock", "number",
                "repairs", "sensor", "switch",
            ]
        )  # fmt: skip
        for domain in (
            "binary_sensor", "button", "event", "lock", "number", "repairs", "sensor", "switch",
        ):  # fmt: skip
            assert await async_setup_component(self.hass, domain, {})
        await self.hass.async_block_till_done()
        self.near = Gateway("AA:00:00:00:00:01", "near")
        self.far = Gateway("AA:00:00:00:00:02", "far")
        self.far.rssi = -85
        for gateway in (self.near, self.far):
            self._stops.append(gateway.async_setup())
            self._stops.append(bluetooth.async_register_scanner(self.hass, gateway))

    async def stop(self) -> None:
        for stop in reversed(self._stops):
            stop()

    def add_lock(
        self, capabilities: int = c.CAP_LATCH | c.CAP_DOOR_SENSOR, *, silent: bool = False
    ) -> TestLock:
        """Hang a new lock on a door."""
        lock = TestLock(self, len(self.locks), capabilities)
        lock.silent = silent
        self.locks[lock.address] = lock
        self.near.hears.add(lock)
        self.far.hears.add(lock)
        self.broadcast(lock)
        return lock

    def monotonic(self) -> float:
        return time.monotonic()

    # --- air ---

    def broadcast(self, lock: TestLock) -> None:
        if lock.silent or lock.mute:
            return
        for gateway in (self.near, self.far):
            if lock in gateway.hears:
                gateway.hear(lock.address, advert.payload(lock.data))

    def forge(self, lock: TestLock, data: bytes, age: float = 0.0) -> None:
        """Send 10 bytes in a lock's name."""
        self.near.hear(lock.address, advert.payload(data), age)

    async def connect(
        self,
        client_class: type,
        device: BLEDevice,
        name: str,
        disconnected_callback: Callable[[Connection], None],
        **kwargs: Any,
    ) -> Connection:
        """Stand in for `establish_connection`."""
        assert kwargs["use_services_cache"]
        assert kwargs["ble_device_callback"]().address == device.address
        lock = self.locks[device.address]
        if lock.on_connect is not None:
            lock.on_connect()
        if lock.silent or not any(lock in gate.hears for gate in (self.near, self.far)):
            await asyncio.sleep(20)
            raise BleakError("timed out")
        self.connections += 1
        return Connection(lock, disconnected_callback)

    # --- time ---

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def advance(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, in steps no longer than `step`; with long ones less is advertised."""
        until = time.monotonic() + seconds
        await self.settle()
        while (left := until - time.monotonic()) > 0.0005:
            due = min(
                (lock.due(advertising=step <= 1) for lock in self.locks.values()), default=until
            )
            self.freezer.tick(min(left, max(0.001, min(step, due - time.monotonic()))))
            for lock in self.locks.values():
                lock.run()
            await self.settle()

    async def during[Result](self, work: Any, seconds: float = 60) -> Any:
        """Let time pass until `work` is done, and return its result."""
        task = self.hass.async_create_task(work)
        until = time.monotonic() + seconds
        await self.settle()
        while not task.done() and time.monotonic() < until:
            await self.advance(0.1)
            # What works in a thread takes real time, and there has to be some of it.
            await self.hass.async_add_executor_job(threading.Event().wait, 0.002)
        assert task.done(), "still not done"
        return await task

    def now(self) -> float:
        """Return Unix seconds."""
        return time.time()

    # --- somebody else ---

    def controller(self, lock: TestLock) -> OtherController:
        """Return another client, connected to a lock."""
        return OtherController(self, lock)

    async def pair_elsewhere(self, lock: TestLock) -> OtherController:
        """Let a controller that is not this Home Assistant pair with a lock."""
        await self.advance(2)  # a lock takes one request in two seconds
        other = OtherController(self, lock)
        await other.pair()
        return other

    # --- Home Assistant ---

    async def forget_memory(self) -> None:
        """Forget what is only in memory, as when the process dies."""
        for key in list(self.hass.data):
            if str(key).startswith(DOMAIN):
                del self.hass.data[key]

    async def flow(self, lock: TestLock) -> dict[str, Any]:
        """Begin to set up a lock by hand; returns the form for its setup code."""
        flows = self.hass.config_entries.flow
        result = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
        assert result["type"] is FlowResultType.MENU, result
        result = await flows.async_configure(result["flow_id"], {"next_step_id": "add_lock"})
        assert result["type"] is FlowResultType.FORM, result
        assert result["step_id"] == "user"
        return await self.submit(result, {"address": lock.address})

    async def submit(self, result: Any, user_input: dict[str, Any] | None = None) -> dict[str, Any]:
        """Fill in a form; where progress is shown, wait for what comes after it."""
        flows = self.hass.config_entries.flow
        result = await flows.async_configure(result["flow_id"], user_input or {})
        return await self.progress(result)

    async def progress(self, result: Any) -> dict[str, Any]:
        """Wait for what comes after progress."""
        flows = self.hass.config_entries.flow
        for _ in range(600):
            if result["type"] is not FlowResultType.SHOW_PROGRESS:
                break
            await self.advance(0.1)
            if result["flow_id"] not in {flow["flow_id"] for flow in flows.async_progress()}:
                break
            result = await flows.async_configure(result["flow_id"])
        return dict(result)

    async def pair(self, lock: TestLock) -> ConfigEntry[Any]:
        """Pair with a lock and wait until it is heard; returns its config entry."""
        result = await self.flow(lock)
        result = await self.submit(result, {"setup_code": SETUP_CODE})
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        await self.advance(1.5)
        entry: ConfigEntry[Any] = result["result"]
        return entry

    def state(self, lock: TestLock, domain: str = "lock", suffix: str = "") -> str:
        """The state of one of a lock's entities."""
        state = self.hass.states.get(f"{domain}.{lock.entity}{suffix}")
        assert state is not None, self.hass.states.async_entity_ids()
        return state.state

    def attribute(self, lock: TestLock, name: str) -> Any:
        """An attribute of the lock entity."""
        state = self.hass.states.get(f"lock.{lock.entity}")
        assert state is not None
        return state.attributes.get(name)

    async def call(self, lock: TestLock, service: str) -> None:
        """Call lock.lock, lock.unlock or lock.open, and let time pass until it is done."""
        await self.during(
            self.hass.services.async_call(
                "lock", service, {"entity_id": f"lock.{lock.entity}"}, blocking=True
            )
        )

    async def failing(self, lock: TestLock, service: str) -> str:
        """Call a service that fails; return the translation key of its error."""
        with pytest.raises(HomeAssistantError) as failure:
            await self.call(lock, service)
        assert failure.value.translation_domain == DOMAIN
        assert failure.value.translation_key is not None
        assert (failure.value.translation_placeholders or {})["name"]
        return failure.value.translation_key


def swap_once(kind: int, message: bytes) -> Callable[[bytes], bytes]:
    """Return an interceptor that swaps the next message of a kind."""
    done: list[bytes] = []

    def swap(data: bytes) -> bytes:
        if data[1] == kind and not done:
            done.append(data)
            return b"\x80" + message
        return data

    return swap


def name_of(lock: TestLock) -> str:
    """The name that a lock's config entry gets."""
    return str(local_name(lock.device_id))
