"""The load of `bench.ras`, in a process of its own: reads a command per line, answers with a line. Both are JSON."""

import asyncio
import functools
import gc
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import uvloop

from bench.ras_client import ECHO, Gateway, Phone, Place, keep_alive
from bench.ras_socket import Address, ClosedError, Socket

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

AT_ONCE = 64
"""Connections that are being opened at the same time, where it is not a storm."""
_RETRY_SECONDS = 1.0
_FAULTS = (ClosedError, OSError, TimeoutError)


class Load:
    """All ends that this process plays."""

    def __init__(self) -> None:
        self.gateways: list[Gateway] = []
        self.phones: list[Phone] = []
        self._address = Address(0)
        self._alive: asyncio.Task[None] | None = None
        self._bare: list[Socket] = []

    async def open(
        self, port: int, world: str, gateways: int, phones: int, cafile: str = ""
    ) -> dict[str, Any]:
        """Connect that many gateways and clients of a world's homes."""
        self._address = Address(port, cafile)
        places = msgspec.json.decode(Path(world).read_bytes(), type=list[Place])  # noqa: ASYNC240  nothing else runs
        self.gateways = [Gateway(place) for place in places[:gateways]]
        self.phones = [Phone(place) for place in places[:phones]]
        began = time.perf_counter()
        # A gateway's number must rise over all processes that play it.
        for place in places:
            place.n = time.time_ns() // 1000
        ends: list[Gateway | Phone] = [*self.gateways, *self.phones]
        await _in_turn([functools.partial(end.connect, self._address) for end in ends])
        self._alive = asyncio.create_task(keep_alive(ends))
        gc.freeze()
        return {"seconds": time.perf_counter() - began, **self._count()}

    def _count(self) -> dict[str, Any]:
        return {
            "gateways": sum(gateway.connected for gateway in self.gateways),
            "phones": sum(phone.connected for phone in self.phones),
            "restored": sum(gateway.restored for gateway in self.gateways),
        }

    async def bare(self, port: int, number: int, cafile: str) -> dict[str, Any]:
        """Open sockets of the echo server that do nothing."""
        address = Address(port, cafile)

        async def one() -> None:
            self._bare.append(await address.open("/", "echo"))

        await _in_turn([one] * number)
        return {}

    async def relays(self, rounds: int) -> dict[str, Any]:
        """Relay one after the other, with a pause of random length between."""
        tally = _Tally()
        for number in range(rounds):
            await asyncio.sleep(random.uniform(0.001, 0.004))
            await tally.note(self.phones[number % len(self.phones)].relay())
        return tally.result()

    async def peak(self, at_once: int, seconds: float) -> dict[str, Any]:
        """Relay as fast as the answers come, with so many under way."""
        tally = _Tally()
        until = time.perf_counter() + seconds

        async def worker(number: int) -> None:
            while time.perf_counter() < until:
                await tally.note(self.phones[number % len(self.phones)].relay())
                number += at_once

        await asyncio.gather(*map(worker, range(at_once)))
        return tally.result()

    async def steady(self, rate: float, seconds: float) -> dict[str, Any]:
        """Relay at random times, so many a second in the mean. Times count from when a relay was due."""
        tally = _Tally()
        began = due = time.perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        number = 0
        while (due := due + random.expovariate(rate)) < began + seconds:
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            number += 1
            phone = self.phones[number % len(self.phones)]
            task = asyncio.create_task(tally.note(phone.relay(due)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        return tally.result()

    async def storm(self, port: int, jitter: float) -> dict[str, Any]:
        """Reconnect all gateways, each at a random time within the jitter; who fails tries again a second later."""
        self._address = Address(port, self._address.cafile)
        failed: Counter[str] = Counter()
        took: list[float] = []

        async def again(gateway: Gateway) -> None:
            await asyncio.sleep(random.uniform(0, jitter))
            began = time.perf_counter()
            while not gateway.connected:
                try:
                    await gateway.connect(self._address)
                except _FAULTS as error:
                    failed[f"{type(error).__name__}: {error}"[:60]] += 1
                    await asyncio.sleep(_RETRY_SECONDS)
            took.append(1000 * (time.perf_counter() - began))

        began = time.perf_counter()
        await asyncio.gather(*map(again, self.gateways))
        return {
            "seconds": time.perf_counter() - began,
            "failures": failed.total(),
            "why": dict(failed.most_common(3)),
            "took": took,
            **self._count(),
        }

    async def close(self) -> dict[str, Any]:
        """Cut all connections."""
        if self._alive is not None:
            self._alive.cancel()
        for gateway in self.gateways:
            gateway.close()
        for phone in self.phones:
            phone.close()
        for socket in self._bare:
            socket.close()
        self.gateways, self.phones, self._bare = [], [], []
        return {}

    async def echo(self, port: int, rounds: int) -> dict[str, Any]:
        """Round trips of a bare echo server, one after the other."""
        socket = await Address(port).open("/", "echo")
        took: list[float] = []
        for _ in range(rounds):
            await asyncio.sleep(random.uniform(0.0005, 0.002))
            began = time.perf_counter()
            socket.send(ECHO)
            await socket.receive()
            took.append(1000 * (time.perf_counter() - began))
        socket.close()
        return {"took": took}

    async def echo_peak(self, port: int, at_once: int, seconds: float) -> dict[str, Any]:
        """Echoes as fast as they come, on so many sockets."""
        count = 0
        until = time.perf_counter() + seconds
        address = Address(port)

        def again(socket: Socket, _data: bytes) -> None:
            nonlocal count
            count += 1
            if time.perf_counter() < until:
                socket.send(ECHO)

        sockets = [await address.open("/", "echo") for _ in range(at_once)]
        began = time.perf_counter()
        for socket in sockets:
            socket.take = functools.partial(again, socket)
            socket.send(ECHO)
        await asyncio.sleep(seconds)
        took = time.perf_counter() - began
        for socket in sockets:
            socket.close()
        return {"per_second": count / took}

    async def call(
        self, port: int, path: str, bodies: list[dict[str, Any]], at_once: int
    ) -> dict[str, Any]:
        """POST bodies, so many at the same time."""
        took: list[float] = []
        statuses: Counter[int] = Counter()
        queue = list(reversed(bodies))

        async def worker(session: aiohttp.ClientSession) -> None:
            while queue:
                body = queue.pop()
                began = time.perf_counter()
                url = f"http://127.0.0.1:{port}{path}"
                async with session.post(url, json=body) as response:
                    statuses[(await response.json())["status"]] += 1
                took.append(1000 * (time.perf_counter() - began))

        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
            began = time.perf_counter()
            await asyncio.gather(*(worker(session) for _ in range(at_once)))
            seconds = time.perf_counter() - began
        return {"took": took, "per_second": len(took) / seconds, "statuses": dict(statuses)}


class _Tally:
    """How relays ended, and their times in milliseconds."""

    def __init__(self) -> None:
        self._ends: Counter[str] = Counter()
        self._answered: list[float] = []
        self._took: list[float] = []
        self._began = time.perf_counter()
        self._processor = time.process_time()

    async def note(self, relay: Awaitable[tuple[str, float, float]]) -> None:
        how, answered, took = await relay
        self._ends[how] += 1
        if how == "answered":
            self._answered.append(1000 * answered)
            self._took.append(1000 * took)

    def result(self) -> dict[str, Any]:
        seconds = time.perf_counter() - self._began
        return {
            "ends": dict(self._ends),
            "answered": self._answered,
            "took": self._took,
            "per_second": len(self._took) / seconds,
            "seconds": seconds,
            "load_busy": (time.process_time() - self._processor) / seconds,
        }


async def _in_turn(works: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """Run works, a bounded number at the same time."""
    waiting = list(reversed(works))

    async def worker() -> None:
        while waiting:
            await waiting.pop()()

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    load = Load()
    while line := await reader.readline():
        command = json.loads(line)
        answer = await getattr(load, command.pop("do"))(**command)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
