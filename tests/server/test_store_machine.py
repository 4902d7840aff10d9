"""Whatever jobs do and whatever breaks, audit chains and event numbers stay dense and hold exactly what was answered."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from igrs_ras.clock import SystemClock
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import sites, users
from sqlalchemy import select
from sqlalchemy.exc import NoResultFound, SQLAlchemyError
from stores import entries, new_site, new_user, opened, sequence
from test_store import break_connection, together

if TYPE_CHECKING:
    from conftest import Database
    from igrs_ras.storage.store import Store, Transaction

HOMES = 3
ENDS = ("well", "refused", "twice", "swallowed", "fault", "cancelled")
WRITES = st.lists(
    st.tuples(st.integers(0, HOMES - 1), st.sampled_from(["audit", "home", "person"])), max_size=4
)
JOBS = st.lists(st.tuples(WRITES, st.sampled_from(ENDS)), min_size=1, max_size=5)


class Writer(RuleBasedStateMachine):
    """The model: how many entries and events each home and person was told of."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.runner = runner
        self.database = database
        self.clock = SystemClock()
        self.context: Any = None
        self.store: Store
        self.entries: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.gone: set[str] = set()
        self.begin()
        with self.store.engine.connect() as connection:
            self.before = len(connection.execute(select(users.c.id)).all())
        self.sites: list[str] = [self.write(new_site) for _ in range(HOMES)]
        self.people: list[str] = [self.write(new_user) for _ in range(HOMES)]

    def begin(self) -> None:
        self.context = opened(self.database, self.clock)
        self.store = self.runner.run(self.context.__aenter__())

    def write(self, job: Any) -> Any:
        return self.runner.run(self.store.write(job))

    def teardown(self) -> None:
        self.runner.run(self.context.__aexit__(None, None, None))

    def job(self, writes: list[tuple[int, str]], end: str) -> Any:
        def run(tx: Transaction) -> list[tuple[str, str]]:
            done = []
            if end not in ("well", "swallowed", "cancelled"):
                new_user(tx)  # never to be seen
            for at, what in writes:
                site, person = self.sites[at], f"user:{self.people[at]}"
                if what == "audit":
                    tx.audit(site, "test", user=self.people[at])
                    done.append(("entry", site))
                else:
                    recipient = f"gateway:{site}" if what == "home" else person
                    tx.push(recipient, "test", {"at": at})
                    done.append(("event", recipient))
            if end == "refused":
                raise Refused(Status.NOT_PERMITTED)
            if end == "fault":
                raise KeyError(end)
            if end in ("twice", "swallowed"):
                try:
                    tx.execute(users.insert(), {"id": self.people[0], "name": "", "created": 0})
                except SQLAlchemyError:
                    if end == "twice":
                        raise
            return done

        return run

    def learn(self, outcomes: list[Any]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, list):
                for kind, name in outcome:
                    (self.entries if kind == "entry" else self.events)[name] += 1

    @rule(jobs=JOBS)
    def group(self, jobs: list[tuple[list[tuple[int, str]], str]]) -> None:
        """Jobs share a commit; some of them fail."""
        made = [self.job(writes, end) for writes, end in jobs if end != "cancelled"]
        outcomes = self.runner.run(together(self.store, *made)) if made else []
        for (writes, end), outcome in zip(
            [job for job in jobs if job[1] != "cancelled"], outcomes, strict=True
        ):
            named = {self.sites[at] for at, what in writes if what != "person"}
            if end == "well" and not named & self.gone:
                assert isinstance(outcome, list)
            elif named & self.gone:
                assert isinstance(outcome, NoResultFound)
        self.learn(outcomes)

    @rule(jobs=JOBS)
    def lost(self, jobs: list[tuple[list[tuple[int, str]], str]]) -> None:
        """The database breaks in the middle of a group: all of it is refused."""
        made = [self.job(writes, end) for writes, end in jobs]
        outcomes = self.runner.run(together(self.store, *made, break_connection))
        assert all(
            isinstance(outcome, Refused) and outcome.status is Status.NOT_READY
            for outcome in outcomes
        )

    @rule(jobs=JOBS)
    def impatient(self, jobs: list[tuple[list[tuple[int, str]], str]]) -> None:
        """Callers go away before or while their jobs run; what was done all the same is complete."""

        async def run() -> list[Any]:
            tasks = [
                asyncio.create_task(self.store.write(self.job(writes, end))) for writes, end in jobs
            ]
            await asyncio.sleep(0)
            for task, (_, end) in zip(tasks, jobs, strict=True):
                if end == "cancelled":
                    task.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        outcomes = self.runner.run(run())
        if any(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes):
            self.write(lambda tx: None)  # behind all of them
            self.recount()
        else:
            self.learn(outcomes)

    def recount(self) -> None:
        with self.store.engine.connect() as connection:
            for site in self.sites:
                self.entries[site] = len(entries(connection, site))
            for recipient in self.recipients():
                self.events[recipient] = sequence(connection, recipient)[0]

    def recipients(self) -> list[str]:
        return [f"gateway:{site}" for site in self.sites] + [f"user:{user}" for user in self.people]

    @rule(at=st.integers(0, HOMES - 1), jobs=JOBS, fails=st.booleans())
    def remove(
        self, at: int, jobs: list[tuple[list[tuple[int, str]], str]], *, fails: bool
    ) -> None:
        """A site is removed in the same group in which others write for it, before and after."""
        site = self.sites[at]

        def run(tx: Transaction) -> str:
            tx.execute(sites.delete().where(sites.c.id == site))
            tx.forget_site(site)
            if fails:
                raise Refused(Status.NOT_PERMITTED)
            return site

        made = [self.job(writes, end) for writes, end in jobs]
        outcomes = self.runner.run(together(self.store, *made, run, *made))
        self.learn(outcomes)
        if site in outcomes:
            self.gone.add(site)
        if site in self.gone:
            self.entries[site] = self.events[f"gateway:{site}"] = 0

    @rule(at=st.integers(0, HOMES - 1), generation=st.integers(1, 2**50))
    def renew(self, at: int, generation: int) -> None:
        person = f"user:{self.people[at]}"
        self.write(lambda tx: tx.renew(person, generation))

    @rule()
    def restart(self) -> None:
        """The server ends and starts anew."""
        self.teardown()
        self.begin()

    @invariant()
    def dense(self) -> None:
        """The database has exactly what was answered, without a gap."""
        with self.store.engine.connect() as connection:
            for site in self.sites:
                assert len(entries(connection, site)) == self.entries[site]
            for recipient in self.recipients():
                last, kept = sequence(connection, recipient)
                assert last == len(kept) == self.events[recipient]
            known = connection.execute(select(users.c.id)).scalars().all()
            assert len(known) == self.before + HOMES


def test_chains_and_sequences_stay_dense(database: Database) -> None:
    with asyncio.Runner() as runner:
        run_state_machine_as_test(
            cast("type[Writer]", lambda: Writer(runner, database)),
            settings=settings(
                max_examples=8,
                stateful_step_count=10,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
