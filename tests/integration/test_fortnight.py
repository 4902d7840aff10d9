"""A fortnight of a household, over the real lock core: all that has to fit together, together.

Two doors, three residents, a guest, a cleaner and two who come later; what happens on which day is
in `days.py`, what has to be true of it in `fortnight.py`.
"""

import logging
from typing import TYPE_CHECKING

import pytest
from bsld import const as c
from days import FORTNIGHT
from desk import Desk
from fortnight import Story, activity_of, fact_told, since_pairing, told
from household import Disk, House
from pytest_homeassistant_custom_component.common import mock_storage

from custom_components.igrs_lock.ilp import Source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from freezegun.api import FrozenDateTimeFactory

FRONT = c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_AUTO_LOCK


@pytest.fixture
def hass_storage() -> Generator[Disk]:
    """A disk that outlives each Home Assistant."""
    with mock_storage(disk := Disk()):
        yield disk


@pytest.fixture
async def house(
    freezer: FrozenDateTimeFactory, hass_config_dir: str, hass_storage: Disk
) -> AsyncGenerator[House]:
    """A house in Berlin without locks yet, on Wednesday, 14 October 2026, at six."""
    freezer.move_to("2026-10-14T04:00:00+00:00")
    async with House(freezer, hass_config_dir, hass_storage) as house:
        await house.start_home_assistant()
        yield house


async def test_quiet_hours_show_what_slow_ones_do(house: House) -> None:
    lock = house.hang("front", FRONT)
    await house.pair(lock)
    await house.advance(30)
    seen: set[str] = set()
    house.hass.bus.async_listen(
        "state_changed", lambda event: seen.add(event.data["new_state"].state)
    )
    await house.until("10-16", "12:00")
    assert not seen & {"unavailable", "unknown"}
    lock.silent = True
    await house.quietly(600)
    assert house.state(lock) == "unavailable"
    lock.by_hand(c.BOLT_UNLOCKED)
    await house.quietly(600)
    assert house.state(lock) == "unavailable"
    lock.silent = False
    await house.quietly(5)
    assert house.state(lock) == "unlocked"


async def test_a_stopped_home_assistant_is_gone_and_a_restored_one_is_older(house: House) -> None:
    lock = house.hang("front", FRONT)
    entry = await house.pair(lock)
    await house.until("10-14", "12:00")
    backup = house.backup()
    await house.stop_home_assistant()
    lock.by_hand(c.BOLT_UNLOCKED)
    connections = house.connections
    await house.quietly(2 * 24 * 3600)
    assert house.connections == connections
    await house.start_home_assistant()
    await house.advance(2)
    assert house.state(lock) == "unlocked"
    await house.until("10-21", "12:00")
    entries = house.hass.config_entries
    await entries.async_remove(entry.entry_id)
    await house.restore(backup)
    await house.advance(2)
    assert house.hass.config_entries is not entries
    assert house.hass.config_entries.async_get_entry(entry.entry_id) is not None
    assert house.state(lock) == "unlocked"


# --- the fortnight ------------------------------------------------------------------------------


@pytest.fixture
async def story(house: House) -> Story:
    """Two doors: the front door with everything, the cellar's with nothing but a bolt."""
    front = house.hang("front", FRONT)
    cellar = house.hang("cellar", 0)
    await house.pair(front)
    await house.pair(cellar)
    await house.quietly(60)
    pins = {"Clara": "583920", "Gus": "714936", "Petra": "260481", "Dora": "937152"}
    return Story(house, Desk(house), front, cellar, {**pins, "Emil": "482615"})


async def test_a_fortnight(story: Story, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for day in FORTNIGHT:
        await day(story)
    story.check_news()
    await story.check_get_log()
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, errors


async def test_no_backup_of_these_days_brings_anybody_back(story: Story) -> None:
    house, doors = story.house, (story.front, story.cellar)
    backups = []
    for day in FORTNIGHT[:-2]:
        await day(story)
        backups.append(house.backup())
    await story.desk.remove("Gus")
    digests = [lock.core.accounts.digest() for lock in doors]
    for backup in backups:
        await house.restore(backup)
        await house.quietly(3600)
        assert digests == [lock.core.accounts.digest() for lock in doors]
        story.check_logs(restored=True)


async def test_what_a_small_log_dropped_unread_is_told_as_one_gap(house: House) -> None:
    shed = house.hang("shed", 0, log_size=64)
    await house.pair(shed)
    desk = Desk(house)
    await desk.add("Anna", shed)
    read = len(since_pairing(shed.facts))
    await house.stop_home_assistant()
    for _ in range(70):
        shed.by_hand(c.BOLT_UNLOCKED)
        await house.quietly(60)
        shed.by_hand(c.BOLT_LOCKED)
        await house.quietly(60)
    assert await desk.try_key("Anna", shed) == c.ACCEPTED
    kept = {record[3] for record in shed.core.log_records(0, 1000)}
    await house.start_home_assistant()
    await house.quietly(120)
    facts = since_pairing(shed.facts)
    dropped = [fact for fact in facts[read:] if fact.counter < min(kept)]
    assert dropped
    entries = list(desk.coordinator(shed).log.entries)
    assert [told(entry) for entry in entries[:read]] == [fact_told(one) for one in facts[:read]]
    assert entries[read].event is None
    assert [told(entry) for entry in entries[read + 1 :]] == [
        fact_told(fact) for fact in facts[read + len(dropped) :]
    ]
    # The gap may hide that the slot went to somebody else: the lock was asked.
    assert [entry.name for entry in entries if entry.source is Source.BLUETOOTH][-1] == "Anna"
    assert len(activity_of(house, shed)) == len(entries)
    assert desk.issues("log_gap")
