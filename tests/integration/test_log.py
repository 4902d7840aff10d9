"""A lock's own log is read to the end, each record once, whatever is cut off."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bsld import advert
from bsld import const as c
from homeassistant.core import callback
from homeassistant.helpers import issue_registry as ir
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.ilp import Event
from custom_components.igrs_lock.log import LockLog
from custom_components.igrs_lock.log_store import LogEntry, log_store
from custom_components.igrs_lock.sync import Job

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event as HassEvent
    from homeassistant.core import HomeAssistant
    from world import World


LOCKED = c.BOLT_LOCKED
UNLOCKED = c.BOLT_UNLOCKED


class Reader:
    """What is known of a lock's log here, and what was told of it."""

    def __init__(self, world: World, lock: TestLock, entry: ConfigEntry[Any]) -> None:
        self.world, self.lock, self.entry = world, lock, entry
        self.hass = world.hass
        self.told: list[str] = []

        @callback
        def note(event: HassEvent) -> None:
            self.told.append(event.data["message"])

        self.hass.bus.async_listen("logbook_entry", note)

    @property
    def log(self) -> LockLog:
        found: LockLog = self.entry.runtime_data.log
        return found

    @property
    def events(self) -> list[Event | None]:
        return [entry.event for entry in self.log.entries]

    @property
    def counters(self) -> list[int]:
        return [entry.counter for entry in self.log.entries]

    def on_lock(self) -> list[int]:
        """Counters of all records that the lock has."""
        return [int.from_bytes(raw[3:6]) for raw in self.lock.core.log.read(0, 9999)]

    def since_pairing(self) -> list[int]:
        records = self.lock.core.log.read(0, 9999)
        paired = max(n for n, raw in enumerate(records) if raw[0] == c.EV_PAIRED)
        return [int.from_bytes(raw[3:6]) for raw in records[paired:]]

    def turn(self, times: int = 1) -> None:
        """Turn the bolt by hand, in and out."""
        for number in range(times):
            self.lock.core.bolt_sensed((UNLOCKED, LOCKED)[number % 2])

    def gap_told(self) -> bool:
        issues = ir.async_get(self.hass)
        return issues.async_get_issue(DOMAIN, f"log_gap_{self.lock.unique_id}") is not None

    async def away(self, *, forget: bool = True) -> None:
        """Let Home Assistant die; with `forget` nothing but its disk is left."""
        assert await self.hass.config_entries.async_unload(self.entry.entry_id)
        await self.world.settle()
        if forget:
            await self.world.forget_memory()

    async def back(self) -> None:
        assert await self.hass.config_entries.async_setup(self.entry.entry_id)
        await self.world.advance(8)


@pytest.fixture
def lock(world: World) -> TestLock:
    return world.add_lock(c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_LOG)


@pytest.fixture
async def reader(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Reader:
    reader = Reader(world, lock, entry)
    await world.advance(10)
    assert reader.counters == reader.since_pairing()
    reader.told.clear()
    lock.traffic.clear()
    return reader


def unique(counters: list[int]) -> bool:
    return len(counters) == len(set(counters))


# --- when -----------------------------------------------------------------------------------------


async def test_a_record_is_read_a_second_after_it_was_written(
    world: World, lock: TestLock, reader: Reader
) -> None:
    reader.turn()
    await world.advance(0.9)
    assert not lock.traffic
    await world.advance(0.6)
    assert reader.events[-1] is Event.UNLOCKED
    assert reader.told == ["was unlocked by hand"]


async def test_what_happens_together_is_read_together(
    world: World, lock: TestLock, reader: Reader
) -> None:
    reader.turn()
    lock.core.door_sensed(True)
    await world.advance(10)
    assert reader.events[-2:] == [Event.UNLOCKED, Event.DOOR_OPENED]
    # Once, and reading itself brings nothing new.
    assert lock.kinds().count(ilp.Kind.SESSION_OPEN) == 1
    assert not lock.kinds().count(ilp.Kind.SEALED)


async def test_nothing_is_asked_while_nothing_happens(
    world: World, lock: TestLock, reader: Reader
) -> None:
    await world.advance(3600, 60)
    assert not lock.traffic


async def test_once_a_day_it_is_asked_all_the_same(
    world: World, lock: TestLock, reader: Reader
) -> None:
    await world.advance(86400, 300)
    assert lock.traffic
    assert reader.counters == reader.since_pairing()


@pytest.mark.parametrize("unseen", [1, 3, 4, 5, 8])
async def test_records_that_nobody_heard_are_read(
    world: World, lock: TestLock, reader: Reader, unseen: int
) -> None:
    """Four leave the log bits as they were."""
    before = len(reader.counters)
    lock.silent = True
    reader.turn(unseen)
    await world.advance(5)
    lock.silent = False
    await world.advance(5)
    assert len(reader.counters) == before + unseen
    assert reader.counters == reader.since_pairing()


async def test_forged_bits_read_nothing(world: World, lock: TestLock, reader: Reader) -> None:
    data = bytearray(lock.data)
    data[0] ^= 0x0C
    data[5] += 1
    world.forge(lock, bytes(data))
    await world.advance(5)
    assert not lock.traffic


async def test_somebody_with_the_key_who_forges_bits_causes_few_questions(
    world: World, lock: TestLock, reader: Reader, entry: ConfigEntry[Any]
) -> None:
    lock.mute = True
    coordinator = entry.runtime_data
    for number in range(40):
        coordinator.log.async_heard(
            type("Forged", (), {"counter": 5000 + 8 * number, "log_bits": number % 4})(), 0.0
        )
        await world.advance(5)
    # Three and a half minutes.
    assert 2 <= lock.kinds().count(ilp.Kind.SESSION_OPEN) + lock.kinds().count(ilp.Kind.SEALED) <= 8
    lock.mute = False
    reader.turn()
    await world.advance(601)
    assert reader.events[-1] is Event.UNLOCKED


@pytest.mark.parametrize("pause", [20, 125, 300])
async def test_somebody_with_the_key_does_not_drain_the_battery(
    world: World, lock: TestLock, reader: Reader, entry: ConfigEntry[Any], pause: int
) -> None:
    """Whatever the rhythm: not more connections than one in ten minutes, and a few to begin with."""
    coordinator = entry.runtime_data
    before = world.connections
    for number in range(6 * 3600 // pause):
        coordinator.log.async_heard(
            type("Forged", (), {"counter": 500_000 + 8 * number, "log_bits": number % 4})(), 0.0
        )
        await world.advance(pause, step=min(pause, 10))
    assert world.connections - before <= 6 * 6 + 6


async def test_what_was_jammed_is_no_news_when_it_is_heard(
    world: World, lock: TestLock, reader: Reader, entry: ConfigEntry[Any]
) -> None:
    """Meanwhile somebody sends the packet of before, again and again."""
    fresh: list[bool] = []
    entry.runtime_data.log.async_listen(lambda one: fresh.append(one.fresh))
    old = bytes(lock.data)
    lock.mute = True
    reader.turn()
    for _ in range(300):
        world.forge(lock, old)
        await world.advance(1, step=1)
    lock.mute = False
    await world.advance(5)
    assert reader.events[-1] is Event.UNLOCKED
    assert fresh == [False]


async def test_who_forges_that_nothing_happened_hides_a_record_for_a_minute_only(
    world: World, lock: TestLock, reader: Reader, entry: ConfigEntry[Any]
) -> None:
    """With the advertisement key: one counter more, and the log bits of before."""
    lock_key = bytes.fromhex(entry.data["lock_key"])
    key = ilp.advertisement_key(lock_key, entry.runtime_data.tracker.epoch)
    bits = lock.data[0] & 0x0C
    lock.mute = True
    reader.turn()
    state = bytes((0x12 | bits, 0x09, 80))
    world.forge(lock, bytes(advert.seal(key, lock.device_id, state, lock.core.counter + 2)))
    lock.mute = False
    await world.advance(90)
    assert reader.events[-1] is Event.UNLOCKED
    assert reader.counters == reader.since_pairing()


async def test_a_daily_question_that_failed_is_asked_again(
    world: World, lock: TestLock, reader: Reader, entry: ConfigEntry[Any]
) -> None:
    lock.on_notify = lambda _: None
    entry.runtime_data.sync.nudge(Job.LOG)
    await world.advance(20)
    lock.on_notify = None
    lock.traffic.clear()
    await world.advance(60)
    assert lock.traffic


# --- each once ------------------------------------------------------------------------------------


async def test_a_long_absence_is_read_in_pages(
    world: World, lock: TestLock, reader: Reader
) -> None:
    await reader.away()
    reader.turn(70)
    await reader.back()
    assert reader.counters == reader.since_pairing()
    assert sum("by hand" in one for one in reader.told) == 70


@pytest.mark.parametrize("cut", range(1, 12))
async def test_a_lost_connection_in_the_middle_tells_nothing_twice(
    world: World, lock: TestLock, reader: Reader, cut: int
) -> None:
    """The lock's power is cut at one message after another."""
    lock.silent = True
    reader.turn(60)
    await world.advance(3)
    left = cut

    def notified(data: bytes) -> bytes | None:
        nonlocal left
        left -= 1
        if left == 0:
            lock.power_cut()
            return None
        return data

    lock.on_notify = notified
    lock.silent = False
    await world.advance(200)
    assert reader.counters == reader.since_pairing()
    assert sum("by hand" in one for one in reader.told) == 60


@pytest.mark.parametrize("after", range(0, 60, 3))
async def test_home_assistant_dies_at_any_moment_of_reading(
    hass: HomeAssistant, world: World, lock: TestLock, reader: Reader, after: int
) -> None:
    lock.silent = True
    reader.turn(45)
    lock.silent = False
    await world.advance(1.0)
    for _ in range(40):
        if lock.connections:
            break
        await world.advance(0.05)
    for _ in range(after):
        await asyncio.sleep(0)
    await reader.away()
    await reader.back()
    assert reader.counters == reader.since_pairing()
    assert sum("by hand" in one for one in reader.told) == 45


async def test_killed_between_disk_and_telling_it_is_kept_and_not_told_late(
    world: World, lock: TestLock, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LockLog, "_tell", lambda *_: None)
        reader.turn()
        await world.advance(5)
        await reader.away()
    await reader.back()
    assert reader.counters == reader.since_pairing()
    assert not any("by hand" in one for one in reader.told)


async def test_what_is_not_on_the_disk_is_told_to_nobody(
    world: World, lock: TestLock, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    from homeassistant.helpers import storage  # noqa: PLC0415 - only here

    async def full(self: Any, data: Any) -> None:
        """Only log it, as for a disk that is full."""

    before = reader.counters
    with monkeypatch.context() as patch:
        patch.setattr(storage.Store, "async_save", full)
        reader.turn()
        await world.advance(10)
        assert not reader.told
        assert reader.counters == before
    await world.advance(60)
    assert reader.told == ["was unlocked by hand"]
    assert reader.counters == reader.since_pairing()


async def test_an_older_store_reads_the_lost_week_again(
    hass: HomeAssistant, world: World, lock: TestLock, reader: Reader
) -> None:
    old = reader.log._book.as_dict()
    reader.turn(30)
    await world.advance(10)
    await reader.away()
    await log_store(hass, lock.unique_id).async_save(old)
    await reader.back()
    assert reader.counters == reader.since_pairing()


@pytest.mark.parametrize(
    "damage", [{}, {"cursor": "x"}, {"cursor": 1, "bits": 0, "entries": [[1]]}]
)
async def test_a_damaged_file_is_read_again_from_the_newest_pairing(
    hass: HomeAssistant, world: World, lock: TestLock, reader: Reader, damage: Any
) -> None:
    reader.turn(3)
    await world.advance(10)
    await reader.away()
    await log_store(hass, lock.unique_id).async_save(damage)
    await reader.back()
    assert reader.counters == reader.since_pairing()


async def test_what_was_before_the_pairing_is_nobodys_business(
    world: World, lock: TestLock
) -> None:
    for number in range(300):
        lock.core.bolt_sensed((UNLOCKED, LOCKED)[number % 2])
    reader = Reader(world, lock, await world.pair(lock))
    await world.advance(10)
    assert reader.events[0] is Event.PAIRED
    assert reader.counters == reader.since_pairing()


async def test_a_pairing_long_ago_is_found(
    hass: HomeAssistant, world: World, lock: TestLock, reader: Reader
) -> None:
    await reader.away()
    reader.turn(150)
    await log_store(hass, lock.unique_id).async_remove()
    await reader.back()
    await world.advance(20)
    assert reader.counters == reader.since_pairing()
    assert len(reader.counters) > 150


async def test_two_thousand_entries_are_kept(
    world: World, lock: TestLock, reader: Reader, entry: ConfigEntry[Any]
) -> None:
    rows = [LogEntry(n, Event.LOCKED, 254, *_NOTHING) for n in range(1, 2500)]
    book = type(reader.log._book)(2499, 0, [])
    book.add(rows)
    assert len(book.entries) == 2000
    assert book.entries[-1].counter == 2499


async def test_the_file_goes_with_the_entry(
    hass: HomeAssistant, hass_storage: dict[str, Any], world: World, lock: TestLock, reader: Reader
) -> None:
    name = f"{DOMAIN}.log.{lock.unique_id.lower()}"
    assert name in hass_storage
    assert await hass.config_entries.async_remove(reader.entry.entry_id)
    await world.settle()
    assert name not in hass_storage


# --- gaps -----------------------------------------------------------------------------------------


async def test_a_full_log_leaves_a_gap_that_is_told(
    world: World, lock: TestLock, reader: Reader
) -> None:
    newest = reader.counters[-1]
    await reader.away()
    reader.turn(1300)
    await reader.back()
    await world.advance(30)
    gap = reader.events.index(None)
    assert reader.log.entries[gap].counter == reader.on_lock()[0] - 1 > newest
    assert reader.counters[gap + 1 :] == reader.on_lock()
    assert reader.told.count("lost older records of its log before they could be read") == 1
    assert reader.gap_told()


async def test_what_was_read_and_then_overwritten_is_no_gap(
    world: World, lock: TestLock, reader: Reader
) -> None:
    for _ in range(3):
        reader.turn(200)
        await world.advance(30)
    assert None not in reader.events
    assert unique(reader.counters)
    assert not reader.gap_told()


async def test_pairing_anew_goes_on_where_it_was(
    hass: HomeAssistant, world: World, lock: TestLock, reader: Reader
) -> None:
    reader.turn(3)
    await world.advance(10)
    before = reader.counters
    other = await _pair_again(world, lock, reader)
    assert other
    assert reader.counters[: len(before)] == before
    assert reader.events.count(Event.PAIRED) == 2
    assert None not in reader.events
    assert unique(reader.counters)


async def test_a_reset_lock_that_is_paired_anew_lost_what_was_not_read(
    world: World, lock: TestLock, reader: Reader
) -> None:
    lock.silent = True
    reader.turn(5)
    await world.advance(2)
    lock.core._do(lock.core.factory_reset)
    lock.silent = False
    await _pair_again(world, lock, reader)
    assert None in reader.events
    assert reader.counters[reader.events.index(None) + 1 :] == reader.since_pairing()


async def test_a_counter_that_began_anew_is_followed(
    world: World, lock: TestLock, reader: Reader
) -> None:
    """As after pairing anew at the end of the range: all counters are lower than before."""
    book = reader.log._book
    book.cursor = 0xFFFFFF
    book.entries.append(LogEntry(0xFFFFFF, Event.LOCKED, 254, *_NOTHING))
    reader.turn()
    await world.advance(10)
    gap = reader.events.index(None)
    assert reader.counters[gap + 1 :] == reader.since_pairing()
    assert reader.log.cursor == reader.on_lock()[-1]
    reader.turn(2)
    await world.advance(10)
    assert reader.counters[gap + 1 :] == reader.since_pairing()


async def test_a_lock_that_lost_its_newest_records_is_not_read_twice(
    world: World, lock: TestLock, reader: Reader
) -> None:
    reader.log._book.cursor = lock.core.counter + 3
    before = reader.counters
    lock.core._do(lock.core._beacon.grow)
    for _ in range(5):
        lock.core._do(lock.core._beacon.grow)
    await reader.world.during(reader.log.async_read())
    assert reader.counters == before


# --- answers that are wrong -----------------------------------------------------------------------


async def _wrong(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch, *pages: ilp.LogPage
) -> None:
    """Let the lock answer with other pages."""
    before = (reader.log.cursor, reader.counters)
    for page in pages:
        with monkeypatch.context() as patch:
            patch.setattr(ilp.LogPage, "of", classmethod(lambda _cls, _reply, page=page: page))
            with pytest.raises(ilp.IlpError):
                await world.during(reader.log.async_read())
        assert (reader.log.cursor, reader.counters) == before
    assert not reader.told


async def test_wrong_answers_change_nothing(
    world: World, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cursor, lock = reader.log.cursor or 0, reader.lock

    def record(counter: int) -> ilp.LogRecord:
        return ilp.LogRecord(
            Event.LOCKED, 254, ilp.Source.BY_HAND, counter, ilp.Bolt.LOCKED, ilp.Door.CLOSED, 0, 0
        )

    far = lock.core.counter + 1000
    await _wrong(
        world,
        reader,
        monkeypatch,
        ilp.LogPage(1, far, (record(far),)),  # ahead of the lock
        ilp.LogPage(1, cursor + 1, ()),  # a record is missing
        ilp.LogPage(1, cursor, (record(cursor),)),  # read already
        ilp.LogPage(1, cursor, (record(cursor + 1),)),  # newer than the newest
        ilp.LogPage(cursor + 1, cursor, ()),  # the oldest is the newer one
    )


async def test_a_log_without_end_is_left(
    world: World, lock: TestLock, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("custom_components.igrs_lock.log.PAGES_MAX", 3)
    reader.turn(100)
    with pytest.raises(ilp.MalformedError):
        await world.during(reader.log.async_read())


async def test_a_lock_without_a_log_is_asked_once(
    world: World, lock: TestLock, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(_cls: Any, _reply: Any) -> ilp.LogPage:
        raise ilp.RefusedError(ilp.Command.GET_LOG, ilp.Result.NOT_SUPPORTED)

    monkeypatch.setattr(ilp.LogPage, "of", classmethod(unsupported))
    reader.turn()
    await world.advance(10)
    lock.traffic.clear()
    reader.turn()
    await world.advance(100)
    assert not lock.traffic
    await reader.log.async_read()


async def test_another_refusal_is_no_answer(
    world: World, lock: TestLock, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_cls: Any, _reply: Any) -> ilp.LogPage:
        raise ilp.RefusedError(ilp.Command.GET_LOG, ilp.Result.BUSY)

    monkeypatch.setattr(ilp.LogPage, "of", classmethod(busy))
    with pytest.raises(ilp.RefusedError):
        await world.during(reader.log.async_read())


async def test_one_who_breaks_does_not_keep_it_from_the_others(
    world: World, lock: TestLock, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[LogEntry] = []

    def breaks(_entry: LogEntry) -> None:
        raise ValueError

    reader.log.async_listen(breaks)
    stop = reader.log.async_listen(heard.append)
    reader.turn()
    await world.advance(5)
    assert [entry.event for entry in heard] == [Event.UNLOCKED]
    assert "could not be told" in caplog.text
    stop()
    stop()
    reader.turn(2)
    await world.advance(5)
    assert len(heard) == 1


_NOTHING = (ilp.Source.UNKNOWN, ilp.Bolt.UNKNOWN, ilp.Door.NO_SENSOR, 0, 0)


async def _pair_again(world: World, lock: TestLock, reader: Reader) -> bool:
    """Pair anew through the flow that asks for the setup code."""
    lock.core.inner_button_held(10)
    reader.entry.async_start_reauth(world.hass)
    await world.settle()
    flows = world.hass.config_entries.flow
    (flow,) = [one for one in flows.async_progress() if one["context"].get("source") == "reauth"]
    result: Any = await flows.async_configure(flow["flow_id"], {})
    result = await world.progress(result)
    while result["type"] == "form":
        result = await world.submit(
            result, {"setup_code": "8KNZ-44YW-D3XS-6GJ4"} if result["data_schema"] else {}
        )
    assert result["reason"] == "reauth_successful", result
    await world.advance(15)
    return True
