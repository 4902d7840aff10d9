"""`python -m simulator`: a virtual radio with locks, in a process of its own."""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
from pathlib import Path

from .door import MOTOR_SECONDS
from .web import serve
from .world import World


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m simulator",
        description="A virtual Bluetooth radio with ILP1 locks on it, for development and tests.",
    )
    parser.add_argument("--locks", type=int, default=1, help="number of locks (1)")
    parser.add_argument("--state", type=Path, required=True, help="folder that keeps the locks")
    parser.add_argument("--hci", type=int, default=0, help="TCP port for adapters (0: a free one)")
    parser.add_argument("--http", type=int, default=0, help="port of the page (0: a free one)")
    parser.add_argument("--seed", type=int, help="makes the radio's noise repeatable")
    parser.add_argument(
        "--interval-ms", type=float, help="connection interval of all connections (as asked for)"
    )
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost (0)")
    parser.add_argument(
        "--motor-seconds", type=float, default=MOTOR_SECONDS, help="how long a bolt takes (0.8)"
    )
    parser.add_argument("--verbose", action="store_true", help="say more on standard error")
    arguments = parser.parse_args()
    if arguments.locks < 1:
        parser.error("--locks must be at least 1")
    if not 0 <= arguments.loss <= 1:
        parser.error("--loss must be from 0 to 1")
    return arguments


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    world = World(
        arguments.state,
        arguments.locks,
        hci_port=arguments.hci,
        seed=arguments.seed,
        motor_seconds=arguments.motor_seconds,
    )
    world.radio.interval_ms = arguments.interval_ms
    world.radio.set_loss(arguments.loss)
    async with world:
        runner, http_port = await serve(world, arguments.http)
        ready = {
            "hci": [world.hci_port],
            "http": http_port,
            "locks": [
                {
                    "id": lock.identity.id,
                    "address": lock.identity.address,
                    "name": lock.identity.name,
                    "setup_code": lock.identity.setup_code,
                }
                for lock in world.locks.values()
            ],
        }
        print(json.dumps(ready), flush=True)
        await stop.wait()
        world.hub.close()
        await runner.cleanup()


def main() -> int:
    """Run until interrupted; the exit code."""
    arguments = _arguments()
    logging.basicConfig(
        level=logging.DEBUG if arguments.verbose else logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if not arguments.verbose:
        # Bumble warns about things that belong to a radio: packets of links that just ended.
        logging.getLogger("bumble").setLevel(logging.ERROR)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(arguments))
    except (OSError, ValueError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
