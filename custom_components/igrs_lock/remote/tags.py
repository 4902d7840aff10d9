"""Says whether a lock's advertisement is authentic (clause 7.3): only this home has the keys.

Each answer tells the server whether it guessed a tag. So there are few, and they are pure: what it
asks about moves nothing here.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from homeassistant.core import callback

from ..home import lock_names
from .wire import Malformed, Reader, Status

if TYPE_CHECKING:
    from .gateway import Gateway
    from .wire import Message

_MINUTE: Final = 60.0
_CHECKS: Final = 10
_CHECKS_ALL: Final = 60
"""Tags that are looked at in a minute: of one lock, and of all."""
_ADVERTISEMENT: Final = 10


class TagChecks:
    """Answers `lock.authenticate`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._checks: deque[tuple[float, str]] = deque()

    @callback
    def received(self, message: Message) -> None:
        """Answer yes or no, or refuse: a lock that is out of reach proves nothing."""
        try:
            read = Reader(message.body)
            device = read.device("device")
            advertisement = read.binary("advertisement", _ADVERTISEMENT)
        except Malformed:
            self._refuse(message, Status.MALFORMED)
            return
        coordinator = self._gateway.home.coordinators.get(device)
        if coordinator is None and device not in lock_names(self._gateway.hass):
            self._answer(message, authentic=False)
        elif coordinator is None or not coordinator.available:
            self._refuse(message, Status.OUT_OF_REACH)
        elif not self._may_check(device):
            self._refuse(message, Status.SLOW_DOWN)
        else:
            self._answer(message, authentic=coordinator.tracker.authentic(advertisement))

    def _may_check(self, device: str) -> bool:
        """Count a look at a tag; False if it is one too many."""
        now, checks = time.monotonic(), self._checks
        while checks and now - checks[0][0] >= _MINUTE:
            checks.popleft()
        if len(checks) >= _CHECKS_ALL or sum(one == device for _, one in checks) >= _CHECKS:
            return False
        checks.append((now, device))
        return True

    @callback
    def _answer(self, message: Message, *, authentic: bool) -> None:
        self._gateway.link.send("ok", {"re": message.id, "authentic": authentic})

    @callback
    def _refuse(self, message: Message, status: Status) -> None:
        body = {"re": message.id, "status": int(status), "message": status.name.lower()}
        self._gateway.link.send("refused", body)
