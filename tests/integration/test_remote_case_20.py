"""Case 20 over the whole way: hours are the house's, also in the nights in which clocks are changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from afar import RacError
from hostile_ras import Scene, hostile, scene
from igrs_rac import Done

from custom_components.igrs_lock.ilp import Weekday

if TYPE_CHECKING:
    from freezegun.api import FrozenDateTimeFactory
    from homeassistant.core import HomeAssistant
    from world import World

__all__ = ["hostile", "scene"]

SPRING = datetime(2027, 3, 28, 1, tzinfo=UTC)
"""02:00 is 03:00."""
AUTUMN = datetime(2027, 10, 31, 1, tzinfo=UTC)
"""03:00 is 02:00."""


@pytest.fixture
async def calendar(
    hass: HomeAssistant, world: World, freezer: FrozenDateTimeFactory, request: Any
) -> None:
    """Some minutes before the clocks are changed in Berlin."""
    freezer.move_to(request.param[0] - request.param[1])
    await hass.config.async_set_time_zone("Europe/Berlin")


async def hours(scene: Scene, first: tuple[int, int], last: tuple[int, int]) -> None:
    """Give Anna these hours on Sundays, and let the locks know."""
    persons = scene.afar.gateway.home.persons()
    anna = next(one.id for one in persons.values() if one.name == "Anna")
    minutes = [hour * 60 + minute for hour, minute in (first, last)]
    scene.tenants.change(
        anna, weekdays=Weekday.SUNDAY, first_minute=minutes[0], last_minute=minutes[1]
    )
    await scene.afar.until(lambda: scene.tenants.account("Anna").first == minutes[0], 60)


async def until(scene: Scene, when: datetime) -> None:
    """Let time pass until then, with a state on Anna's screen from which she can operate at once."""
    left = when.timestamp() - scene.world.now()
    assert left > 0
    await scene.afar.play(max(0.0, left - 20), step=5)
    await scene.afar.heard(scene.anna)
    await scene.afar.play(when.timestamp() - scene.world.now())


async def may(scene: Scene) -> bool:
    """Whether Anna can open now; both the home and the lock must agree about it."""
    moved, writes = len(scene.afar.moved()), scene.writes()
    end = await scene.afar.tries(scene.anna.open(scene.front.unique_id))
    if isinstance(end, Done):
        assert len(scene.afar.moved()) == moved + 1
        return True
    assert isinstance(end, RacError)
    assert len(scene.afar.moved()) == moved
    assert scene.writes() == writes, "the home knows the hours, too"
    return False


@pytest.mark.parametrize("calendar", [(SPRING, timedelta(minutes=6))], indirect=True)
async def test_case_20_in_the_night_that_has_an_hour_less(scene: Scene) -> None:
    # 02:30 does not come; 03:00 is a second after 01:59:59.
    await hours(scene, (2, 30), (3, 4))
    await until(scene, SPRING - timedelta(seconds=1.5))
    assert not await may(scene)
    await until(scene, SPRING + timedelta(seconds=20))
    assert await may(scene)
    await until(scene, SPRING + timedelta(minutes=4, seconds=58))
    assert await may(scene)
    await until(scene, SPRING + timedelta(minutes=5, seconds=20))
    assert not await may(scene)


@pytest.mark.parametrize("calendar", [(AUTUMN, timedelta(minutes=6))], indirect=True)
async def test_case_20_in_the_night_that_has_an_hour_twice(scene: Scene) -> None:
    # 02:58 comes, then 02:00: hours from 02:00 to 02:04 begin again an hour later.
    await hours(scene, (2, 0), (2, 4))
    await until(scene, AUTUMN - timedelta(seconds=30))
    assert not await may(scene)
    await until(scene, AUTUMN + timedelta(seconds=20))
    assert await may(scene)
    await until(scene, AUTUMN + timedelta(minutes=5, seconds=20))
    assert not await may(scene)
