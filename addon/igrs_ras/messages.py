"""The table of messages that a gateway may send on its link, as `api.route` is the table of HTTP calls."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from igrs_ras.wire import Body

if TYPE_CHECKING:
    from igrs_ras.link import Link

type MessageHandler = Callable[[Link, Any], Awaitable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Handling:
    """How one type of message is read and handled. What the handler returns is the body of the answer `ok`."""

    body: type[Body]
    run: MessageHandler


class Messages:
    """Collects handlers. Each module that takes messages has one."""

    def __init__(self) -> None:
        self.kinds: dict[str, Handling] = {}

    def on(self, kind: str, body: type[Body]) -> Callable[[MessageHandler], MessageHandler]:
        """Register the decorated handler for a type of message."""

        def register(handler: MessageHandler) -> MessageHandler:
            self.kinds[kind] = Handling(body, handler)
            return handler

        return register


def merged(tables: Iterable[Messages]) -> dict[str, Handling]:
    """Return all handlers by type of message."""
    return {kind: handling for table in tables for kind, handling in table.kinds.items()}
