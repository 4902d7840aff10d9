"""`python -m bench.advertisements`: processor time that the integration takes for each advertisement.

A real Home Assistant core (this process, started anew for each number of locks) hears 1, 10, 100 and 1,000 paired locks
through a scanner of its own kind. The same packets are fed with the locks' entries loaded and with them unloaded: the
difference is the integration's, with everything that Home Assistant does on its behalf (states, events, recorder).

*Repeated*: the packet of before, as nearly all are. *Counted*: a new counter, nothing else new, as every ten minutes.
*Moved*: the bolt changed, and a new state is published. *A day*: of a lock that advertises every second and moves forty
times.
"""

import argparse
import asyncio
import gc
import json
import secrets
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bluetooth_data_tools import monotonic_time_coarse
from bsld import advert
from bsld.crypto import mac
from habluetooth import BaseHaRemoteScanner, get_manager

from bench.home import home_assistant, print_table, run
from simulator.demo import ha_config
from simulator.demo.ha_config import ROOT
from simulator.demo.processes import free_port
from simulator.demo.progress import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from homeassistant.core import HomeAssistant

DOMAIN = "igrs_lock"
COUNTS = (1, 10, 100, 1000)
AIM_US = 60.0
_DAY = {"repeated": 86_400 - 144 - 120, "counted": 144, "moved": 120}
"""Packets of a day by kind: 144 heartbeats, and three states of each of forty movements."""
_PACKETS = {"repeated": 100_000, "counted": 20_000, "moved": 6_000}
_RECORDER_SECONDS = 1.5
"""The recorder writes once a second."""
_QUIET = 0.015
"""Seconds of processor time in that time: what starting and unloading left to do is done."""
_QUIET_TRIES = 40
_BOLTS = (1, 2)  # locked, unlocked
_DOOR_CLOSED = 1 << 3
_VERSION_AND_CLOCK = 0x10 | advert.FLAG_CLOCK
_BATTERY = 96


class Feeder(BaseHaRemoteScanner):
    """A scanner that hears what it is told."""

    def __init__(self) -> None:
        super().__init__("C0:00:00:00:00:01", "bench", None, connectable=False)

    def feed(self, address: str, packet: bytes) -> None:
        """Hear one packet of 31 bytes."""
        self._async_on_raw_advertisement(address, -60, packet, {}, monotonic_time_coarse())


@dataclass
class Lock:
    """What a paired lock would advertise."""

    address: str
    key: bytes
    counter: int = 1000
    bolt: int = 0
    packet: bytes = b""

    @classmethod
    def make(cls, number: int) -> Lock:
        """A lock with an address and a lock key of its own."""
        return cls((0xC00000000000 + number).to_bytes(6).hex(":").upper(), secrets.token_bytes(16))

    def count(self) -> None:
        """Advertise a new counter."""
        self.counter += 1
        device_id = bytes.fromhex(self.address.replace(":", ""))
        state = _BOLTS[self.bolt] | _DOOR_CLOSED
        plain = bytes((_VERSION_AND_CLOCK, state, _BATTERY))
        key = mac(self.key, b"advert", bytes(2))[:16]
        self.packet = advert.payload(advert.seal(key, device_id, plain, self.counter))

    def move(self) -> None:
        """Advertise another bolt."""
        self.bolt ^= 1
        self.count()

    def entry(self) -> dict[str, Any]:
        """The config entry that pairing would have made, as Home Assistant stores it."""
        device_id = self.address.replace(":", "")
        now = "2026-01-01T00:00:00+00:00"
        return {
            "created_at": now,
            "data": {
                "account_id": "AAAAAAAAAAAA",
                "account_slot": 0,
                "address": self.address,
                "capabilities": 63,
                "lock_key": self.key.hex(),
                "manufacturer": None,
                "model": None,
                "sw_version": None,
            },
            "disabled_by": None,
            "discovery_keys": {},
            "domain": DOMAIN,
            "entry_id": f"bench{device_id}",
            "minor_version": 1,
            "modified_at": now,
            "options": {},
            "pref_disable_new_entities": False,
            "pref_disable_polling": False,
            "source": "user",
            "subentries": [],
            "title": f"IGRS-{device_id[-4:]}",
            "unique_id": device_id,
            "version": 1,
        }


def _store(folder: Path, key: str, minor_version: int, data: dict[str, Any]) -> None:
    path = folder / ".storage" / key
    path.write_text(
        json.dumps({"version": 1, "minor_version": minor_version, "key": key, "data": data})
    )


def _prepare(folder: Path, locks: list[Lock]) -> None:
    ha_config.write(folder, free_port(), [])
    configuration = folder / "configuration.yaml"
    # No virtual adapter: the packets come from the bench.
    configuration.write_text(
        configuration.read_text().replace("virtual_ble:", "bluetooth_adapters:")
    )
    _store(folder, "core.config_entries", 5, {"entries": [lock.entry() for lock in locks]})
    # Their time was just set: nobody tries to connect for that.
    told = {"time_set": round(time.time()), "offsets": [0, 0, 0]}
    _store(
        folder,
        DOMAIN,
        1,
        {
            "locks": {lock.address.replace(":", ""): told for lock in locks},
            "clock_vouched": True,
        },
    )


def _repeat(_lock: Lock) -> None:
    """Advertise the same again."""


_KINDS: dict[str, Callable[[Lock], None]] = {
    "repeated": _repeat,
    "counted": Lock.count,
    "moved": Lock.move,
}


def _packets(locks: list[Lock], kind: str) -> Iterator[list[tuple[str, bytes]]]:
    """Rounds of one packet of each lock, made beforehand: making them is no part of it."""
    for _ in range(max(2, _PACKETS[kind] // len(locks))):
        for lock in locks:
            _KINDS[kind](lock)
        yield [(lock.address, lock.packet) for lock in locks]


async def _feed(
    hass: HomeAssistant, feeder: Feeder, rounds: list[list[tuple[str, bytes]]]
) -> float:
    """Processor time of all threads, in microseconds for each packet.

    What Home Assistant spends anyhow in the time in which the recorder writes is taken off.
    """
    await hass.async_block_till_done()
    gc.collect()
    for _ in range(_QUIET_TRIES):
        idle = await _idle()
        if idle < _QUIET:
            break
    count = 0
    began = time.process_time()
    for packets in rounds:
        for address, packet in packets:
            feeder.feed(address, packet)
            count += 1
            if count % 500 == 0:
                await asyncio.sleep(0)
    await hass.async_block_till_done()
    await asyncio.sleep(_RECORDER_SECONDS)
    spent = time.process_time() - began
    idle = min(idle, await _idle())
    return (spent - idle) * 1e6 / count


async def _idle() -> float:
    """Processor time, in seconds, that goes by while nothing is fed."""
    began = time.process_time()
    await asyncio.sleep(_RECORDER_SECONDS)
    return time.process_time() - began


async def _measure(folder: Path, count: int) -> dict[str, float]:
    """Microseconds by kind, with and without the integration."""
    locks = [Lock.make(number) for number in range(1, count + 1)]
    for lock in locks:
        lock.count()
    _prepare(folder, locks)
    found: dict[str, float] = {}
    async with home_assistant(folder) as hass:
        feeder = Feeder()
        get_manager().async_register_scanner(feeder)
        for lock in locks:
            feeder.feed(lock.address, lock.packet)
        await hass.async_block_till_done()
        states = [hass.states.get(name) for name in hass.states.async_entity_ids("lock")]
        shown = sum(state is not None and state.state == "locked" for state in states)
        assert shown == count, f"{shown} of {count} locks are shown"
        for phase in ("with", "without"):
            if phase == "without":
                for entry in hass.config_entries.async_loaded_entries(DOMAIN):
                    assert await hass.config_entries.async_unload(entry.entry_id)
            for kind in _KINDS:
                rounds = list(_packets(locks, kind))
                found[f"{kind} {phase}"] = await _feed(hass, feeder, rounds)
                if kind == "moved" and phase == "with":
                    expected = ("locked", "unlocked")[locks[0].bolt]
                    state = hass.states.get(hass.states.async_entity_ids("lock")[0])
                    assert state is not None
                    assert state.state == expected, "the packets did not arrive"
    return found


def _own(found: dict[str, float]) -> dict[str, float]:
    """The integration's share by kind, and of a day."""
    own = {kind: found[f"{kind} with"] - found[f"{kind} without"] for kind in _KINDS}
    return own | {"a day": sum(own[kind] * _DAY[kind] for kind in _DAY) / sum(_DAY.values())}


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.advertisements", description=__doc__)
    parser.add_argument("--locks", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        with tempfile.TemporaryDirectory(prefix="igrs-lock-bench-") as folder:
            print(json.dumps(run(_measure(Path(folder), arguments.one))))
        return 0
    results: dict[int, dict[str, float]] = {}
    for count in arguments.locks:
        say(f"{count} locks")
        output = subprocess.run(
            [sys.executable, "-m", "bench.advertisements", "--one", str(count)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        results[count] = json.loads(output.splitlines()[-1])
    print("\nmicroseconds of processor time for each advertisement, in the integration\n")
    columns = ("repeated", "counted", "moved", "a day")
    print_table(
        ["locks", *columns, "Home Assistant alone"],
        [
            [
                str(count),
                *(f"{_own(found)[column]:.1f}" for column in columns),
                f"{found['repeated without']:.1f}",
            ]
            for count, found in results.items()
        ],
    )
    print(
        json.dumps(
            {
                "bench": "advertisements",
                "aim_us": AIM_US,
                "results": [
                    {"locks": count, **{k: round(v, 2) for k, v in (_own(found) | found).items()}}
                    for count, found in results.items()
                ],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
