"""One table of routes. From it come the server's routing, the check of who may call, and the OpenAPI document."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from aiohttp import web

from igrs_ras.status import Status
from igrs_ras.wire import Answer, Body

if TYPE_CHECKING:
    from igrs_ras.ras import Ras


class Who(StrEnum):
    """Kinds of principals. A route names those that may call it; everybody else is refused before its code runs."""

    ANYBODY = "anybody"
    PENDING = "pending"  # signed in, the second step is missing
    USER = "user"  # signed in completely (a joined browser too)
    GATEWAY = "gateway"  # a home's gateway with the bearer token of its open link


class Listener(StrEnum):
    """Where a request came in."""

    PUBLIC = "public"
    LOCAL = "local"  # the Supervisor's network: gateways of the same machine
    INGRESS = "ingress"  # Home Assistant's own page
    METRICS = "metrics"  # the operator's monitoring


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls. `user`, `session` and `full` for people, `site` and `gateway` for gateways."""

    who: Who
    user: str = ""
    session: str = ""
    kind: str = ""  # the session's: cookie, bearer, join
    site: str = ""
    gateway: str = ""


ANYBODY = Principal(Who.ANYBODY)


@dataclass(slots=True)
class Call[B]:
    """A request that passed the checks. `body` is the route's Body, `path` its path parameters, both validated."""

    ras: Ras
    request: web.Request
    principal: Principal
    body: B
    path: dict[str, str]
    query: dict[str, str]
    address: str  # the caller's address as limits see it: IPv4, or the /64 of an IPv6 address; empty: no limit by address
    listener: Listener
    cookies: list[Callable[[web.StreamResponse], None]] = field(default_factory=list)

    @property
    def user(self) -> str:
        """The signed-in user's id."""
        return self.principal.user

    @property
    def site(self) -> str:
        """The calling gateway's site."""
        return self.principal.site


type Handler = Callable[[Call[Any]], Awaitable[Answer | web.StreamResponse | None]]


@dataclass(frozen=True, slots=True)
class Route:
    """One call of the interface."""

    method: str
    path: str  # below the root, with {name}: ids of 32 hex digits, {device} a device identifier
    name: str  # operationId
    clause: str  # "7.1" … or "" if the standard's public part has none
    summary: str
    who: frozenset[Who]
    handler: Handler
    body: type[Body] | None = None
    answer: type[Answer] | None = None
    query: dict[str, str] = field(default_factory=dict)  # name → what it means; all optional texts
    statuses: tuple[Status, ...] = ()  # besides those that follow from `who` and `body`
    example: dict[str, Any] = field(default_factory=dict)  # of the body
    answer_example: dict[str, Any] = field(default_factory=dict)  # of `data`
    websocket: bool = False
    listeners: frozenset[Listener] = frozenset({Listener.PUBLIC, Listener.LOCAL})


class Table:
    """Collects routes. Each module of the interface has one."""

    def __init__(self) -> None:
        self.routes: list[Route] = []

    def add(
        self, method: str, path: str, *who: Who, summary: str, clause: str = "", **rest: Any
    ) -> Callable[[Handler], Handler]:
        """Register the decorated handler. Its name is the operationId."""

        def register(handler: Handler) -> Handler:
            name = handler.__name__
            self.routes.append(
                Route(
                    method=method,
                    path=path,
                    name=name,
                    clause=clause,
                    summary=summary,
                    who=frozenset(who),
                    handler=handler,
                    **rest,
                )
            )
            return handler

        return register
