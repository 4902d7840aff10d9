"""The parts of `bench.ras`: each runs a server and a load, and returns figures beside their floors."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from igrs_ras.accounts.passwords import HASHER, RUNNING

from bench.home import percentile
from bench.ras_floors import GROUP, bare_sockets, sums
from bench.ras_world import LoadProcess, ServerError, ServerProcess, World, load

if TYPE_CHECKING:
    from pathlib import Path

AIM_LATENCY = 3.0
AIM_SOCKETS = 20_000
AIM_REST_MIB = 110.0
AIM_READY_SECONDS = 2.0
AIM_RELAYS = {"sqlite": 800.0, "postgresql": 1000.0}
MIB = 1 << 20
GIB = 1 << 30
_PASSWORD = "a horse that counts staples"  # noqa: S105  of a server that lives for minutes


@dataclass(frozen=True)
class Figure:
    """One line: what was measured, and what it is compared with.

    `aim` is the most (or, with `at_least`, the least) that is wanted of `value`, or of the ratio if there is a floor
    and `of_ratio`.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    aim: float | None = None
    at_least: bool = False
    of_ratio: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Value by floor."""
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the aim is met; None without one."""
        judged = self.ratio if self.of_ratio else self.value
        if self.aim is None or judged is None:
            return None
        return judged >= self.aim if self.at_least else judged <= self.aim


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    homes: int = 100
    sockets: int = 2000
    seconds: float = 10.0
    rounds: int = 2000
    starts: int = 5
    audit: int = 100_000
    accounts: int = 30
    storm_jitter: float = 6.0


QUICK = Scale(
    homes=10,
    sockets=100,
    seconds=1.0,
    rounds=100,
    starts=1,
    audit=2000,
    accounts=4,
    storm_jitter=0.5,
)


@dataclass(frozen=True)
class Floors:
    """What one database and the echo server take: lists in milliseconds, the others a second."""

    echo: list[float]
    echoes: float
    single: list[float]
    grouped: list[float]
    relays: float
    relays_single: float

    def __add__(self, other: Floors) -> Floors:
        """Both together."""
        return Floors(
            self.echo + other.echo,
            (self.echoes + other.echoes) / 2,
            self.single + other.single,
            self.grouped + other.grouped,
            (self.relays + other.relays) / 2,
            (self.relays_single + other.relays_single) / 2,
        )

    def figures(self) -> list[Figure]:
        """The floors as lines of their own."""
        kinds = (
            ("echo", self.echo),
            ("commit of one row", self.single),
            (f"commit of {GROUP} rows", self.grouped),
        )
        return [
            *(
                Figure(f"floor: {name}, p{percent}", percentile(values, percent), "ms")
                for name, values in kinds
                for percent in (50, 99)
            ),
            Figure("floor: echoes a second", self.echoes, "/s"),
            Figure("floor: rows of one relay at a time", self.relays_single, "/s"),
            Figure(f"floor: rows of {GROUP} relays together", self.relays, "/s"),
        ]


@dataclass(frozen=True)
class Relayed:
    """What the load said of relays one at a time, at the peak, at half of it; how busy the server was at the peak."""

    one: dict[str, Any]
    peak: dict[str, Any]
    half: dict[str, Any]
    busy: float


def relays(world: World, scale: Scale) -> Relayed:
    """Relay one at a time, as fast as it goes, and at half of that."""
    with world.server() as server, load() as client:
        _open(client, server, world, scale.homes, scale.homes)
        client("peak", at_once=16, seconds=scale.seconds / 5)  # warms everything
        one = client("relays", rounds=scale.rounds)
        busy, began = server.busy(), time.perf_counter()
        peak = client("peak", at_once=64, seconds=scale.seconds)
        busy = (server.busy() - busy) / (time.perf_counter() - began)
        half = client("steady", rate=peak["per_second"] / 2, seconds=scale.seconds)
        for result in (one, peak, half):
            if set(result["ends"]) != {"answered"}:
                raise ServerError(f"relays ended otherwise than answered: {result['ends']}")
        _check(server)
    return Relayed(one, peak, half, busy)


def relay_figures(relayed: Relayed, floors: Floors, kind: str) -> list[Figure]:
    """Compare with two echoes and two commits of a group; in the notes, one at a time with commits of one row."""
    floor = sums(floors.echo, floors.grouped)
    narrow = sums(floors.echo, floors.single)
    found = []
    for name, result in (("one at a time", relayed.one), ("half of the peak", relayed.half)):
        for percent in (50, 99):
            took = percentile(result["took"], percent)
            note = f"lock's message after {percentile(result['answered'], percent):.2f} ms"
            if result is relayed.one:
                note += f"; {took / percentile(narrow, percent):.2f} of two echoes and two commits of one row"
            found.append(
                Figure(
                    f"relay, {name}, p{percent}",
                    took,
                    "ms",
                    percentile(floor, percent),
                    AIM_LATENCY if percent == 99 else None,
                    of_ratio=True,
                    note=note,
                )
            )
    peak = relayed.peak
    found.append(
        Figure(
            "audited relays a second",
            peak["per_second"],
            "/s",
            floors.relays,
            AIM_RELAYS[kind],
            at_least=True,
            note=(
                f"{1000 * relayed.busy / peak['per_second']:.2f} ms of the server's processor time each; cores busy:"
                f" server {relayed.busy:.2f}, load {peak['load_busy']:.2f};"
                f" p99 {percentile(peak['took'], 99):.0f} ms with 64 at once"
            ),
        )
    )
    return found


def accounts(world: World, scale: Scale) -> list[Figure]:
    """Registration and login beside the password hash alone."""
    hashed = HASHER.hash(_PASSWORD)
    took = []
    for _ in range(scale.accounts):
        began = time.perf_counter()
        HASHER.verify(hashed, _PASSWORD)
        took.append(1000 * (time.perf_counter() - began))
    with ThreadPoolExecutor(RUNNING) as threads:
        began = time.perf_counter()
        list(threads.map(lambda _: HASHER.verify(hashed, _PASSWORD), range(2 * scale.accounts)))
        together = 2 * scale.accounts / (time.perf_counter() - began)
    floor = percentile(took, 50)
    with world.server() as server, load() as client:
        people = [
            {"email": f"alma{number}@example.org", "password": _PASSWORD, "name": "Alma"}
            for number in range(len(world.owner_codes))
        ]
        new = [
            {**person, "owner_code": code}
            for person, code in zip(people, world.owner_codes, strict=True)
        ]
        made = client("call", port=server.port, path="/api/v1/users", bodies=new, at_once=1)
        known = [
            {"email": person["email"], "password": _PASSWORD, "kind": "bearer"} for person in people
        ]
        path = "/api/v1/sessions"
        one = client("call", port=server.port, path=path, bodies=known, at_once=1)
        many = client("call", port=server.port, path=path, bodies=2 * known, at_once=2 * RUNNING)
        for result in (made, one, many):
            if set(result["statuses"]) != {"0"}:
                raise ServerError(f"not all were let in: {result['statuses']}")
        _check(server)
    return [
        Figure("registration, p50", percentile(made["took"], 50), "ms", floor),
        Figure("login, one at a time, p50", percentile(one["took"], 50), "ms", floor),
        Figure("logins a second", many["per_second"], "/s", together),
    ]


def at_rest(world: World, label: str, scale: Scale) -> list[Figure]:
    """From the start of the process until it is ready, and what it takes then."""
    took, busy, rss, pss = [], [], 0, 0
    for _ in range(scale.starts):
        server = world.server()
        seconds, processor = server.start()
        took.append(seconds)
        busy.append(processor)
        time.sleep(1.5)  # its first regular work
        rss, pss = max(rss, server.rss()), max(pss, server.pss())
        server.stop()
        _check(server)
    return [
        Figure(
            f"ready after the start, {label}",
            percentile(took, 50),
            "s",
            aim=AIM_READY_SECONDS,
            note=(
                f"median of {len(took)}, slowest {max(took):.2f} s; {percentile(busy, 50):.2f} s of processor"
            ),
        ),
        Figure(
            f"memory at rest, {label}",
            rss / MIB,
            "MiB",
            aim=AIM_REST_MIB,
            note=f"RSS; PSS {pss / MIB:.0f} MiB",
        ),
    ]


def idle(world: World, scale: Scale, certificate: Path) -> list[Figure]:
    """What the server grows by with idle connections, and how many fit into a GiB at that rate."""
    found = []
    for tls in (None, certificate):
        floor = GIB / bare_sockets(scale.sockets, tls)
        for kind in ("gateways", "phones"):
            with world.server(tls) as server, load() as client:
                # What is loaded or grows once is no connection's.
                _open(client, server, world, *_ends(kind, scale.sockets // 20))
                client("close")
                time.sleep(0.5)
                before = server.rss()
                seconds = _open(client, server, world, *_ends(kind, scale.sockets))
                time.sleep(2.5)
                grown = (server.rss() - before) / scale.sockets
                _check(server)
            found.append(
                Figure(
                    f"idle {'clients' if kind == 'phones' else kind} per GiB{', TLS' if tls else ''}",
                    GIB / grown,
                    "",
                    floor,
                    aim=AIM_SOCKETS if tls else None,
                    at_least=True,
                    note=(
                        f"{grown / 1024:.1f} KiB each (bare {GIB / floor / 1024:.1f}), of {scale.sockets}, extrapolated;"
                        f" connected {scale.sockets / seconds:.0f}/s"
                    ),
                )
            )
    return found


def storm(world: World, scale: Scale) -> list[Figure]:
    """The server is killed and started again; all homes come back at once, then within a time."""
    found = []
    with world.server() as server, load() as client:
        _open(client, server, world, scale.sockets, 0)
        for jitter in (0.0, scale.storm_jitter):
            server.kill()
            server.start()
            came = client("storm", port=server.port, jitter=jitter)
            if came["gateways"] != scale.sockets or came["restored"]:
                raise ServerError(f"not all came back: {came}")
            how = f"within {jitter:g} s" if jitter else "at once"
            why = "".join(f"; {text}" for text in came["why"])
            found += [
                Figure(
                    f"{scale.sockets} gateways reconnect {how}: all welcome",
                    came["seconds"],
                    "s",
                    jitter or None,
                    note=f"each p50 {percentile(came['took'], 50):.0f}, p99 {percentile(came['took'], 99):.0f} ms",
                ),
                Figure(
                    f"{scale.sockets} gateways reconnect {how}: failures",
                    came["failures"],
                    "",
                    note=f"each tried again a second later{why}" if came["failures"] else "",
                ),
            ]
        _check(server)
    return found


def _ends(kind: str, number: int) -> tuple[int, int]:
    return (number, 0) if kind == "gateways" else (0, number)


def _open(
    client: LoadProcess, server: ServerProcess, world: World, gateways: int, phones: int
) -> float:
    """Connect; return the seconds it took. Raises ServerError if not all are there."""
    came = client(
        "open",
        port=server.port,
        world=str(world.file),
        gateways=gateways,
        phones=phones,
        cafile=server.cafile,
    )
    if (came["gateways"], came["phones"]) != (gateways, phones) or came["restored"]:
        raise ServerError(f"not all connected: {came}")
    seconds: float = came["seconds"]
    return seconds


def _check(server: ServerProcess) -> None:
    if found := server.complaints():
        raise ServerError("\n".join(found[:5]))
