"""The one way to the database: one thread writes, in groups that share a commit; a few threads read.

A job is a plain function that gets a Transaction (write) or a Connection (read), runs in a thread and returns a value.
Jobs of one group each have a savepoint, so one that fails undoes only itself; none is answered before the commit.
Because one thread writes, jobs never run beside each other: what a job read, still holds when it writes.
"""

import asyncio
import contextlib
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, Executable, delete
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from igrs_ras.clock import Clock
from igrs_ras.status import Refused, Status
from igrs_ras.storage.engine import WRITER, InUseError, claim, release
from igrs_ras.storage.heads import Heads, Mark
from igrs_ras.storage.jobs import (
    AgainError,
    Group,
    Job,
    Outcome,
    is_fault_of_database,
    is_fault_of_job,
)
from igrs_ras.storage.tables import throttle

_LOGGER = logging.getLogger(__name__)

GROUP = 128  # jobs that share a commit at most
WAITING = 4096  # jobs that may wait; more are refused
PATIENCE = 5.0  # seconds until a job that waits is answered with "not ready"
PROBE = b"probe"  # the row that shows that the database takes writes
STOP = 10.0  # seconds that what waits has at the end
# Seconds until a lost database that somebody else now holds counts as taken over: PostgreSQL may keep our own lost
# connection, and its lock, for some time.
GRACE = 60.0
START = 3.0  # seconds that a server which has just ended has to let the database go

type WriteJob[T] = Callable[[Transaction], T]
type ReadJob[T] = Callable[[Connection], T]
type BulkJob[A, T] = Callable[[Transaction, Sequence[A]], Sequence[T | Exception]]


class Transaction:
    """What a job of the writer may do. Valid only while the job runs."""

    def __init__(self, connection: Connection, heads: Heads, now_ms: int) -> None:
        self.connection = connection
        self.now = now_ms
        self.heads = heads
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

        It is written with the group's commit, whose transaction is this job's. Raises NoResultFound: no such site.
        """
        return self.heads.add_audit(self.connection, site, what, fields, self.now)

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
        return self.heads.add_event(self.connection, recipient, kind, body, sender, lock, self.now)

    def renew(self, recipient: str, generation: int) -> None:
        """Give a recipient a new generation: cursors of earlier ones are void."""
        self.heads.renew(self.connection, recipient, generation)

    def forget_site(self, site: str) -> None:
        """Say that this job deletes a site, in the same job: what is collected for it is left out."""
        self.heads.remove_site(self.connection, site)

    def forget_recipient(self, recipient: str) -> None:
        """Delete a recipient and its events."""
        self.heads.remove_recipient(self.connection, recipient)

    def after(self, callback: Callable[[], None]) -> None:
        """Run a callback on the event loop when this job is committed, and only then."""
        self.callbacks.append(callback)


class Store:
    """Reads and writes. Made in a running event loop; `start` before use, `stop` at the end."""

    def __init__(self, engine: Engine, clock: Clock, *, readers: int = 4) -> None:
        self.engine = engine
        self.heads = Heads()
        self.on_events: Callable[[Sequence[tuple[str, int, bytes]]], None] | None = None
        # Gets jobs, seconds, events and audit entries of each committed group.
        self.on_group: Callable[[int, float, int, int], None] | None = None
        self.failing_since: float | None = None
        self.fatal: Callable[[str], None] | None = None
        # The connection was lost during a commit: what was written may be, and what follows from it was not done.
        self.on_doubt: Callable[[], None] | None = None
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(readers, "store-read")
        self._thread = threading.Thread(target=self._work, name="store-write", daemon=True)
        self._connection: Connection | None = None
        self._claimed = threading.Event()
        self._claim_error: BaseException | None = None
        self._lost_at: float | None = None  # when the connection that held the database was lost
        self._stopping = False

    async def start(self) -> None:
        """Connect and become the only writer. Raises InUseError or what the database says."""
        self._thread.start()
        await asyncio.to_thread(self._claimed.wait)
        if self._claim_error is not None:
            raise self._claim_error

    async def stop(self) -> None:
        """Finish what waits, then close. What the database does not take in 10 s is refused."""
        self._stopping = True
        if self._thread.is_alive():
            self._jobs.put(None)
            await asyncio.to_thread(self._thread.join, STOP)
        left = []
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                left.append(job)
        self._settle(left, Refused(Status.NOT_READY))
        self._readers.shutdown(wait=False, cancel_futures=True)
        self.engine.dispose()

    async def write[T](self, job: WriteJob[T]) -> T:
        """Run a job in the writer's thread and return its value after the commit.

        Raises Refused(NOT_READY) when the database does not take it in time (it may still take it later, so what must
        not happen unnoticed is looked up again), else what the job raised.
        """
        return await self._submit(Job(job, None, None, self._loop.create_future()))  # type: ignore[no-any-return]

    async def bulk[A, T](self, job: BulkJob[A, T], item: A) -> T:
        """Run a job for many at once: it gets the items of a whole group and returns a value or error for each.

        It may be run again after what it did was undone, so it does nothing but to the database.
        """
        return await self._submit(Job(None, job, item, self._loop.create_future()))  # type: ignore[no-any-return]

    async def read[T](self, job: ReadJob[T]) -> T:
        """Run a reading job in one of the readers' threads. Raises Refused(NOT_READY)."""
        if self._stopping:
            raise Refused(Status.NOT_READY)
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._loop.run_in_executor(self._readers, self._read, job)
        except TimeoutError as error:
            self._failed("a read took too long")
            raise Refused(Status.NOT_READY) from error
        except PoolTimeoutError as error:
            self._failed("no connection was free")
            raise Refused(Status.NOT_READY) from error
        except DBAPIError as error:
            if is_fault_of_job(error):
                raise
            self._failed(type(error.orig).__name__)
            raise Refused(Status.NOT_READY) from error

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

    async def _submit(self, job: Job) -> Any:
        if self._stopping or self._jobs.qsize() >= WAITING or not self._thread.is_alive():
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
            self.heads.forget()  # what was collected for a lost one, and what another server may have added
            connection = self.engine.connect().execution_options(**WRITER)
            try:
                claim(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
            self._lost_at = None
        return self._connection

    def _first_connect(self) -> None:
        end = time.monotonic() + START
        while True:
            try:
                self._connect()
            except InUseError:
                if time.monotonic() >= end:
                    raise
                time.sleep(0.05)
            else:
                return

    def _work(self) -> None:
        try:
            self._first_connect()
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
            if group := [job for job in group if not job.future.done()]:
                self._run_group(group)
            if last:
                break
        if self._connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                release(self._connection)
            self._connection.close()

    def _run_group(self, jobs: list[Job], *, careful: bool = False) -> None:
        # Bulk jobs hardly ever fail: where there is nothing else they are spared savepoints, until one does.
        done = Group(careful=careful or any(job.run is not None for job in jobs))
        committing = False
        begun = self._clock.monotonic()
        try:
            connection = self._connect()
            mark = self.heads.mark()
            with connection.begin():
                bulks: dict[Any, list[Job]] = {}
                for job in jobs:
                    if job.bulk is not None:
                        bulks.setdefault(job.bulk, []).append(job)
                    elif job.run is not None:
                        self._run_one(connection, job, job.run, done)
                for bulk, group in bulks.items():
                    self._run_bulk(connection, bulk, group, done)
                done.events = self.heads.flush(connection)
                committing = True
            done.audit = self.heads.committed()
        except AgainError:
            self.heads.back(mark)
            self._run_group(jobs, careful=True)
        except InUseError as error:
            self._lost(jobs, error)
            if self._clock.monotonic() - (self._lost_at or 0) >= GRACE and self.fatal is not None:
                self._call(self.fatal, str(error))
        except SQLAlchemyError as error:
            self._lost(jobs, error)
            lost = isinstance(error, DBAPIError) and error.connection_invalidated
            if committing and lost and self.on_doubt is not None:
                self._call(self.on_doubt)
        except Exception as error:
            # A fault of ours must not end the one thread that writes.
            _LOGGER.exception("a group of jobs failed")
            self._lost(jobs, error)
        else:
            done.seconds = self._clock.monotonic() - begun
            self._call(self._committed, done)

    def _run_one(self, connection: Connection, job: Job, run: WriteJob[Any], done: Group) -> None:
        transaction = Transaction(connection, self.heads, self._clock.now_ms())
        mark = self.heads.mark()
        connection.exec_driver_sql("SAVEPOINT job")
        try:
            value = run(transaction)
            connection.exec_driver_sql("RELEASE SAVEPOINT job")
        except Exception as error:  # noqa: BLE001  it belongs to who asked
            self._undo(connection, mark, error)
            done.outcomes.append(Outcome(job, error=error))
        else:
            done.outcomes.append(Outcome(job, value))
            done.callbacks.extend(transaction.callbacks)

    def _run_bulk(
        self, connection: Connection, bulk: BulkJob[Any, Any], jobs: list[Job], done: Group
    ) -> None:
        transaction = Transaction(connection, self.heads, self._clock.now_ms())
        mark = self.heads.mark()
        if done.careful:
            connection.exec_driver_sql("SAVEPOINT job")
        try:
            values = bulk(transaction, [job.item for job in jobs])
            outcomes = [
                Outcome(job, error=value) if isinstance(value, Exception) else Outcome(job, value)
                for job, value in zip(jobs, values, strict=True)
            ]
            if done.careful:
                connection.exec_driver_sql("RELEASE SAVEPOINT job")
        except Exception as error:
            if not done.careful and not is_fault_of_database(error):
                raise AgainError from error
            self._undo(connection, mark, error)
            done.outcomes.extend(Outcome(job, error=error) for job in jobs)
        else:
            done.callbacks.extend(transaction.callbacks)
            done.outcomes.extend(outcomes)

    def _undo(self, connection: Connection, mark: Mark, error: Exception) -> None:
        """Undo one job that failed. A lost connection or a full disk ends the whole group instead."""
        if is_fault_of_database(error):
            raise error
        # Not SQLAlchemy's savepoint, which does not roll back when its release was refused.
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT job")
        connection.exec_driver_sql("RELEASE SAVEPOINT job")
        self.heads.back(mark)

    def _lost(self, jobs: list[Job], error: BaseException) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._lost_at = self._clock.monotonic()
            try:
                connection.invalidate()
                connection.close()
            except SQLAlchemyError:
                _LOGGER.debug("closing the lost connection failed")
        original = error.orig if isinstance(error, DBAPIError) else error
        self._call(self._refuse, jobs, type(original).__name__)

    def _call(self, callback: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            _LOGGER.debug("the loop ended first")

    # Back on the loop.

    def _committed(self, done: Group) -> None:
        if self.failing_since is not None and _wrote(done):
            _LOGGER.warning("the database works again")
            self.failing_since = None
        for outcome in done.outcomes:
            if outcome.error is not None:
                self._settle([outcome.job], outcome.error)
            elif not outcome.job.future.done():
                outcome.job.future.set_result(outcome.value)
        if done.events and self.on_events is not None:
            self._guarded(self.on_events, done.events)
        for callback in done.callbacks:
            self._guarded(callback)
        if self.on_group is not None:
            self._guarded(
                self.on_group, len(done.outcomes), done.seconds, len(done.events), done.audit
            )

    def _guarded(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back. One that fails must not keep the others from being called."""
        try:
            callback(*arguments)
        except Exception:
            _LOGGER.exception("what follows a commit failed")

    def _settle(self, jobs: Sequence[Job], error: BaseException) -> None:
        if isinstance(error, StopIteration):  # a future does not take it
            error = RuntimeError("a job raised StopIteration")
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)

    def _refuse(self, jobs: list[Job], why: str) -> None:
        self._failed(why)
        for job in jobs:
            self._settle([job], Refused(Status.NOT_READY))

    def _failed(self, why: str) -> None:
        if self.failing_since is None:
            _LOGGER.error("the database does not work: %s", why)
            self.failing_since = self._clock.monotonic()


def _wrote(done: Group) -> bool:
    """Tell whether a group surely wrote. A commit of jobs that changed nothing succeeds on a full disk too."""
    if done.events or done.audit:
        return True
    return any(
        outcome.job.run is _probe_write and outcome.error is None for outcome in done.outcomes
    )


def _probe_write(transaction: Transaction) -> None:
    # A row with another content each time: SQLite writes no page that stays as it was. Soon removed like any other count.
    now = transaction.now
    transaction.execute(delete(throttle).where(throttle.c.bucket == PROBE))
    transaction.execute(
        throttle.insert(),
        {"bucket": PROBE, "count": secrets.randbits(31), "since": now, "until": now},
    )
