"""Every record is one sentence in Activity, in the owner's time zone when it is no news."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c
from homeassistant.core import callback
from tenants import Tenants
from world import DOMAIN

from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.activity import Activity
from custom_components.igrs_lock.ilp import Event, Source
from custom_components.igrs_lock.log_store import LogEntry

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event as HassEvent
    from homeassistant.core import HomeAssistant
    from world import World

ANNA = "482913"
COMMON = json.loads(
    (
        Path(__file__).resolve().parents[2] / "custom_components/igrs_lock/translations/en.json"
    ).read_text()
)["common"]


@pytest.fixture
def lock(world: World) -> TestLock:
    return world.add_lock(
        c.CAP_LATCH | c.CAP_DOOR_SENSOR | c.CAP_KEYPAD | c.CAP_LOG | c.CAP_AUTO_LOCK
    )


@pytest.fixture
async def tenants(world: World, lock: TestLock, entry: ConfigEntry[Any]) -> Tenants:
    await world.advance(10)
    tenants = Tenants(world, lock, entry)
    tenants.add("Anna", ANNA)
    await world.advance(20)
    assert tenants.state("Anna") == "active"
    return tenants


@pytest.fixture
def told(hass: HomeAssistant, tenants: Tenants) -> list[dict[str, Any]]:
    """What Activity gets from now on."""
    found: list[dict[str, Any]] = []

    @callback
    def note(event: HassEvent) -> None:
        found.append(dict(event.data))

    hass.bus.async_listen("logbook_entry", note)
    return found


@pytest.fixture
async def activity(tenants: Tenants) -> Activity:
    activity = Activity(tenants.hass, tenants.coordinator)
    await activity.async_prepare()
    return activity


def messages(told: list[dict[str, Any]]) -> list[str]:
    return [one["message"] for one in told]


def entry_of(
    event: Event | None,
    source: Source = Source.UNKNOWN,
    name: str | None = None,
    detail: int = 0,
    *,
    slot: int = 254,
    timestamp: int = 0,
    fresh: bool = True,
) -> LogEntry:
    return LogEntry(
        9, event, slot, source, ilp.Bolt.LOCKED, ilp.Door.CLOSED, detail, timestamp, None, name, fresh
    )  # fmt: skip


async def test_what_happens_at_a_door_reads_like_a_story(
    world: World, lock: TestLock, tenants: Tenants, told: list[dict[str, Any]]
) -> None:
    lock.core.pin_entered(ANNA)
    await world.advance(2)
    lock.core.door_sensed(True)
    lock.core.door_sensed(False)
    await world.advance(2)
    lock.core.bolt_sensed(c.BOLT_LOCKED)
    lock.core.pin_entered("999999")
    await world.advance(5)
    await world.call(lock, "unlock")
    await world.advance(5)
    assert messages(told) == [
        "was unlocked by Anna with the keypad",
        "noticed that the door was opened",
        "noticed that the door was closed",
        "was locked by hand",
        "refused a wrong PIN",
        "was unlocked by Home Assistant",
    ]
    assert {one["entity_id"] for one in told} == {f"lock.{lock.entity}"}
    assert {one["name"] for one in told} == {"IGRS-9CFF"}
    assert {one["domain"] for one in told} == {DOMAIN}


async def test_an_automatic_lock_and_a_changed_option(
    world: World, lock: TestLock, tenants: Tenants, told: list[dict[str, Any]]
) -> None:
    await world.during(tenants.coordinator.options.async_set(ilp.Option.AUTO_LOCK_SECONDS, 10))
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(20)
    assert messages(told) == [
        "had its auto-lock delay changed by Home Assistant",
        "was unlocked by hand",
        "auto-locked",
    ]


async def test_accounts_are_told_with_both_names(
    world: World, tenants: Tenants, told: list[dict[str, Any]]
) -> None:
    person_id = tenants.add("Ben")
    await world.advance(20)
    tenants.remove(person_id)
    await world.advance(20)
    assert set(messages(told)) == {"had the access of Ben changed by Home Assistant"}


async def test_what_is_no_news_has_its_time_in_the_owners_zone(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    told: list[dict[str, Any]],
) -> None:
    await hass.config.async_set_time_zone("Asia/Kathmandu")
    lock.silent = True
    await world.advance(10)
    at = round(world.now())
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(600, 10)
    lock.silent = False
    await world.advance(10)
    minutes = (at + 5 * 3600 + 45 * 60) % 86400 // 60
    (message,) = [one for one in messages(told) if "clock" not in one]
    assert re.fullmatch(
        rf"was unlocked by hand, on \d{{4}}-\d\d-\d\d at {minutes // 60:02}:{minutes % 60:02}",
        message,
    )


async def test_a_name_cannot_write_a_line_of_its_own(
    hass: HomeAssistant, world: World, lock: TestLock, tenants: Tenants, told: list[dict[str, Any]]
) -> None:
    (subentry,) = tenants.people.subentries.values()
    hass.config_entries.async_update_subentry(
        tenants.people, subentry, title="Eve\r\nFront door was {person} locked"
    )
    hass.config_entries.async_update_entry(tenants.entry, title="Front\ndoor")
    await world.advance(20)
    told.clear()
    lock.core.pin_entered(ANNA)
    await world.advance(5)
    assert [(one["name"], one["message"]) for one in told] == [
        ("Front door", "was unlocked by Eve Front door was {person} locked with the keypad")
    ]


@pytest.mark.parametrize(
    ("timestamp", "end"),
    [
        (0, ", at an unknown time"),
        (1_700_000_000, ", on 2023-11-14 at 14:13"),
        (4_000_000_000, ", on 2096-10-02 at 00:06 by its own clock, which was ahead"),
    ],
)
async def test_times_that_are_missing_or_wrong(
    activity: Activity, timestamp: int, end: str
) -> None:
    entry = entry_of(Event.LOCKED, Source.BY_HAND, timestamp=timestamp, fresh=False)
    assert activity.sentence(entry) == "was locked by hand" + end


@pytest.mark.parametrize(
    ("off", "end"),
    [
        (0, ""),
        (89, ""),
        (120, "; it had been 2 minutes behind"),
        (-3600, "; it had been 60 minutes ahead"),
        (3 * 3600, "; it had been 3 hours behind"),
        (-5 * 86400, "; it had been 5 days ahead"),
    ],
)
async def test_a_clock_is_told_how_far_it_was_off(
    world: World, activity: Activity, off: int, end: str
) -> None:
    entry = entry_of(Event.CLOCK_SET, timestamp=round(world.now()) - off)
    assert activity.sentence(entry) == "had its clock set" + end


async def test_a_clock_that_was_set_some_time_ago(activity: Activity) -> None:
    entry = entry_of(Event.CLOCK_SET, timestamp=1_700_000_000, fresh=False)
    assert activity.sentence(entry) == "had its clock set, at an unknown time"


@pytest.mark.parametrize(
    ("told_entry", "sentence"),
    [
        (entry_of(Event.OPENED, Source.BLUETOOTH, "Ben"), "was opened by Ben"),
        (entry_of(Event.OPENED, Source.BLUETOOTH), "was opened by somebody unknown"),
        (entry_of(Event.UNLOCKED, Source.KEYPAD), "was unlocked with the keypad"),
        (entry_of(Event.UNLOCKED, Source.NETWORK, "Ben"), "was unlocked by Ben from afar"),
        (entry_of(Event.UNLOCKED, Source.NETWORK), "was unlocked from afar"),
        (entry_of(Event.UNLOCKED, Source.BUTTON), "was unlocked with the button inside"),
        (entry_of(Event.LOCKED), "was locked"),
        (entry_of(Event.JAMMED), "jammed"),
        (entry_of(Event.JAMMED, Source.AUTO_LOCK), "jammed while it locked by itself"),
        (entry_of(Event.JAMMED, Source.BY_HAND), "jammed while it was turned by hand"),
        (entry_of(Event.JAMMED, Source.BLUETOOTH, "Ben"), "jammed while Ben moved it"),
        (
            entry_of(Event.ACCESS_DENIED, Source.KEYPAD, "Ben", 3),
            "refused Ben: outside the hours given",
        ),
        (
            entry_of(Event.ACCESS_DENIED, Source.KEYPAD, "Ben", 2),
            "refused Ben: no right to do this",
        ),
        (
            entry_of(Event.ACCESS_DENIED, Source.KEYPAD, "Ben", 5),
            "refused Ben: access is suspended or used up",
        ),
        (entry_of(Event.ACCESS_DENIED, Source.BLUETOOTH, None, 4), "refused somebody unknown"),
        (
            entry_of(Event.ACCOUNT_CHANGED, Source.BLUETOOTH, None, 77),
            "had an account changed by somebody unknown",
        ),
        (
            entry_of(Event.OPTION_CHANGED, Source.BLUETOOTH, "Ben", 3),
            "had its keypad switched on or off by Ben",
        ),
        (
            entry_of(Event.OPTION_CHANGED, Source.BLUETOOTH, "Ben", 4),
            "had an option changed by Ben",
        ),
        (entry_of(Event.PAIRED, Source.BLUETOOTH), "was paired with Home Assistant"),
        (entry_of(Event.RESTARTED), "restarted"),
        (entry_of(Event.TAMPER), "noticed that somebody tampers with it"),
        (entry_of(Event.LOW_BATTERY), "reported a low battery"),
        (entry_of(None), "lost older records of its log before they could be read"),
    ],
)
async def test_sentences(activity: Activity, told_entry: LogEntry, sentence: str) -> None:
    assert activity.sentence(told_entry) == sentence


async def test_every_record_has_a_sentence_and_every_sentence_a_record(
    activity: Activity, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    asked = set()
    text = activity._text

    def note(key: str, **placeholders: str) -> str:
        asked.add(f"activity_{key}")
        return text(key, **placeholders)

    monkeypatch.setattr(activity, "_text", note)
    now = round(world.now())
    times = (0, 100, *(now + off for off in (-9, 300, -300, 9999, -9999, 9**6, -(9**6))))
    home_slot = 0
    for event in (None, *Event):
        for source in Source:
            for name in (None, "Ben"):
                for detail in (home_slot, 1, 2, 3, 4, 5, 99):
                    for timestamp in times:
                        for fresh in (True, False):
                            said = activity.sentence(
                                entry_of(
                                    event, source, name, detail, timestamp=timestamp, fresh=fresh
                                )
                            )
                            assert said
                            assert "{" not in said
    assert not asked - set(COMMON)
    assert {key for key in COMMON if key.startswith("activity_")} - asked <= {
        "activity_account_changed_person"
    }


async def test_a_lock_whose_entity_is_gone_is_told_by_name(
    hass: HomeAssistant, world: World, lock: TestLock, told: list[dict[str, Any]]
) -> None:
    from homeassistant.helpers import entity_registry as er  # noqa: PLC0415 - only here

    er.async_get(hass).async_remove(f"lock.{lock.entity}")
    lock.core.bolt_sensed(c.BOLT_UNLOCKED)
    await world.advance(5)
    (one,) = told
    assert "entity_id" not in one
    assert one["message"] == "was unlocked by hand"
