"""A fortnight of a household, day by day: Wednesday, 14 October 2026, to Tuesday, 27 October.

Wednesday   Anna, Ben and Clara move in; Gus is a guest for the evenings, Petra cleans.
Thursday    Phones, a PIN, Gus in time and too late, an automation at night.
Friday      Petra in her hours and after them; somebody guesses PINs.
Saturday    Petra on the wrong day; the cellar's bolt jams.
Sunday      A Bluetooth gateway is lost for a day.
Monday      The front door's battery gets low; auto-lock helps Clara.
Tuesday     A backup at night; new battery, power cuts, Home Assistant dies.
Wednesday   Clara is suspended until she finds her phone.
Thursday    Emil is added, and removed while the cellar is out of reach.
Friday      Ben moves out, Dora gets his slots, Clara another PIN; Home Assistant is stopped.
Saturday    Nobody runs but the locks.
Sunday      Winter time begins; Home Assistant comes back in the evening.
Monday      Gus is removed; the disk dies and Tuesday's backup is restored.
Tuesday     The owner answers what the locks and the backup do not agree about.
"""

import math
from datetime import datetime
from typing import TYPE_CHECKING

from bsld import const as c
from desk import Hours
from fortnight import activity_of
from household import BERLIN
from world import name_of

from custom_components.igrs_lock.person import Kind

if TYPE_CHECKING:
    from doors import Fact
    from fortnight import Story


async def wednesday_moving_in(story: Story) -> None:
    """Three residents, a guest for the evenings, a cleaner for two mornings a week."""
    house, desk, front, cellar = story.house, story.desk, story.front, story.cellar
    for name in ("Anna", "Ben", "Clara"):
        user_id = house.add_user(name)
        pin = story.pins.get(name, "")
        await desk.add(name, front, cellar, user_id=user_id, pin=pin)
    await desk.add(
        "Gus", front, kind=Kind.GUEST, user_id=house.add_user("Gus"), pin=story.pins["Gus"],
        hours=Hours([], "15:00:00", "22:00:00"),
    )  # fmt: skip
    await desk.add(
        "Petra", front, kind=Kind.SERVICE, pin=story.pins["Petra"],
        hours=Hours(["tue", "fri"], "09:00:00", "12:00:00"),
    )  # fmt: skip
    await story.check_accounts(front, "Anna", "Ben", "Clara", "Gus", "Petra")
    await story.check_accounts(cellar, "Anna", "Ben", "Clara")
    await house.until("10-14", "18:00")
    await story.by_app("Anna", "unlock", front)
    assert house.attribute(front, "changed_by") == "Anna"
    await house.advance(5)
    assert story.news_of("anna") == ["unlocked"]
    await story.goes_through(front)
    assert house.attribute(front, "changed_by") == "by_hand"


async def thursday_an_ordinary_day(story: Story) -> None:
    """Phones, a PIN, a guest in time and too late, and an automation at night."""
    house, front = story.house, story.front
    await house.until("10-15", "07:30")
    await story.by_app("Ben", "open", front)
    await house.advance(5)
    front.swing(is_open=True)
    await house.advance(5)
    front.swing(is_open=False)
    await story.by_app("Ben", "lock", front)
    await house.until("10-15", "12:00")
    await story.comes("Clara")
    await house.until("10-15", "18:00")
    await story.comes("Gus")
    await house.until("10-15", "23:00")
    assert await story.types("Gus", story.pins["Gus"]) == c.OUTSIDE_TIME
    assert front.core.bolt == c.BOLT_LOCKED
    await house.until("10-15", "23:05")
    assert await story.app_refuses("Gus", "unlock", front) == "outside_hours"
    story.cellar.by_hand(c.BOLT_UNLOCKED)
    await house.until("10-15", "23:30")
    await story.by_app(None, "lock", story.cellar)


async def friday_the_cleaner(story: Story) -> None:
    """Petra in her hours and after them; somebody guesses PINs."""
    house = story.house
    await house.until("10-16", "09:30")
    await story.comes("Petra")
    await house.until("10-16", "12:30")
    assert await story.types("Petra", story.pins["Petra"]) == c.OUTSIDE_TIME
    await house.until("10-16", "20:00")
    for guess in ("583921", "000000"):
        assert await story.types("a stranger", guess) == c.UNKNOWN_ACCOUNT


async def saturday_a_jam(story: Story) -> None:
    """The cleaner on the wrong day; the cellar's bolt jams and is freed."""
    house, cellar = story.house, story.cellar
    await house.until("10-17", "10:00")
    assert await story.types("Petra", story.pins["Petra"]) == c.OUTSIDE_TIME
    await house.until("10-17", "14:00")
    await story.by_app("Ben", "unlock", cellar)
    cellar.jammed = True
    assert await story.app_refuses("Ben", "lock", cellar) == "jammed"
    await house.quietly(600)
    assert house.state(cellar) == "jammed"
    cellar.jammed = False
    await story.by_app("Ben", "lock", cellar)
    assert house.state(cellar) == "locked"


async def sunday_a_gateway_is_lost(story: Story) -> None:
    """Only the far gateway is left, which does not hear the cellar."""
    house, front, cellar = story.house, story.front, story.cellar
    await house.until("10-18", "08:00")
    near, far = house.near.hears.copy(), house.far.hears.copy()
    house.near.hears.clear()
    house.far.hears.discard(cellar)
    await house.until("10-18", "11:00")
    assert house.state(cellar) == "unavailable"
    assert story.desk.issues("out_of_reach")
    cellar.by_hand(c.BOLT_UNLOCKED)
    await house.until("10-18", "11:30")
    cellar.by_hand(c.BOLT_LOCKED)
    await story.by_app("Clara", "unlock", front)
    await story.goes_through(front)
    await story.by_app("Clara", "unlock", cellar)  # Home Assistant leaves it out: unavailable
    assert cellar.core.bolt == c.BOLT_LOCKED
    await house.until("10-19", "08:00")
    house.near.hears.update(near)
    house.far.hears.update(far)


async def monday_a_weak_battery(story: Story) -> None:
    """The cellar is heard again; the front door's battery gets low; auto-lock helps Clara."""
    house, desk, front, cellar = story.house, story.desk, story.front, story.cellar
    await house.until("10-19", "09:00")
    assert house.state(cellar) == "locked"
    assert not desk.issues("out_of_reach")
    front.drain(14)
    await desk.set_number(front, "auto_lock_delay", 90)
    await house.until("10-19", "13:00")
    assert desk.issues("low_battery")
    await story.types("Clara", story.pins["Clara"])
    await house.quietly(120)
    assert house.state(front) == "locked"
    await house.until("10-19", "19:00")
    await story.comes("Gus")


async def tuesday_power_cuts(story: Story) -> None:
    """A backup is made at night; batteries are changed, which stops the locks' clocks."""
    house, front, cellar = story.house, story.front, story.cellar
    await house.until("10-20", "04:45")
    story.backup = house.backup()
    await house.until("10-20", "08:00")
    front.new_battery()
    await house.until("10-20", "10:00")
    assert not story.desk.issues("low_battery")
    await story.comes("Petra")  # in her hours, so the clock is right again
    await house.until("10-20", "15:00")
    cellar.power_cut()
    await story.comes("Clara")
    await house.kill_home_assistant()  # the whole home is without power
    await house.quietly(300)
    cellar.by_hand(c.BOLT_UNLOCKED)
    await house.quietly(60)
    cellar.by_hand(c.BOLT_LOCKED)
    await house.start_home_assistant()
    await house.until("10-20", "20:00")
    await story.by_app("Ben", "unlock", cellar)
    await story.goes_through(cellar)


async def wednesday_a_lost_phone(story: Story) -> None:
    """Clara is suspended until she finds her phone; somebody opens the lock's cover."""
    house, desk, front = story.house, story.desk, story.front
    await house.until("10-21", "10:00")
    await desk.change("Clara", "suspend", {})
    assert await story.app_refuses("Clara", "unlock", front) == "not_allowed"
    assert await story.types("Clara", story.pins["Clara"]) == c.DISABLED
    await house.until("10-21", "12:00")
    front.core.tamper_sensed(True)
    await house.quietly(300)
    front.core.tamper_sensed(False)
    await house.until("10-21", "15:00")
    await desk.change("Clara", "resume", {})
    await story.comes("Clara")
    await house.until("10-21", "17:00")
    await story.comes("Gus")


async def thursday_a_plumber(story: Story) -> None:
    """Emil is added and removed the same day, while the cellar is out of reach."""
    house, desk, front, cellar = story.house, story.desk, story.front, story.cellar
    await house.until("10-22", "08:00")
    await desk.add("Emil", front, cellar, kind=Kind.SERVICE, pin=story.pins["Emil"])
    await story.comes("Emil")
    await house.until("10-22", "17:00")
    cellar.silent = True
    await desk.remove("Emil")
    await story.check_accounts(front, "Anna", "Ben", "Clara", "Gus", "Petra")
    assert await story.types("Emil", story.pins["Emil"]) == c.UNKNOWN_ACCOUNT
    # What nobody can help: out of reach, the cellar does not know yet. The owner is told so.
    (pending,) = desk.issues("removal_pending")
    assert pending.translation_placeholders == {"person": "Emil", "name": name_of(cellar)}
    assert await desk.try_key("Emil", cellar) == c.ACCEPTED
    await house.quietly(3600)
    cellar.silent = False
    cellar.by_hand(c.BOLT_LOCKED)
    await house.quietly(120)
    assert not desk.issues("removal_pending")
    await story.check_accounts(cellar, "Anna", "Ben", "Clara")
    await desk.change("Petra", "suspend", {})


async def friday_changes(story: Story) -> None:
    """Ben moves out, Dora gets his room and his slots, Clara another PIN.

    In the evening Home Assistant is stopped.
    """
    house, desk, front, cellar = story.house, story.desk, story.front, story.cellar
    await house.until("10-23", "09:30")
    assert await story.types("Petra", story.pins["Petra"]) == c.DISABLED
    await house.until("10-23", "12:00")
    await desk.remove("Ben")
    await story.check_accounts(front, "Anna", "Clara", "Gus", "Petra")
    await story.check_accounts(cellar, "Anna", "Clara")
    await house.until("10-23", "15:00")
    await desk.add("Dora", front, cellar, pin=story.pins["Dora"])
    for lock in (front, cellar):
        assert desk.keys["Dora", lock.unique_id].slot == desk.keys["Ben", lock.unique_id].slot
    await story.comes("Dora")
    await house.until("10-23", "17:00")
    await desk.set_pin("Clara", "169407")
    assert await story.types("Clara", story.pins["Clara"]) == c.UNKNOWN_ACCOUNT
    story.pins["Clara"] = "169407"
    await story.comes("Clara")
    await house.until("10-23", "20:00")
    story.check_logs()
    await house.stop_home_assistant()


async def saturday_without_home_assistant(story: Story) -> None:
    """The locks know what they have to know."""
    house, cellar = story.house, story.cellar
    await house.until("10-24", "10:00")
    await story.comes("Clara")
    assert await story.types("Petra", story.pins["Petra"]) == c.DISABLED
    await house.until("10-24", "14:30")
    assert await story.types("Gus", story.pins["Gus"]) == c.OUTSIDE_TIME
    await house.until("10-24", "15:30")
    await story.comes("Gus")
    cellar.power_cut()
    cellar.by_hand(c.BOLT_UNLOCKED)
    await house.until("10-24", "16:00")
    cellar.by_hand(c.BOLT_LOCKED)


async def sunday_winter_time(story: Story) -> None:
    """Somebody goes out at half past two, and an hour later at half past two.

    Gus's hours are winter time's, though nobody could tell the lock that it has come.
    """
    house, front, cellar = story.house, story.front, story.cellar
    await house.until("10-25", "02:30")
    front.by_hand(c.BOLT_UNLOCKED)
    assert front.core.clock.offset(int(house.now())) == 120
    await house.until("10-25", "02:30", fold=1)
    front.by_hand(c.BOLT_UNLOCKED)
    assert front.core.clock.offset(int(house.now())) == 60
    await house.until("10-25", "14:30")  # half past three by summer time
    assert await story.types("Gus", story.pins["Gus"]) == c.OUTSIDE_TIME
    await house.until("10-25", "21:30")  # half past ten by summer time
    await story.comes("Gus")
    await house.until("10-25", "22:00")
    assert cellar.core.clock.now() == 0  # since yesterday's power cut
    await house.start_home_assistant()
    await house.quietly(120)
    assert cellar.core.clock.now() != 0
    story.check_logs()
    first, second = (fact for fact in front.facts if _local(fact) == "2026-10-25 02:30")
    assert second.timestamp - first.timestamp == 3600
    told = [sentence for sentence in activity_of(house, front) if "2026-10-25 at 02:30" in sentence]
    assert len(told) == 2


async def monday_the_disk_dies(story: Story) -> None:
    """The guest is removed; in the evening Home Assistant is restored from Tuesday's backup."""
    house, desk, front, cellar = story.house, story.desk, story.front, story.cellar
    await house.until("10-26", "08:00")
    await story.by_app("Anna", "unlock", front)
    await story.goes_through(front)
    await house.until("10-26", "12:00")
    await desk.remove("Gus")
    await story.check_accounts(front, "Anna", "Clara", "Petra", "Dora")
    await story.check_accounts(cellar, "Anna", "Clara", "Dora")
    await house.until("10-26", "18:00")
    story.check_logs()
    digests = [lock.core.accounts.digest() for lock in (front, cellar)]
    await house.restore(story.backup)
    # Gus's lease was renewed on Wednesday and he was removed on Monday: on the lock that could be
    # two people, one after the other, and his slot tells no more.
    wednesday = datetime(2026, 10, 21, tzinfo=BERLIN).timestamp()
    story.unknown = {"Dora": (0, math.inf), "Emil": (0, math.inf), "Gus": (wednesday, house.now())}
    await house.quietly(3600)
    story.check_logs()
    assert digests == [lock.core.accounts.digest() for lock in (front, cellar)]


async def tuesday_the_owner_decides(story: Story) -> None:
    """Nobody came back by himself: each difference is a question, and each answer is followed."""
    house, desk, front, cellar = story.house, story.desk, story.front, story.cellar
    await house.until("10-27", "07:00")
    assert desk.questions() == {
        ("front", "unknown", ""),  # Dora
        ("front", "missing", "Ben"),
        ("front", "changed", "Clara"),
        ("front", "missing", "Gus"),
        ("front", "changed", "Petra"),
        ("cellar", "unknown", ""),
        ("cellar", "missing", "Ben"),
    }
    # Until they are answered everything is as it was before.
    await story.comes("Dora")
    assert await story.types("Petra", story.pins["Petra"]) == c.DISABLED
    await desk.decide(front, "unknown", "", "keep")
    await desk.decide(cellar, "unknown", "", "revoke")
    await desk.decide(front, "missing", "Ben", "keep")
    await desk.decide(cellar, "missing", "Ben", "keep")
    await desk.decide(front, "changed", "Clara", "keep")
    await desk.decide(front, "missing", "Gus", "restore")
    await desk.decide(front, "changed", "Petra", "restore")
    assert not desk.questions()
    await story.comes("Clara")
    await story.comes("Dora")
    await story.check_accounts(front, "Anna", "Clara", "Dora", "Gus", "Petra")
    await story.check_accounts(cellar, "Anna", "Clara")
    # Nobody can tell whether a PIN is still the one that was given: these two get new ones.
    for name, pin in (("Gus", "605183"), ("Petra", "491730")):
        assert await story.types(name, story.pins[name]) == c.UNKNOWN_ACCOUNT
        await desk.set_pin(name, pin)
        story.pins[name] = pin
    await house.until("10-27", "08:30")  # half past nine by summer time
    assert await story.types("Petra", story.pins["Petra"]) == c.OUTSIDE_TIME
    await house.until("10-27", "09:30")
    await story.comes("Petra")
    await house.until("10-27", "18:00")
    await story.comes("Gus")
    await story.by_app("Gus", "open", front)
    for pin in ("482615", "583920"):  # Emil's, and the one that Clara had
        assert await story.types("a stranger", pin) == c.UNKNOWN_ACCOUNT
    await house.until("10-27", "20:00")
    story.check_logs()


FORTNIGHT = (
    wednesday_moving_in,
    thursday_an_ordinary_day,
    friday_the_cleaner,
    saturday_a_jam,
    sunday_a_gateway_is_lost,
    monday_a_weak_battery,
    tuesday_power_cuts,
    wednesday_a_lost_phone,
    thursday_a_plumber,
    friday_changes,
    saturday_without_home_assistant,
    sunday_winter_time,
    monday_the_disk_dies,
    tuesday_the_owner_decides,
)


def _local(fact: Fact) -> str:
    return f"{datetime.fromtimestamp(fact.timestamp, BERLIN):%Y-%m-%d %H:%M}"
