"""Asks a lock for pages of its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .ilp import Event, LogPage, Status, requests
from .log_mark import check_page, is_last

if TYPE_CHECKING:
    from .coordinator import IgrsLockCoordinator

PAGES_MAX: Final = 4096
_PAGE: Final = 19  # one less than a page may have: a status is in the same message
_PAIRED_WITHIN: Final = 64
"""How many counters back the newest pairing is looked for first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A page, the lock's counter when it answered, and its Unix seconds (0 unknown)."""

    page: LogPage
    until: int
    now: int


class LogPages:
    """The log as one lock tells it. Kin of OperationError and IlpError."""

    def __init__(self, coordinator: IgrsLockCoordinator) -> None:
        self._coordinator = coordinator

    async def async_beginning(self) -> int:
        """Return after which counter the log is this home's: from the newest pairing on.

        0 when no pairing is in it any more.
        """
        newest = (await self.async_page(0, 1)).page.newest
        within = _PAIRED_WITHIN
        while True:
            start = after = max(0, newest - within)
            paired = 0
            for _ in range(PAGES_MAX):
                page = (await self.async_page(after)).page
                for record in page.records:
                    after = record.counter
                    if record.event is Event.PAIRED:
                        paired = record.counter
                if is_last(page):
                    break
            if paired or not start:
                return max(0, paired - 1)
            within *= 8

    async def async_page(self, after: int, count: int = _PAGE) -> Answer:
        """Read what comes after a counter; kin of OperationError and IlpError."""
        status, log = await self._coordinator.async_request(
            requests.get_status(), requests.get_log(after, count)
        )
        until = Status.of(status).ensure().counter
        page = LogPage.of(log)
        check_page(page, after, until)
        return Answer(page, until, log.timestamp)
