"""`python -m bench.unlock`: how long an unlock takes, beside the shortest that Bluetooth allows.

The service is called in a real Home Assistant core (this process); the lock, its radio and its motor are the simulator
(another process). Both read the system's monotonic clock. Rounds of a bare Bumble central that connects and writes once
alternate with them: same lock, same advertising, same connection interval. The motor takes no time.

*Cold*: not connected; a round waits for the lock's next advertisement, which comes every 250 ms. The adapter agrees on an
MTU before it says that it is connected, as Linux and ESPHome do; *cold, MTU 23*: it does not, and the message goes in four
writes at once. *Held*: connected.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from habluetooth import get_manager
from homeassistant.const import EVENT_STATE_CHANGED
from homeassistant.core import callback

from bench.central import Central
from bench.home import home_assistant, percentile, print_table, run
from simulator.demo import ha_config
from simulator.demo.locks import Simulator
from simulator.demo.processes import free_port
from simulator.demo.progress import say

if TYPE_CHECKING:
    from homeassistant.config_entries import ConfigEntry
    from homeassistant.core import Event, EventStateChangedData, HomeAssistant

DOMAIN = "igrs_lock"
REQUEST_UUID = "dbb0f1c1-e964-45da-b215-dd4c9fb1c7b5"
INTERVALS_MS = (0.0, 7.5, 30.0)
AIM_RATIO = 1.3
_WRITE_COMMAND = 0x52
_NAMES = {
    0x02: "MTU request",
    0x04: "find information",
    0x08: "read by type",
    0x0A: "read",
    0x10: "read by group",
    0x12: "write request",
    0x1E: "confirmation",
    _WRITE_COMMAND: "write command",
}
_HELD_SECONDS = 6.0
"""A connection without a session ends after 10 s: the bare central takes a new one before."""


@dataclass
class Result:
    """Times of all rounds of one kind, in milliseconds."""

    interval_ms: float
    kind: str
    to_bolt: list[float] = field(default_factory=list)
    to_confirmed: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    packets: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """ATT packets from *connected* to the bolt command and with it (held: from the call on)."""

    @property
    def ratio(self) -> float:
        """Median of call-to-bolt by that of the floor."""
        return percentile(self.to_bolt, 50) / percentile(self.floor, 50)


class Bench:
    """One lock, paired with one Home Assistant, and the bare central."""

    def __init__(self, hass: HomeAssistant, simulator: Simulator, central: Central) -> None:
        self.hass = hass
        self.simulator = simulator
        self.central = central
        self.lock = simulator.locks[0]
        self.entry: ConfigEntry[Any]
        self.entity = ""
        self.handle = 0
        self._confirmed_at = 0
        self._wanted = ""
        self._held_since = 0.0

    async def pair(self) -> None:
        """Pair through the config flow, as a person would."""
        flows = self.hass.config_entries.flow
        deadline = time.monotonic() + 30
        while not (found := flows.async_progress_by_handler(DOMAIN)):
            assert time.monotonic() < deadline, "the lock was not discovered"
            await asyncio.sleep(0.1)
        result: Any = await flows.async_configure(
            found[0]["flow_id"], {"setup_code": self.lock.setup_code}
        )
        while str(result["type"]) in ("progress", "progress_done"):
            await asyncio.sleep(0.1)
            result = await flows.async_configure(result["flow_id"])
        assert str(result["type"]) == "create_entry", result
        await self.hass.async_block_till_done()
        entries = self.hass.config_entries.async_loaded_entries(DOMAIN)
        (self.entry,) = [entry for entry in entries if "lock_key" in entry.data]
        (self.entity,) = self.hass.states.async_entity_ids("lock")
        self.hass.bus.async_listen(EVENT_STATE_CHANGED, self._state_changed)
        await self._wait_until(lambda truth: truth["clock_trusted"])

    @callback
    def _state_changed(self, event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if (
            state is not None
            and state.entity_id == self.entity
            and state.state == self._wanted
            and not self._confirmed_at
        ):
            self._confirmed_at = time.monotonic_ns()

    async def _wait_until(self, condition: Any) -> None:
        deadline = time.monotonic() + 20
        while not condition(await self.simulator.truth(self.lock.id)):
            assert time.monotonic() < deadline, "the lock does not come into the state needed"
            await asyncio.sleep(0.02)

    async def let_go(self) -> None:
        """End all connections to the lock, after what follows an operation: its log is read."""
        while not self.entry.runtime_data.sync.calm:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.05)
        await self.entry.runtime_data.client.async_disconnect()
        await self.central.disconnect()
        await self._wait_until(lambda truth: truth["connections"] == 0)

    async def call(self, result: Result) -> None:
        """Call the service once, and note what came of it."""
        locked = self.hass.states.get(self.entity)
        assert locked is not None
        service, self._wanted = (
            ("unlock", "unlocked") if locked.state == "locked" else ("lock", "locked")
        )
        await self.simulator.clear_trace(self.lock.id)
        self._confirmed_at = 0
        called = time.monotonic_ns()
        await self.hass.services.async_call(
            "lock", service, {"entity_id": self.entity}, blocking=True
        )
        trace = [
            item
            for item in await self.simulator.trace(self.lock.id)
            if item["t_monotonic_ns"] >= called
        ]
        moved = next(item for item in trace if item["what"] == "operate")["t_monotonic_ns"]
        result.to_bolt.append((moved - called) / 1e6)
        result.to_confirmed.append((self._confirmed_at - called) / 1e6)
        result.packets[packets_to_bolt(trace, called, moved)] += 1

    async def floor(self, result: Result) -> None:
        """Connect, if not connected, and write once with the bare central."""
        await self.simulator.clear_trace(self.lock.id)
        began = time.monotonic_ns()
        if self.central.connection is None:
            await self.central.connect()
        self.central.write(self.handle)
        while True:
            for item in await self.simulator.trace(self.lock.id):
                if item["what"] == "att" and item["opcode"] == _WRITE_COMMAND:
                    result.floor.append((item["t_monotonic_ns"] - began) / 1e6)
                    return
            await asyncio.sleep(0.01)

    async def cold(self, interval_ms: float, rounds: int) -> list[Result]:
        """Rounds that begin without a connection, with and without a larger MTU."""
        agreed = Result(interval_ms, "cold")
        at_once = Result(interval_ms, "cold, MTU 23", floor=agreed.floor)
        for _ in range(rounds):
            for once, result, wait_for_mtu in (
                (self.call, agreed, True),
                (self.floor, agreed, True),
                (self.call, at_once, False),
            ):
                await self.let_go()
                self.adapter.settings = replace(self.adapter.settings, wait_for_mtu=wait_for_mtu)
                # Long enough to hear the state after the last round; random against its rhythm.
                await asyncio.sleep(random.uniform(0.27, 0.52))
                await once(result)
        self.adapter.settings = replace(self.adapter.settings, wait_for_mtu=True)
        return [agreed, at_once]

    async def held(self, interval_ms: float, rounds: int) -> list[Result]:
        """Rounds on connections that are there."""
        result = Result(interval_ms, "held")
        await self.let_go()
        await asyncio.sleep(0.5)
        await self.call(Result(interval_ms, "warming"))
        for _ in range(rounds):
            if self.central.connection is None or time.monotonic() > self._held_since:
                await self.central.disconnect()
                await self.central.connect()
                self._held_since = time.monotonic() + _HELD_SECONDS
            for once in (self.call, self.floor):
                await asyncio.sleep(random.uniform(0.01, 0.06))
                await once(result)
        return [result]

    @property
    def adapter(self) -> Any:
        """The virtual adapter that Home Assistant connects with."""
        (scanner,) = get_manager().async_current_scanners()
        return scanner._virtual  # type: ignore[attr-defined]  # a VirtualScanner, loaded by Home Assistant

    def learn_handle(self) -> None:
        """Learn the request characteristic's handle from the integration's own connection."""
        link = self.entry.runtime_data.client.held.link
        self.handle = link._request.handle


def packets_to_bolt(trace: list[dict[str, Any]], called: int, moved: int) -> tuple[str, ...]:
    """ATT packets from *connected* (held: from the call on) to the bolt command and with it."""
    connected = max(
        (item["t_monotonic_ns"] for item in trace if item["what"] == "connected"),
        default=called,
    )
    return tuple(
        _NAMES.get(item["opcode"], hex(item["opcode"]))
        for item in trace
        if item["what"] == "att" and connected <= item["t_monotonic_ns"] <= moved
    )


async def _measure(folder: Path, rounds: int, intervals: tuple[float, ...]) -> list[Result]:
    results: list[Result] = []
    say("starting")
    async with await Simulator.start(
        folder / "locks", folder / "simulator.log", 1, ("--motor-seconds", "0")
    ) as simulator:
        port = simulator.hci_ports[0]
        ha_config.write(folder / "config", free_port(), [ha_config.Adapter(port, "bench")])
        async with (
            home_assistant(folder / "config") as hass,
            Central(port, simulator.locks[0].address) as central,
        ):
            bench = Bench(hass, simulator, central)
            await bench.pair()
            await bench.call(Result(0, "warming"))
            bench.learn_handle()
            for interval in intervals:
                await bench.let_go()
                await simulator.request("POST", "/api/radio", {"interval_ms": interval})
                for kind in (bench.cold, bench.held):
                    say(f"{interval:g} ms, {kind.__name__}")
                    results += await kind(interval, rounds)
    return results


def _row(result: Result) -> list[str]:
    packets, _ = result.packets.most_common(1)[0]
    fast = result.packets[packets] * 100 // result.packets.total()
    times = [
        f"{percentile(values, percent):.1f}"
        for values in (result.to_bolt, result.to_confirmed, result.floor)
        for percent in (50, 95)
    ]
    return [
        f"{result.kind}, {result.interval_ms:g} ms",
        str(len(result.to_bolt)),
        *times,
        f"{result.ratio:.2f}",
        f"{len(packets)} ({' + '.join(packets)}) in {fast} %",
    ]


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.unlock", description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--intervals", type=float, nargs="+", default=INTERVALS_MS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="igrs-lock-bench-") as folder:
        results = run(_measure(Path(folder), arguments.rounds, tuple(arguments.intervals)))
    print("\nmilliseconds: p50, p95\n")
    print_table(
        [
            *("connection", "rounds", "to bolt", "p95", "confirmed", "p95", "floor", "p95"),
            *("ratio", "ATT packets to the lock up to the bolt command"),
        ],
        [_row(result) for result in results],
    )
    print(
        json.dumps(
            {
                "bench": "unlock",
                "aim_ratio": AIM_RATIO,
                "results": [
                    {
                        "interval_ms": result.interval_ms,
                        "kind": result.kind,
                        "rounds": len(result.to_bolt),
                        "ratio": round(result.ratio, 3),
                        "packets": {
                            " + ".join(names): count for names, count in result.packets.items()
                        },
                        **{
                            f"{name}_p{percent}": round(percentile(values, percent), 2)
                            for name, values in (
                                ("to_bolt", result.to_bolt),
                                ("to_confirmed", result.to_confirmed),
                                ("floor", result.floor),
                            )
                            for percent in (50, 95)
                        },
                    }
                    for result in results
                ],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
