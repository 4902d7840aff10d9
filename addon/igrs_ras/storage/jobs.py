"""What the writer's thread works on: jobs, their outcomes, and the groups that share a commit."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    InternalError,
    NotSupportedError,
    ProgrammingError,
)

type Run = Callable[[Any], Any]
type Bulk = Callable[[Any, Sequence[Any]], Sequence[Any]]


@dataclass(slots=True)
class Job:
    """A job and who waits for it. Either `run`, or `bulk` with its item."""

    run: Any  # a WriteJob, or None if it is a bulk job's
    bulk: Bulk | None
    item: Any
    future: asyncio.Future[Any]


@dataclass(slots=True)
class Outcome:
    """What became of a job."""

    job: Job
    value: Any = None
    error: BaseException | None = None


@dataclass(slots=True)
class Group:
    """What became of jobs that shared a commit, and what follows from it."""

    outcomes: list[Outcome] = field(default_factory=list)
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    events: list[tuple[str, int, bytes]] = field(default_factory=list)
    audit: int = 0
    seconds: float = 0.0
    careful: bool = True  # each job has a savepoint


class AgainError(Exception):
    """A bulk job without a savepoint failed: its group is run again, with savepoints."""


def is_fault_of_database(error: Exception) -> bool:
    """Tell a database that does not work from all else that a job may raise."""
    return isinstance(error, DBAPIError) and not is_fault_of_job(error)


def is_fault_of_job(error: DBAPIError) -> bool:
    """Tell a statement that is wrong from a database that does not work.

    InternalError: PostgreSQL takes nothing more of a job that went on after a refused statement.
    """
    kinds = (IntegrityError, DataError, ProgrammingError, NotSupportedError, InternalError)
    return isinstance(error, kinds) and not error.connection_invalidated
