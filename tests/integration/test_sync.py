"""The background worker: one connection for all that is due, none for nothing, people first."""

import asyncio
import itertools
import logging
import random
from typing import TYPE_CHECKING, Any

import pytest
from bsld import const as c

from custom_components.igrs_lock.errors import OutOfReachError, RefusedError
from custom_components.igrs_lock.ilp import IlpError, requests
from custom_components.igrs_lock.sync import BACK_OFF_MAX, Job

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import HomeAssistant
    from world import TestLock, World

    from custom_components.igrs_lock.coordinator import IgrsLockCoordinator
    from custom_components.igrs_lock.sync import Sync


class Jobs:
    """Stands in for the jobs: notes when each ran, and does what a test wants of it."""

    def __init__(self, world: World, coordinator: IgrsLockCoordinator) -> None:
        self.world = world
        self.coordinator = coordinator
        self.ran: list[tuple[Job, float]] = []
        self.failures: dict[Job, Exception] = {}
        self.messages = 1
        for job in Job:
            coordinator.sync.register(job, self._running(job))

    @property
    def sync(self) -> Sync:
        return self.coordinator.sync

    def _running(self, job: Job) -> Any:
        async def run() -> None:
            self.ran.append((job, self.world.monotonic()))
            if job in self.failures:
                raise self.failures[job]
            for _ in range(self.messages):
                await self.coordinator.async_request(requests.get_status())

        return run

    def order(self) -> list[Job]:
        return [job for job, _ in self.ran]

    def gaps(self) -> list[float]:
        times = [when for _, when in self.ran]
        return [round(later - sooner) for sooner, later in itertools.pairwise(times)]


@pytest.fixture
async def jobs(world: World, lock: TestLock, entry: ConfigEntry[Any], quiet: None) -> Jobs:
    found = Jobs(world, entry.runtime_data)
    await world.advance(6)
    found.ran.clear()
    lock.traffic.clear()
    return found


async def test_with_nothing_to_do_nobody_connects(world: World, lock: TestLock, jobs: Jobs) -> None:
    before = world.connections
    await world.advance(3600, step=30)
    assert world.connections == before
    assert not jobs.ran


async def test_all_that_is_due_is_done_in_one_connection_in_its_order(
    world: World, lock: TestLock, jobs: Jobs
) -> None:
    before = world.connections
    for job in reversed(Job):
        jobs.sync.nudge(job)
    await world.advance(1)
    assert jobs.order() == [Job.LOG, Job.ACCOUNTS, Job.OPTIONS]
    assert world.connections == before + 1
    await world.advance(6)
    assert not lock.connections


async def test_a_job_can_wait_and_the_earlier_time_counts(world: World, jobs: Jobs) -> None:
    jobs.sync.nudge(Job.LOG, 60)
    jobs.sync.nudge(Job.LOG, 20)
    jobs.sync.nudge(Job.LOG, 40)
    await world.advance(19)
    assert not jobs.ran
    await world.advance(2)
    assert jobs.order() == [Job.LOG]
    await world.advance(60)
    assert jobs.order() == [Job.LOG]


async def test_nothing_is_tried_before_the_lock_is_heard_again(
    world: World, lock: TestLock, jobs: Jobs
) -> None:
    lock.silent = True
    await world.advance(120)
    before = world.connections
    jobs.sync.nudge(Job.ACCOUNTS)
    await world.advance(3600, step=30)
    assert not jobs.ran
    assert world.connections == before
    lock.silent = False
    await world.advance(2)
    assert jobs.order() == [Job.ACCOUNTS]


async def test_news_during_a_run_are_another_run(world: World, jobs: Jobs) -> None:
    jobs.messages = 3
    jobs.sync.nudge(Job.LOG)
    await world.settle()
    assert jobs.order() == [Job.LOG]
    jobs.sync.nudge(Job.LOG)
    jobs.sync.nudge(Job.LOG)
    await world.advance(2)
    assert jobs.order() == [Job.LOG, Job.LOG]


@pytest.mark.parametrize("service", ["unlock", "open"])
async def test_a_person_waits_for_one_message_and_the_job_for_the_person(
    hass: HomeAssistant,
    world: World,
    lock: TestLock,
    jobs: Jobs,
    service: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs.messages = 8
    sent: list[str] = []
    client = jobs.coordinator.client
    ask = client.async_request

    async def note(*wanted: Any, **how: Any) -> Any:
        replies = await ask(*wanted, **how)
        sent.append(wanted[0].command.name)
        if len(sent) == 3:
            call = {"entity_id": f"lock.{lock.entity}"}
            hass.async_create_task(hass.services.async_call("lock", service, call))
            # The job's next message is on its way already.
            await asyncio.sleep(0)
        return replies

    monkeypatch.setattr(client, "async_request", note)
    jobs.sync.nudge(Job.LOG)
    await world.advance(0.5)
    # At most one more, and none while the bolt moves.
    assert sent in (
        ["GET_STATUS"] * 3 + ["OPERATE"],
        ["GET_STATUS"] * 4 + ["OPERATE"],
    )
    assert lock.operations
    await world.advance(5)
    assert lock.core.bolt in (c.BOLT_UNLOCKED, c.BOLT_OPEN)
    assert sent.count("GET_STATUS") == 8 * len(jobs.ran)  # none was cut short


async def test_what_fails_is_tried_again_less_and_less_often_and_told_once(
    world: World, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.failures[Job.OPTIONS] = RefusedError("Front door", result="13")
    jobs.sync.nudge(Job.OPTIONS)
    caplog.set_level(logging.INFO, "custom_components.igrs_lock")
    await world.advance(6 * 3600, step=10)
    gaps = jobs.gaps()
    assert all(abs(gap - wait) <= 10 for gap, wait in zip(gaps, [30, 60, 120, 240], strict=False))
    assert max(gaps) <= BACK_OFF_MAX + 10
    assert gaps[-1] >= BACK_OFF_MAX - 10

    def told() -> list[int]:
        return [
            record.levelno
            for record in caplog.records
            if record.levelno > logging.DEBUG and "options" in record.message
        ]

    assert told() == [logging.WARNING]
    # Another one is not held up by it.
    jobs.ran.clear()
    jobs.sync.nudge(Job.LOG)
    await world.advance(1)
    assert jobs.order() == [Job.LOG]
    assert told() == [logging.WARNING]
    # And once it works, it is done.
    del jobs.failures[Job.OPTIONS]
    await world.advance(3700, step=10)
    assert jobs.order() == [Job.LOG, Job.OPTIONS]
    assert told() == [logging.WARNING, logging.INFO]


async def test_a_nudge_does_not_shorten_the_wait_after_a_failure(world: World, jobs: Jobs) -> None:
    jobs.failures[Job.LOG] = IlpError("broken")
    jobs.sync.nudge(Job.LOG)
    for _ in range(20):
        await world.advance(1)
        jobs.sync.nudge(Job.LOG)
    assert jobs.order() == [Job.LOG]


async def test_out_of_reach_no_other_job_is_tried_in_vain(world: World, jobs: Jobs) -> None:
    jobs.failures[Job.LOG] = OutOfReachError("Front door", reason="because")
    for job in Job:
        jobs.sync.nudge(job)
    await world.advance(20)
    assert jobs.order() == [Job.LOG]
    jobs.failures.clear()
    await world.advance(15)
    assert jobs.order() == [Job.LOG, *Job]


async def test_back_in_reach_all_is_tried_at_once(world: World, lock: TestLock, jobs: Jobs) -> None:
    jobs.failures[Job.ACCOUNTS] = OutOfReachError("Front door", reason="because")
    jobs.sync.nudge(Job.ACCOUNTS)
    await world.advance(1200, step=10)
    jobs.ran.clear()
    lock.silent = True
    await world.advance(120)
    jobs.failures.clear()
    lock.silent = False
    await world.advance(2)
    assert jobs.order() == [Job.ACCOUNTS]


async def test_after_a_person_reached_the_lock_all_is_tried_at_once(
    world: World, lock: TestLock, jobs: Jobs
) -> None:
    jobs.failures[Job.LOG] = OutOfReachError("Front door", reason="because")
    jobs.sync.nudge(Job.LOG)
    await world.advance(1200, step=10)
    jobs.ran.clear()
    jobs.failures.clear()
    before = world.connections
    await world.call(lock, "unlock")
    await world.advance(1)
    assert jobs.order() == [Job.LOG]
    assert world.connections == before + 1


async def test_a_job_that_breaks_does_not_break_the_worker(
    world: World, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.failures[Job.LOG] = ZeroDivisionError("oh")
    for job in Job:
        jobs.sync.nudge(job)
    await world.advance(200, step=10)
    assert jobs.order().count(Job.OPTIONS) == 1
    assert jobs.order().count(Job.LOG) >= 3
    assert caplog.text.count("ZeroDivisionError") == 1
    caplog.clear()


async def test_it_ends_with_its_entry(
    hass: HomeAssistant, world: World, lock: TestLock, entry: ConfigEntry[Any], jobs: Jobs
) -> None:
    jobs.messages = 1000
    jobs.sync.nudge(Job.LOG)
    jobs.sync.nudge(Job.OPTIONS, 30)
    await world.advance(0.2)
    assert lock.connections
    assert await world.during(hass.config_entries.async_unload(entry.entry_id))
    lock.traffic.clear()
    await world.advance(60)
    assert not lock.traffic
    assert not lock.connections
    assert jobs.order() == [Job.LOG]


async def test_the_daily_time_takes_the_log_along(world: World, lock: TestLock, jobs: Jobs) -> None:
    before = world.connections
    await world.advance(25 * 3600, step=60)
    assert Job.LOG in jobs.order()
    assert world.connections == before + 1


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_every_nudge_is_followed_by_a_run(
    world: World, lock: TestLock, jobs: Jobs, seed: int
) -> None:
    choice = random.Random(seed)
    last: dict[Job, float] = {}
    for _ in range(40):
        match choice.randrange(6):
            case 0 | 1 | 2:
                job = choice.choice(list(Job))
                jobs.sync.nudge(job, choice.choice([0, 0, 5, 40]))
                last[job] = world.monotonic()
            case 3:
                jobs.failures[choice.choice(list(Job))] = choice.choice(
                    [OutOfReachError("Front door", reason="x"), IlpError("broken")]
                )
            case 4:
                jobs.failures.clear()
            case 5:
                for connection in list(lock.connections):
                    connection.end()
        await world.advance(choice.choice([0, 0.3, 7, 31]), step=5)
    jobs.failures.clear()
    await world.advance(BACK_OFF_MAX + 60, step=30)
    for job, when in last.items():
        assert max(at for one, at in jobs.ran if one is job) >= when
    done = len(jobs.ran)
    await world.advance(BACK_OFF_MAX + 60, step=30)
    assert len(jobs.ran) == done
