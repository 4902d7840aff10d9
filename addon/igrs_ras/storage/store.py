"""The one way to the database: one thread writes, in groups that share a commit; a few threads read.

A job is a plain function that gets a Transaction (write) or a Connection (read), runs in a thread and returns a value.
Jobs of one group each have a savepoint, so one that fails undoes only itself; none is answered before the commit.
Because one thread writes, jobs never run beside each other: what a job read, still holds when it writes.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, Executable
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError

from igrs_ras.clock import Clock
from igrs_ras.status import Refused, Status
from igrs_ras.storage.engine import WRITER, InUseError, claim
from igrs_ras.storage.heads import Heads

_LOGGER = logging.getLogger(__name__)

GROUP = 128  # jobs that share a commit at most
WAITING = 4096  # jobs that may wait; more are refused
PATIENCE = 5.0  # seconds until a job that waits is answered with "not ready"

type WriteJob[T] = Callable[[Transaction], T]
type ReadJob[T] = Callable[[Connection], T]
type BulkJob[A, T] = Callable[[Transaction, Sequence[A]], Sequence[T | Exception]]


class Transaction:
    """What a job of the writer may do. Valid only while the job runs."""

    def __init__(self, connection: Connection, heads: Heads, now_ms: int) -> None:
        self.connection = connection
        self.now = now_ms
        self._heads = heads
        self.callbacks: list[Callable[[], None]] = []

    def execute(
        self,
        statement: Executable,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[Any]:
        """Run a statement. With a sequence of values it runs for each."""
        return self.connection.execute(statement, values)

    def audit(self, site: str, what: str, **fields: str | int) -> int:
        """Add an entry to the site's audit (random ids and codes only, no names); return its index.

        It is written with the group's commit, whose transaction is this job's.
        """
        return self._heads.add_audit(self.connection, site, what, fields, self.now)

    def push(
        self,
        recipient: str,
        kind: str,
        body: Mapping[str, Any],
        *,
        sender: str = "server",
        lock: str = "",
    ) -> int:
        """Add a durable event (clause 7.7) for "user:<id>" or "gateway:<site>"; return its sequence number."""
        return self._heads.add_event(self.connection, recipient, kind, body, sender, lock, self.now)

    def after(self, callback: Callable[[], None]) -> None:
        """Run a callback on the event loop when this job is committed, and only then."""
        self.callbacks.append(callback)


@dataclass(slots=True)
class _Job:
    run: Any  # a WriteJob, or None if it is a bulk job's
    bulk: BulkJob[Any, Any] | None
    item: Any
    future: asyncio.Future[Any]


@dataclass(slots=True)
class _Outcome:
    job: _Job
    value: Any = None
    error: BaseException | None = None


class Store:
    """Reads and writes. Made in a running event loop; `start` before use, `stop` at the end."""

    def __init__(self, engine: Engine, clock: Clock, *, readers: int = 4) -> None:
        self.engine = engine
        self.heads = Heads()
        self.on_events: Callable[[Sequence[tuple[str, int, bytes]]], None] | None = None
        self.failing_since: float | None = None
        self.fatal: Callable[[str], None] | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(readers, "store-read")
        self._thread = threading.Thread(target=self._work, name="store-write", daemon=True)
        self._connection: Connection | None = None
        self._claimed = threading.Event()
        self._claim_error: BaseException | None = None

    async def start(self) -> None:
        """Connect and become the only writer. Raises InUseError or what the database says."""
        self._thread.start()
        await asyncio.to_thread(self._claimed.wait)
        if self._claim_error is not None:
            raise self._claim_error

    async def stop(self) -> None:
        """Finish what waits, then close."""
        if self._thread.is_alive():
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, 10)
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.engine.dispose()

    async def write[T](self, job: WriteJob[T]) -> T:
        """Run a job in the writer's thread and return its value after the commit.

        Raises Refused(NOT_READY) when the database does not take it, else what the job raised.
        """
        return await self._submit(_Job(job, None, None, self._loop.create_future()))  # type: ignore[no-any-return]

    async def bulk[A, T](self, job: BulkJob[A, T], item: A) -> T:
        """Run a job for many at once: it gets the items of a whole group and returns a value or error for each."""
        return await self._submit(_Job(None, job, item, self._loop.create_future()))  # type: ignore[no-any-return]

    async def read[T](self, job: ReadJob[T]) -> T:
        """Run a reading job in one of the readers' threads. Raises Refused(NOT_READY)."""
        try:
            async with asyncio.timeout(PATIENCE):
                value = await self._loop.run_in_executor(self._readers, self._read, job)
        except TimeoutError as error:
            self._failed("a read took too long")
            raise Refused(Status.NOT_READY) from error
        except DBAPIError as error:
            self._failed(type(error.orig).__name__)
            raise Refused(Status.NOT_READY) from error
        return value

    async def probe(self) -> bool:
        """Ask the database whether it answers and, after a failed write, whether it takes one again."""
        try:
            if self.failing_since is not None:
                await self.write(_probe_write)
            else:
                await self.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        except Refused:
            return False
        return True

    def _read[T](self, job: ReadJob[T]) -> T:
        with self.engine.connect() as connection, connection.begin():
            return job(connection)

    async def _submit(self, job: _Job) -> Any:
        if self._jobs.qsize() >= WAITING or not self._thread.is_alive():
            raise Refused(Status.NOT_READY)
        self._jobs.put(job)
        try:
            async with asyncio.timeout(PATIENCE):
                return await job.future
        except TimeoutError as error:
            self._failed("a write took too long")
            raise Refused(Status.NOT_READY) from error

    # The writer's thread.

    def _connect(self) -> Connection:
        if self._connection is None:
            self.heads.forget()
            connection = self.engine.connect().execution_options(**WRITER)
            try:
                claim(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _work(self) -> None:
        try:
            self._connect()
        except (SQLAlchemyError, InUseError) as error:
            self._claim_error = error
            return
        finally:
            self._claimed.set()
        while (job := self._jobs.get()) is not None:
            group = [job]
            last = False
            while len(group) < GROUP and not self._jobs.empty():
                more = self._jobs.get()
                if more is None:
                    last = True
                    break
                group.append(more)
            self._run_group([job for job in group if not job.future.done()])
            if last:
                break
        if self._connection is not None:
            self._connection.close()

    def _run_group(self, jobs: list[_Job]) -> None:
        outcomes: list[_Outcome] = []
        callbacks: list[Callable[[], None]] = []
        events: list[tuple[str, int, bytes]] = []
        try:
            connection = self._connect()
            with connection.begin():
                for job in (job for job in jobs if job.run is not None):
                    self._run_one(connection, job, outcomes, callbacks)
                bulks: dict[Any, list[_Job]] = {}
                for job in (job for job in jobs if job.bulk is not None):
                    bulks.setdefault(job.bulk, []).append(job)
                for bulk, group in bulks.items():
                    self._run_bulk(connection, bulk, group, outcomes, callbacks)
                events = self.heads.flush(connection)
        except InUseError as error:
            self._lost(jobs, error)
            if self.fatal is not None:
                self._loop.call_soon_threadsafe(self.fatal, str(error))
        except SQLAlchemyError as error:
            self._lost(jobs, error)
        else:
            self._loop.call_soon_threadsafe(self._committed, outcomes, callbacks, events)

    def _run_one(
        self,
        connection: Connection,
        job: _Job,
        outcomes: list[_Outcome],
        callbacks: list[Callable[[], None]],
    ) -> None:
        transaction = Transaction(connection, self.heads, self._clock.now_ms())
        mark = self.heads.mark()
        savepoint = connection.begin_nested()
        try:
            value = job.run(transaction)
        except DBAPIError as error:
            self._undo(savepoint, mark, error)
            outcomes.append(_Outcome(job, error=error))
        except Exception as error:  # noqa: BLE001  it belongs to who asked
            savepoint.rollback()
            self.heads.back(mark)
            outcomes.append(_Outcome(job, error=error))
        else:
            savepoint.commit()
            outcomes.append(_Outcome(job, value))
            callbacks.extend(transaction.callbacks)

    def _run_bulk(
        self,
        connection: Connection,
        bulk: BulkJob[Any, Any],
        jobs: list[_Job],
        outcomes: list[_Outcome],
        callbacks: list[Callable[[], None]],
    ) -> None:
        transaction = Transaction(connection, self.heads, self._clock.now_ms())
        mark = self.heads.mark()
        savepoint = connection.begin_nested()
        try:
            values = bulk(transaction, [job.item for job in jobs])
        except DBAPIError as error:
            self._undo(savepoint, mark, error)
            outcomes.extend(_Outcome(job, error=error) for job in jobs)
        except Exception as error:  # noqa: BLE001  it belongs to who asked
            savepoint.rollback()
            self.heads.back(mark)
            outcomes.extend(_Outcome(job, error=error) for job in jobs)
        else:
            savepoint.commit()
            callbacks.extend(transaction.callbacks)
            for job, value in zip(jobs, values, strict=True):
                failed = isinstance(value, Exception)
                outcomes.append(_Outcome(job, None if failed else value, value if failed else None))

    def _undo(self, savepoint: Any, mark: Any, error: DBAPIError) -> None:
        """Undo one job that the database refused. A lost connection or a full disk ends the whole group."""
        if error.connection_invalidated or not _is_constraint(error):
            raise error
        savepoint.rollback()
        self.heads.back(mark)

    def _lost(self, jobs: list[_Job], error: BaseException) -> None:
        self.heads.forget()
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.invalidate()
                connection.close()
            except SQLAlchemyError:
                _LOGGER.debug("closing the lost connection failed")
        original = error.orig if isinstance(error, DBAPIError) else error
        self._loop.call_soon_threadsafe(self._refuse, jobs, type(original).__name__)

    # Back on the loop.

    def _committed(
        self,
        outcomes: list[_Outcome],
        callbacks: list[Callable[[], None]],
        events: Sequence[tuple[str, int, bytes]],
    ) -> None:
        if self.failing_since is not None:
            _LOGGER.warning("the database works again")
            self.failing_since = None
        for outcome in outcomes:
            if outcome.job.future.done():
                continue
            if outcome.error is not None:
                outcome.job.future.set_exception(outcome.error)
            else:
                outcome.job.future.set_result(outcome.value)
        if events and self.on_events is not None:
            self.on_events(events)
        for callback in callbacks:
            callback()

    def _refuse(self, jobs: list[_Job], why: str) -> None:
        self._failed(why)
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(Refused(Status.NOT_READY))

    def _failed(self, why: str) -> None:
        if self.failing_since is None:
            _LOGGER.error("the database does not work: %s", why)
            self.failing_since = self._clock.monotonic()


def _is_constraint(error: DBAPIError) -> bool:
    return isinstance(error, (IntegrityError, DataError, ProgrammingError))


def _probe_write(transaction: Transaction) -> None:
    # Changes a row to itself: enough to make the database write a page and sync it.
    transaction.connection.exec_driver_sql("UPDATE server SET generation = generation WHERE id = 1")
