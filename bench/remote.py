"""`python -m bench.remote`: how much longer an unlock takes from far away, beside the one at home in the same run.

Home Assistant and the remote client run in this process, the lock with its radio is the simulator, the server a process of
its own; all on loopback, so the way through the network is not in the figures. The motor takes no time. In each round
every kind has its turn: at home and remotely, *cold* (not connected) and connected: *held* at home, and remotely
*prewarmed* (the client let the home connect beforehand) and *held* (right after another unlock).

*To bolt*: from the call until the lock has the operation. *Confirmed*: at home until the entity shows it, remotely until the
client has the lock's sealed event. *One exchange*: remote unlocks whose client sent one message to the lock, and no second one.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.central import Central
from bench.home import home_assistant, percentile, print_table, run
from bench.unlock import DOMAIN, Bench, Result, packets_to_bolt
from simulator.demo import ha_config
from simulator.demo.locks import Simulator
from simulator.demo.processes import free_port
from simulator.demo.progress import say
from simulator.demo.rac import igrs_rac
from simulator.demo.ras import Ras

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERVALS_MS = (0.0, 30.0)
AIM_MS: Final = 15.0
_PREWARM_PAUSE: Final = 9.2
"""The server passes one wish on in 9 seconds for a lock."""
_ROUND: Final = 9.5
"""A person may relay 20 times a minute, and a round has three relays."""


@dataclass
class Remote(Result):
    """Times of remote unlocks."""

    sent: Counter[int] = field(default_factory=Counter)
    """Messages for the lock that the client sent in one unlock."""


class RemoteBench(Bench):
    """The bench of the unlock at home, and a person far away."""

    phone: Any
    _prewarmed_at = -1000.0

    async def connect(self, ras: Ras) -> None:
        """Connect the server, make the lock reachable, add somebody, invite, as the dialogs do."""
        place = await ras.make_place()
        flows = self.hass.config_entries.flow
        step = await flows.async_init(DOMAIN, context={"source": "user"})
        step = await self._answer(flows, step, {"next_step_id": "server"})
        step = await self._answer(flows, step, {"url": ras.url, "code": place.code})
        assert step["description_placeholders"]["fingerprint"] == place.fingerprint, step
        step = await self._answer(flows, step, _suggested(step))
        assert step["type"] == "create_entry", step
        server = step["result"].entry_id
        await self.hass.async_block_till_done()
        context: Any = {"source": "reconfigure", "entry_id": server}
        step = await flows.async_init(DOMAIN, context=context)
        step = await self._answer(flows, step, {"next_step_id": "server_locks"})
        step = await self._answer(flows, step, {"locks": [self.lock.id]})
        assert step["reason"] == "server_locks_saved", step

    async def invite(self, file: Path) -> None:
        """Add somebody for the lock, and have a phone of theirs join."""
        (people,) = [
            entry.entry_id
            for entry in self.hass.config_entries.async_entries(DOMAIN)
            if entry.data.get("type") == "people"
        ]
        flows: Any = self.hass.config_entries.subentries
        step = await flows.async_init((people, "person"), context={"source": "user"})
        step = await self._answer(
            flows, step, {"name": "Bea", "kind": "resident", "locks": [self.lock.id]}
        )
        step = await self._answer(flows, step, _suggested(step))
        step = await self._answer(flows, step, {"next_step_id": "no_pin"})
        assert step["type"] == "create_entry", step
        await self.hass.async_block_till_done()
        entry = self.hass.config_entries.async_get_known_entry(people)
        (person,) = entry.subentries
        while not self.entry.runtime_data.sync.calm:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)
        context = {"source": "reconfigure", "subentry_id": person}
        step = await flows.async_init((people, "person"), context=context)
        step = await self._answer(flows, step, {"next_step_id": "invite"})
        step = await self._answer(flows, step, _suggested(step))
        link = step["description_placeholders"]["link"]
        await self._answer(flows, step, {})
        memory = igrs_rac.Memory.begin(file, igrs_rac.read_link(link), "Bea's phone")
        self.phone = igrs_rac.RemoteClient(memory, pause=lambda _attempt: 0.2)
        self.phone.start()
        await self.phone.joined(30)
        await self.phone.connected(30)
        deadline = time.monotonic() + 30
        while self.lock.id not in self.phone.followed:
            assert time.monotonic() < deadline, "the lock is not followed"
            await asyncio.sleep(0.05)

    @staticmethod
    async def _answer(flows: Any, step: Mapping[str, Any], given: dict[str, Any]) -> Any:
        assert not step.get("errors"), step
        return await flows.async_configure(step["flow_id"], given)

    async def known(self) -> None:
        """Wait until the client has the lock's newest state, as whoever looks at it for a second does: the fast path."""
        deadline = time.monotonic() + 20
        lock = self.phone.lock(self.lock.id)
        while not (
            self.entry.runtime_data.sync.calm
            and lock.nonce() is not None
            and lock.state.floor[1] == (await self.simulator.truth(self.lock.id))["counter"]
        ):
            assert time.monotonic() < deadline, "no state reaches the client"
            await asyncio.sleep(0.02)

    async def remotely(self, result: Remote) -> None:
        """Unlock or lock from far away, and note what came of it."""
        phone, device = self.phone, self.lock.id
        locked = (await self.simulator.truth(device))["bolt"] == "locked"
        await self.simulator.clear_trace(device)
        sent, back = phone.exchanges, phone.answers
        called = time.monotonic_ns()
        done = await (phone.unlock if locked else phone.lock_it)(device)
        confirmed = time.monotonic_ns()
        assert not done.already
        trace = [
            item for item in await self.simulator.trace(device) if item["t_monotonic_ns"] >= called
        ]
        moved = next(item for item in trace if item["what"] == "operate")["t_monotonic_ns"]
        result.to_bolt.append((moved - called) / 1e6)
        result.to_confirmed.append((confirmed - called) / 1e6)
        result.packets[packets_to_bolt(trace, called, moved)] += 1
        result.sent[phone.exchanges - sent - (phone.answers - back)] += 1

    async def round(self, results: Mapping[str, Any]) -> None:
        """Every kind once, in an order that differs."""
        began = time.monotonic()
        kinds = list(results)
        random.shuffle(kinds)
        for kind in kinds:
            await self.let_go()
            await self.known()
            await asyncio.sleep(random.uniform(0.27, 0.52))  # against the rhythm of the lock
            result = results[kind]
            match kind:
                case "at home, cold":
                    await self.call(result)
                case "remote, cold":
                    await self.remotely(result)
                case "at home, held":
                    await self.call(Result(0, "warming"))
                    await asyncio.sleep(random.uniform(0.01, 0.06))
                    await self.call(result)
                case "remote, held":
                    await self.call(Result(0, "warming"))
                    await self.known()
                    await self.remotely(result)
                case _:
                    await self._prewarm()
                    await self.remotely(result)
        await asyncio.sleep(max(0.0, began + _ROUND - time.monotonic()))

    async def _prewarm(self) -> None:
        await asyncio.sleep(max(0.0, self._prewarmed_at + _PREWARM_PAUSE - time.monotonic()))
        self._prewarmed_at = time.monotonic()
        assert await self.phone.prewarm(self.lock.id), "the server does not pass the wish on"
        await self._wait_until(lambda truth: truth["connections"] == 1)
        await asyncio.sleep(random.uniform(0.5, 0.8))  # somebody reads before they press


def _suggested(step: Mapping[str, Any]) -> dict[str, Any]:
    """What a form shows before anybody types."""
    values = {}
    for key in step["data_schema"].schema:
        value = (key.description or {}).get("suggested_value")
        if value is None and callable(key.default):
            value = key.default()
        if value is not None:
            values[str(key)] = value
    return values


def _kinds(interval_ms: float) -> dict[str, Any]:
    return {
        kind: (Remote if kind.startswith("remote") else Result)(interval_ms, kind)
        for kind in ("at home, cold", "remote, cold", "at home, held", "remote, held", "remote, prewarmed")
    }  # fmt: skip


async def _measure(folder: Path, rounds: int, intervals: tuple[float, ...]) -> list[Result]:
    results: list[Result] = []
    say("starting")
    ras = Ras(folder / "ras", folder / "ras.log", free_port())
    await ras.start()
    try:
        async with await Simulator.start(
            folder / "locks", folder / "simulator.log", 1, ("--motor-seconds", "0")
        ) as simulator:
            port = simulator.hci_ports[0]
            ha_config.write(folder / "config", free_port(), [ha_config.Adapter(port, "bench")])
            await ras.wait_until_ready()
            async with (
                home_assistant(folder / "config") as hass,
                Central(port, simulator.locks[0].address) as central,
            ):
                bench = RemoteBench(hass, simulator, central)
                await bench.pair()
                await bench.connect(ras)
                await bench.invite(folder / "rac.json")
                try:
                    for interval in intervals:
                        await bench.let_go()
                        await simulator.request("POST", "/api/radio", {"interval_ms": interval})
                        kinds = _kinds(interval)
                        say(f"{interval:g} ms")
                        await bench.round(_kinds(interval))
                        for _ in range(rounds):
                            await bench.round(kinds)
                        results += kinds.values()
                finally:
                    await bench.phone.close()
    finally:
        await ras.stop()
    return results


def _figures(result: Result) -> dict[str, Any]:
    figures: dict[str, Any] = {
        f"{name}_p{percent}": round(percentile(values, percent), 2)
        for name, values in (("to_bolt", result.to_bolt), ("to_confirmed", result.to_confirmed))
        for percent in (50, 95)
    }
    if isinstance(result, Remote):
        figures["sent"] = {str(count): times for count, times in sorted(result.sent.items())}
    return {
        "interval_ms": result.interval_ms, "kind": result.kind, "rounds": len(result.to_bolt), **figures,
        "packets": {" + ".join(names): count for names, count in result.packets.items()},
    }  # fmt: skip


def _more(results: list[Result]) -> list[dict[str, Any]]:
    """What each remote kind takes more than the same at home, in the middle."""
    by_kind = {(result.interval_ms, result.kind): result for result in results}
    found = []
    for (interval, kind), result in by_kind.items():
        if isinstance(result, Remote):
            home = by_kind[interval, "at home, cold" if kind == "remote, cold" else "at home, held"]
            found.append(
                {
                    "interval_ms": interval,
                    "kind": kind,
                    "than": home.kind,
                    "to_bolt_ms": round(percentile(result.to_bolt, 50) - percentile(home.to_bolt, 50), 2),
                    "to_confirmed_ms": round(
                        percentile(result.to_confirmed, 50) - percentile(home.to_confirmed, 50), 2
                    ),
                    "ratio": round(percentile(result.to_bolt, 50) / percentile(home.to_bolt, 50), 3),
                }
            )  # fmt: skip
    return found


def _row(result: Result) -> list[str]:
    times = [
        f"{percentile(values, percent):.1f}"
        for values in (result.to_bolt, result.to_confirmed)
        for percent in (50, 95)
    ]
    once = ""
    if isinstance(result, Remote):
        once = f"{result.sent[1]} of {result.sent.total()}"
    names, _ = result.packets.most_common(1)[0]
    packets = f"{len(names)} ({' + '.join(names)})"
    return [
        f"{result.kind}, {result.interval_ms:g} ms",
        str(len(result.to_bolt)),
        *times,
        once,
        packets,
    ]


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.remote", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--intervals", type=float, nargs="+", default=INTERVALS_MS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="igrs-lock-bench-") as folder:
        results = run(_measure(Path(folder), arguments.rounds, tuple(arguments.intervals)))
    more = _more(results)
    print("\nmilliseconds: p50, p95\n")
    header = [
        "connection",
        "rounds",
        "to bolt",
        "p95",
        "confirmed",
        "p95",
        "one exchange",
        "ATT packets up to the bolt command",
    ]
    print_table(header, [_row(result) for result in results])
    print()
    for one in more:
        print(
            f"{one['kind']}, {one['interval_ms']:g} ms: to the bolt {one['to_bolt_ms']:+.1f} ms beside {one['than']}"
            + (f" (aim: at most +{AIM_MS:g})" if one["kind"] == "remote, prewarmed" else "")
        )
    print(
        json.dumps(
            {
                "bench": "remote",
                "aim_ms": AIM_MS,
                "results": [_figures(result) for result in results],
                "more": more,
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
