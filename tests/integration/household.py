"""A household for days on end: Home Assistant started, stopped, backed up and restored, and hours
that pass quickly.

A `House` is a `World` whose Home Assistant comes and goes. Each start is a new instance, read from
what the one before it left on its `Disk` like a process after a restart.
"""

import asyncio
import copy
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self, override
from unittest.mock import patch
from zoneinfo import ZoneInfo

from bsld import const as c
from bsld.eventlog import EventLog
from doors import Fact, HouseLock
from homeassistant import loader
from homeassistant.const import EVENT_LOGBOOK_ENTRY, EVENT_STATE_CHANGED
from homeassistant.core import Context, callback
from homeassistant.helpers import (
    area_registry,
    category_registry,
    device_registry,
    entity_registry,
    floor_registry,
    frame,
    issue_registry,
    label_registry,
    restore_state,
    translation,
)
from homeassistant.setup import async_setup_component
from homeassistant.util.async_ import get_scheduled_timer_handles
from pytest_homeassistant_custom_component.common import (
    MockUser,
    async_test_home_assistant,
)
from world import DOMAIN, World

if TYPE_CHECKING:
    from collections.abc import Generator

    from board import TestLock
    from freezegun.api import FrozenDateTimeFactory
    from homeassistant.core import Event, EventStateChangedData

BERLIN = ZoneInfo("Europe/Berlin")
QUIET_STEP = 600.0
"""A lock's counter grows every ten minutes at the latest, so no longer step is ever made."""


class Disk(dict[str, Any]):
    """Files as Home Assistant's stores write them; who reads one gets a copy, as from a disk."""

    @override
    def get(self, key: str, default: Any = None) -> Any:
        return copy.deepcopy(super().get(key, default))


@dataclass(frozen=True)
class Backup:
    """What a backup of Home Assistant holds: its stores, and the recorder's Activity."""

    stores: dict[str, Any]
    activity: list[dict[str, Any]]


@dataclass(frozen=True)
class News:
    """An event that an event entity told, and when (Unix seconds)."""

    entity_id: str
    attributes: dict[str, Any]
    at: float


class House(World):
    """A world in which Home Assistant is stopped and started, over one disk."""

    locks: dict[str, TestLock]

    def __init__(self, freezer: FrozenDateTimeFactory, config_dir: str, disk: Disk) -> None:
        super().__init__(None, freezer)  # type: ignore[arg-type]  # until it is started
        self.disk = disk
        self.activity: list[dict[str, Any]] = []
        self.news: list[News] = []
        self.users: dict[str, str] = {}
        self.writers: dict[int, HouseLock] = {}
        self.doing: str | None = None
        self.at_desk: str | None = None
        self.owners: dict[tuple[str, int], str] = {}
        self.running = False
        self._config_dir = config_dir
        self._stack = AsyncExitStack()
        self._instance = AsyncExitStack()
        self._connecting = 0

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().set_debug(False)  # it notes the stack of every callback
        for one in (
            patch("bleak_retry_connector.establish_connection", self.connect),
            patch("custom_components.igrs_lock.coordinator.MONOTONIC_TIME", self.monotonic),
            patch("custom_components.igrs_lock.diagnostics.MONOTONIC_TIME", self.monotonic),
            patch(
                "custom_components.igrs_lock.clock.kernel_synchronised",
                lambda: self.kernel_synchronised,
            ),
            self._witness(),
        ):
            self._stack.enter_context(one)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.running:
            await self.stop_home_assistant()
        await self._stack.aclose()

    # --- what is really written -----------------------------------------------------------------

    @contextmanager
    def _witness(self) -> Generator[None]:
        """Note each record as the core writes it, whatever its ring drops later."""
        append = EventLog.append
        house = self

        def noted(self: EventLog, record: Any) -> None:
            append(self, record)
            event, slot, source, counter, bolt, door, detail, when = record
            lock = house.writers[id(self._storage)]
            who = house.doing if slot not in (c.SLOT_NOBODY, c.SLOT_CONTROLLER) else None
            about = house.at_desk or house.owners.get((lock.unique_id, detail))
            if event != c.EV_ACCOUNT:
                about = None
            known = (counter, event, slot, source, bolt, door, detail, when)
            lock.facts.append(Fact(*known, house.now(), who, about))

        with patch.object(EventLog, "append", noted):
            yield

    @contextmanager
    def by(self, name: str) -> Generator[None]:
        """Whatever a lock notes of an account in here was this person's doing."""
        before, self.doing = self.doing, name
        try:
            yield
        finally:
            self.doing = before

    @contextmanager
    def about(self, name: str) -> Generator[None]:
        """Whatever a lock notes of accounts in here is about this person's."""
        self.at_desk = name
        try:
            yield
        finally:
            self.at_desk = None

    # --- Home Assistant -------------------------------------------------------------------------

    async def start_home_assistant(self) -> None:
        """Start a new instance over what is on the disk."""
        assert not self.running
        gateways = (self.near.hears, self.far.hears) if hasattr(self, "near") else None
        self._instance = AsyncExitStack()
        hass = await self._instance.enter_async_context(
            async_test_home_assistant(load_registries=False, config_dir=self._config_dir)
        )
        self.hass = hass
        self.running = True
        hass.data.pop(loader.DATA_CUSTOM_COMPONENTS)
        await hass.config.async_set_time_zone(BERLIN.key)
        frame.async_setup(hass)
        device_registry.async_setup(hass)
        await asyncio.gather(
            *(
                registry.async_load(hass)
                for registry in (
                    area_registry,
                    category_registry,
                    device_registry,
                    entity_registry,
                    floor_registry,
                    issue_registry,
                    label_registry,
                    restore_state,
                )
            ),
            hass.config_entries.async_initialize(),
        )
        await translation.async_load_integrations(hass, {"homeassistant"})
        for name, user_id in self.users.items():
            self._add_user(name, user_id)
        hass.bus.async_listen(EVENT_LOGBOOK_ENTRY, self._told)
        hass.bus.async_listen(EVENT_STATE_CHANGED, self._changed)
        await self.start()
        if gateways is not None:
            self.near.hears, self.far.hears = gateways
        assert await async_setup_component(hass, DOMAIN, {})
        await hass.async_block_till_done()
        await self.settle()

    async def stop_home_assistant(self) -> None:
        """Stop it properly; after that nothing of it is left but its disk."""
        await self.hass.async_stop(force=True)
        self.running = False
        written = copy.deepcopy(dict(self.disk))
        await self._end_process()
        assert dict(self.disk) == written, "something was written by a stopped Home Assistant"

    async def kill_home_assistant(self) -> None:
        """End the process: what was not on the disk is lost."""
        self.running = False
        written = copy.deepcopy(dict(self.disk))
        await self.hass.async_stop(force=True)  # for the threads
        await self._end_process()
        self.disk.clear()
        self.disk.update(written)

    async def _end_process(self) -> None:
        await self.stop()
        self._stops.clear()
        for lock in self.locks.values():
            for connection in list(lock.connections):
                connection.end(tell=False)
        for handle in get_scheduled_timer_handles(asyncio.get_running_loop()):
            handle.cancel()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._instance.aclose()
        self._connecting = 0

    def backup(self) -> Backup:
        """Copy what is on the disk now, as Home Assistant's backup does while it runs."""
        return Backup(copy.deepcopy(dict(self.disk)), list(self.activity))

    async def restore(self, backup: Backup) -> None:
        """Replace Home Assistant by an older self."""
        if self.running:
            await self.kill_home_assistant()
        self.disk.clear()
        self.disk.update(copy.deepcopy(backup.stores))
        self.activity = list(backup.activity)
        await self.start_home_assistant()

    @callback
    def _told(self, event: Event) -> None:
        self.activity.append(dict(event.data))

    @callback
    def _changed(self, event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if state is None or state.domain != "event":
            return
        if state.state in ("unknown", "unavailable"):
            return
        if self.now() - datetime.fromisoformat(state.state).timestamp() < 1:  # else restored
            self.news.append(News(state.entity_id, dict(state.attributes), self.now()))

    def add_user(self, name: str) -> str:
        """Add a Home Assistant user who may use entities and is no administrator."""
        self.users[name] = user_id = f"user-{name.lower()}"
        self._add_user(name, user_id)
        return user_id

    def _add_user(self, name: str, user_id: str) -> None:
        user = MockUser(id=user_id, name=name).add_to_hass(self.hass)
        user.mock_policy({"entities": True})

    # --- doors ----------------------------------------------------------------------------------

    def hang(self, name: str, capabilities: int, log_size: int = 256) -> HouseLock:
        """Hang a new lock on a door."""
        lock = HouseLock(self, len(self.locks), capabilities, log_size, name)
        self.locks[lock.address] = lock
        self.near.hears.add(lock)
        self.far.hears.add(lock)
        self.broadcast(lock)
        return lock

    def doors(self) -> list[HouseLock]:
        """All locks."""
        return [lock for lock in self.locks.values() if isinstance(lock, HouseLock)]

    @override
    def broadcast(self, lock: TestLock) -> None:
        if self.running:
            super().broadcast(lock)

    @override
    async def connect(self, *args: Any, **kwargs: Any) -> Any:
        assert self.running, "a stopped Home Assistant connects"
        self._connecting += 1
        try:
            await asyncio.sleep(0)  # never within the call that wanted it
            return await super().connect(*args, **kwargs)
        finally:
            self._connecting -= 1

    async def operate(self, lock: HouseLock, service: str, user: str | None = None) -> None:
        """Call a service of a lock as a user, or as an automation does."""
        context = Context(user_id=self.users[user]) if user else Context()
        await self.during(
            self.hass.services.async_call(
                "lock", service, {"entity_id": f"lock.{lock.entity}"}, blocking=True,
                context=context,
            )
        )  # fmt: skip

    async def keypad(self, lock: HouseLock, digits: str) -> int:
        """Type a PIN and wait until the bolt is there; returns the keypad's answer."""
        result = lock.core.pin_entered(digits)
        await self.advance(2)
        return result

    # --- time -----------------------------------------------------------------------------------

    def local(self) -> datetime:
        """The time on the wall in Berlin."""
        return datetime.fromtimestamp(self.now(), BERLIN)

    async def until(self, day: str, clock: str, *, fold: int = 0) -> None:
        """Let time pass until a day (MM-DD of this year) and a time on the wall."""
        wall = datetime.fromisoformat(f"{self.local().year}-{day}T{clock}")
        seconds = wall.replace(tzinfo=BERLIN, fold=fold).timestamp() - self.now()
        assert seconds >= 0, f"{day} {clock} is over: it is {self.local()}"
        await self.quietly(seconds)

    async def quietly(self, seconds: float | timedelta) -> None:
        """Let time pass quickly while nothing happens.

        Then only packets of the first second and at the ends of long steps are heard. Before Home Assistant's timers
        run, each lock that is in reach has been heard at the new time, as it would have been in
        life. While anything is under way, time passes as always.
        """
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        until = self.monotonic() + seconds
        await self.advance(min(seconds, 1.25), step=0.5)
        while (left := until - self.monotonic()) > 0.0005:
            if self._busy():
                await self.advance(min(left, 0.5))
                continue
            now = self.monotonic()
            ends = [lock.due(advertising=False) for lock in self.locks.values()]
            ends += [end for end in self._own_timers() if end > now]
            self.freezer.tick(min(left, max(0.001, min(QUIET_STEP, *(e - now for e in ends)))))
            for lock in self.locks.values():
                lock.run()
            await self.settle()

    def _busy(self) -> bool:
        return self._connecting > 0 or any(lock.connections for lock in self.locks.values())

    def _own_timers(self) -> list[float]:
        """When the integration wants to be woken next, or anything that sleeps."""
        found = []
        for handle in get_scheduled_timer_handles(asyncio.get_running_loop()):
            if handle.cancelled():
                continue
            target: Any = handle._args[0] if handle._args else handle._callback  # type: ignore[attr-defined]  # its own
            target = getattr(target, "target", target)
            module = getattr(target, "__module__", None) or ""
            if module.startswith("custom_components.") or isinstance(target, asyncio.Future):
                found.append(handle.when())
        return found
