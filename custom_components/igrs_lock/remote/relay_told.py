"""What the lock's sealed answers in somebody else's session tell this home.

It holds the keys and has checked the tags, so it need not wait for the next advertisement to show where
the bolt is, nor for the log to know who moved it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from homeassistant.core import callback

from ..ilp import Command, FrameType, IlpError, Reply, StateEvent, Status
from ..operation import CLOSED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..coordinator import IgrsLockCoordinator
    from ..ilp import Frame

_LOGGER = logging.getLogger(__name__)

_STATUS = frozenset((Command.OPERATE, Command.GET_STATUS))
"""What may be relayed and is answered by a status."""


@callback
def async_take_told(coordinator: IgrsLockCoordinator, slot: int, frames: Iterable[Frame]) -> None:
    """Take authenticated frames from the lock to the session of `slot`.

    Of events only those about the slot itself: to others' the lock may put another slot in a session
    without the right to read the log.
    """
    try:
        for frame in frames:
            if frame.type == FrameType.EVENT:
                event = StateEvent.of(frame)
                if event.slot == slot:
                    coordinator.async_event(event)
            elif frame.type == FrameType.RESPONSE and frame.command in _STATUS:
                status = Status.of(Reply(frame, ()))
                if status.result in CLOSED:
                    coordinator.async_not_done()
                else:
                    coordinator.async_answered(status)
    except IlpError as err:
        _LOGGER.debug("%s: broken answer in a relay: %s", coordinator.client.name, err)
