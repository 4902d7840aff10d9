"""Follows the server's signed record, and says so when the server contradicts itself.

What was followed is stored, and outlives a server that was put back from a copy: then the old head
stays beside the new one. After a contradiction the own head stays, too, until the owner has seen it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from .chain import Checkpoint, Problem, follow
from .wire import MILLIS_MAX, Malformed, Refused, RemoteNotSaved, b64

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .store import RemoteStore
    from .wire import Message

_LOGGER = logging.getLogger(__name__)

_QUEUE: Final = 64
_PAGES: Final = 50
"""Ranges that are asked for at a time, each of 20 checkpoints at most; the next link asks on."""


class AuditTrail:
    """One site's record, as its home follows it.

    Args:
        request: sends a message and returns its answer; Refused, LinkDown.
        changed: hears that `store.audit_problem` or `store.restored` is another one.
    """

    def __init__(
        self,
        store: RemoteStore,
        site: str,
        server_key: bytes,
        request: Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]],
        changed: Callable[[], None],
    ) -> None:
        self._store = store
        self._site = bytes.fromhex(site)
        self._server_key = server_key
        self._request = request
        self._changed = changed
        self._generation = 0
        self._queue: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()
        self._anew = False

    # --- a link ---------------------------------------------------------------------------------

    def begin(self, generation: int) -> bool:
        """Take up a new link; whether the server was put back from a copy, which is then to be stored."""
        store = self._store
        self._queue.clear()
        self._generation = generation
        restored = store.generation not in (0, generation)
        if restored and store.restored != generation:
            store.keep_audit()
            store.restored = generation
            self._changed()
        return restored

    def feed(self, message: Message) -> None:
        """Take a checkpoint. Of too many some are let go: what is missing is asked for."""
        if len(self._queue) < _QUEUE:
            self._queue.append(message.body)
        self._wake.set()

    async def run(self) -> None:
        """Ask for what was missed, then follow what comes, until the link ends. LinkDown."""
        await self._catch_up()
        while True:
            await self._wake.wait()
            self._wake.clear()
            gap = await self._work()
            if gap is not None or self._anew:
                self._anew = False
                await self._catch_up(gap)

    async def _catch_up(self, gap: Checkpoint | None = None) -> None:
        """Ask for what is missing, up to the end. LinkDown.

        `gap` came already, and something before it is missing: it is cut if that does not come now.
        """
        for _ in range(_PAGES):
            before = self._store.audit
            if self._store.audit_problem is not None:
                return
            first = 1 if before is None else before[0] + 1
            try:
                await self._request("audit.range", {"first": first, "last": MILLIS_MAX})
            except Refused as err:
                _LOGGER.debug("The record is not sent now: %s", err.status)
                return
            found = await self._work()
            if self._store.audit != before:
                gap = found or gap
                continue
            if gap is not None and before is not None and gap.first > first:
                await self._note(Problem.CUT, gap)
                return
            if found is None:
                return
            # It came after the question, so it is no answer to it.
            gap = found

    async def _work(self) -> Checkpoint | None:
        """Work off what has come; return the first checkpoint before which something is missing."""
        gap: Checkpoint | None = None
        before = self._store.audit
        while self._queue:
            body = self._queue.popleft()
            try:
                checkpoint = Checkpoint.of(body)
            except Malformed as err:
                _LOGGER.debug("Dropped a checkpoint: %s", err)
                continue
            if await self._take(checkpoint) and gap is None:
                gap = checkpoint
            await asyncio.sleep(0)  # a long record takes its time, but not all of it
        if self._store.audit != before:
            await self._save()  # once for all: a server must not wear the disk
        return gap

    async def _take(self, checkpoint: Checkpoint) -> bool:
        """Judge one checkpoint; whether it has to wait for others."""
        store = self._store
        if store.audit_problem is not None:
            return False
        verdict = follow(
            self._site,
            self._server_key,
            store.audit,
            (self._earliest(), self._generation),
            checkpoint,
        )
        if verdict.problem is not None:
            await self._note(verdict.problem, checkpoint)
        elif verdict.head is not None:
            store.audit = verdict.head
            proof, known = checkpoint.as_proof(), store.checkpoint
            # The one that proves most: after a restore that is the old one, until a new one is signed.
            if known is None or _order(known) <= _order(proof):
                store.checkpoint = proof
        return verdict.gap

    def _earliest(self) -> int:
        """Return the generation under which the own head was signed, 0 if that is not known."""
        known, head = self._store.checkpoint, self._store.audit
        if known is None or head is None or known["last"] != head[0]:
            return 0
        return int(known["generation"])

    async def _note(self, problem: Problem, checkpoint: Checkpoint) -> None:
        """Keep both heads, and tell."""
        own = self._store.audit
        self._store.audit_problem = {
            "kind": problem.value,
            "index": 0 if own is None else own[0],
            "own": "" if own is None else b64(own[1]),
            "first": checkpoint.first,
            "last": checkpoint.last,
            "before": b64(checkpoint.before),
            "head": b64(checkpoint.head),
            "generation": checkpoint.generation,
            "time": round(time.time() * 1000),
        }
        _LOGGER.warning(
            "The record of the remote access server contradicts what it said before (%s, %d to %d)",
            problem.value,
            checkpoint.first,
            checkpoint.last,
        )
        await self._save()
        self._changed()

    async def _save(self) -> None:
        try:
            await self._store.async_save()
        except RemoteNotSaved:
            # Only followed again after a restart.
            _LOGGER.debug("Where the record is could not be stored")

    # --- the owner ------------------------------------------------------------------------------

    async def async_accept(self) -> None:
        """Begin anew with the record as it is: the owner has seen what is wrong. RemoteNotSaved."""
        store = self._store
        before = store.audit, list(store.old_audits), store.audit_problem, store.restored

        def undo() -> None:
            store.audit, store.old_audits, store.audit_problem, store.restored = before

        if store.audit_problem is not None:
            store.keep_audit()
        store.audit_problem, store.restored = None, 0
        await store.async_save(undo)
        self._changed()
        self._anew = True
        self._wake.set()


def _order(proof: dict[str, Any]) -> tuple[int, int]:
    return int(proof["generation"]), int(proof["last"])
