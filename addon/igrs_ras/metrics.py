"""What the server counts, for Prometheus. No label holds an id, a name, an address or a path that was asked for.

Services call the small functions here when something happened; numbers that a service holds anyway (open sockets,
waiting jobs) are read at the scrape. Labels have few, fixed values: anything else is counted as "other".
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from igrs_ras.api.listen import Guard
    from igrs_ras.ras import Ras

RELAY_STATES = frozenset({"answered", "failed", "expired", "unknown"})
SIGN_IN_RESULTS = frozenset({"done", "second_step", "wrong", "throttled"})
SOCKETS = frozenset({"user", "gateway"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER = "other"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_RELAY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60)
_JOBS = (1, 2, 4, 8, 16, 32, 64, 128)


def _known(value: str, known: frozenset[str]) -> str:
    return value if value in known else OTHER


class Metrics:
    """The server's counters, in a registry of their own."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        # Without it each counter has a second series, which nothing here reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated by the library
        self.registry = registry = CollectorRegistry()
        ProcessCollector(namespace="", registry=registry)
        self._sockets = Gauge("igrs_ras_sockets", "Open WebSockets.", ["kind"], registry=registry)
        self._relays = Counter(
            "igrs_ras_relays", "Relays that ended, by how.", ["state"], registry=registry
        )
        self._relays_open = Gauge("igrs_ras_relays_open", "Relays under way.", registry=registry)
        self._relay_seconds = Histogram(
            "igrs_ras_relay_seconds", "From a relay's acceptance to its first answer.",
            buckets=_RELAY_SECONDS, registry=registry,
        )  # fmt: skip
        self._commit_jobs = Histogram(
            "igrs_ras_commit_jobs", "Jobs that shared a commit.", buckets=_JOBS, registry=registry
        )
        self._commit_seconds = Histogram(
            "igrs_ras_commit_seconds",
            "Time of a group of jobs with its commit.",
            buckets=_SECONDS,
            registry=registry,
        )
        self._passwords = Gauge(
            "igrs_ras_password_checks_waiting",
            "Password checks that wait for one of two threads.",
            registry=registry,
        )
        self._sign_ins = Counter(
            "igrs_ras_sign_ins", "Attempts to sign in.", ["result"], registry=registry
        )
        self._events = Counter(
            "igrs_ras_events", "Durable events that were committed.", registry=registry
        )
        self._requests = Counter(
            "igrs_ras_http_requests", "HTTP requests, by route template.", ["method", "route", "status"],
            registry=registry,
        )  # fmt: skip
        self._request_seconds = Histogram(
            "igrs_ras_http_request_seconds", "Time until a request was answered.", ["method", "route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._audit = Counter(
            "igrs_ras_audit_entries", "Audit entries that were committed.", registry=registry
        )
        self._unsigned = Gauge(
            "igrs_ras_audit_unsigned_entries",
            "Audit entries that no checkpoint covers yet.",
            registry=registry,
        )
        self._unsigned_seconds = Gauge(
            "igrs_ras_audit_unsigned_seconds",
            "For how long the oldest entry that no checkpoint covers has waited.",
            registry=registry,
        )
        self._failing = Gauge(
            "igrs_ras_database_failing", "1 while the database does not work.", registry=registry
        )
        self._ready = Gauge("igrs_ras_ready", "1 while requests can be done.", registry=registry)
        # So that each series is there from the start, and a first one is seen as a rise.
        for state in sorted(RELAY_STATES):
            self._relays.labels(state)
        for result in sorted(SIGN_IN_RESULTS):
            self._sign_ins.labels(result)

    def relay_answered(self, seconds: float) -> None:
        """Count the first message that came back for a relay, this long after its acceptance."""
        self._relay_seconds.observe(seconds)

    def relay_ended(self, state: str) -> None:
        """Count a relay's end: answered, failed, expired or unknown."""
        self._relays.labels(_known(state, RELAY_STATES)).inc()

    def committed(self, jobs: int, seconds: float, events: int, audit: int) -> None:
        """Count a group of the writer: its jobs, its time, and how many events and audit entries it wrote."""
        self._commit_jobs.observe(jobs)
        self._commit_seconds.observe(seconds)
        self._events.inc(events)
        self._audit.inc(audit)

    def sign_in(self, result: str) -> None:
        """Count an attempt to sign in: done, second_step (one more is needed), wrong or throttled."""
        self._sign_ins.labels(_known(result, SIGN_IN_RESULTS)).inc()

    def request(self, template: str, method: str, status: int, seconds: float) -> None:
        """Count a request by its route's template ("none": no route took it), never by the path that was asked for."""
        method = _known(method, METHODS)
        self._requests.labels(method, template, str(status)).inc()
        if status != 101:  # a WebSocket lasts as long as it is wanted
            self._request_seconds.labels(method, template).observe(seconds)

    async def start(self) -> None:
        """Count what the writer commits."""
        self._ras.store.on_group = self.committed

    async def tick(self) -> None:
        """Nothing is due: numbers are read at the scrape."""

    async def stop(self) -> None:
        """Nothing has to end."""

    def page(self, accept: str) -> tuple[bytes, str]:
        """Return all numbers as Prometheus reads them, and the content type that suits an Accept header."""
        self._read()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _read(self) -> None:
        ras = self._ras
        self._sockets.labels("user").set(ras.hub.clients)
        self._sockets.labels("gateway").set(ras.gateways.connected)
        self._relays_open.set(ras.relay.live)
        self._passwords.set(ras.passwords.waiting)
        self._unsigned.set(sum(ras.checkpoints.unsigned().values()))
        self._unsigned_seconds.set(ras.checkpoints.oldest_seconds())
        self._failing.set(ras.store.failing_since is not None)
        self._ready.set(ras.ready())


def make_app(ras: Ras, guard: Guard) -> web.Application:
    """Return the application of `metrics_listen`: numbers for Prometheus, and whether the server lives and is ready."""

    @web.middleware
    async def border(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        with guard.serving(request.protocol):
            return await handler(request)

    async def numbers(request: web.Request) -> web.Response:
        body, content_type = ras.metrics.page(request.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=body, headers={hdrs.CONTENT_TYPE: content_type})

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        if ras.ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready\n")

    app = web.Application(middlewares=[border], client_max_size=1024)
    app.router.add_get("/metrics", numbers)
    app.router.add_get("/healthz", health)
    app.router.add_get("/readyz", ready)
    return app
