"""`python -m simulator.demo`: a real Home Assistant with simulated locks, for looking at or, with `--check`, unattended."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path

from . import versions
from .check import Check
from .demo import Demo, Setup
from .errors import DemoError
from .ha_config import ROOT
from .progress import say
from .trial import Trial


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description="Home Assistant with simulated IGRS locks and a remote access server, on this machine's loopback only.",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="do unattended what a person would, in fresh folders; fails if a step does",
    )
    parser.add_argument(
        "--home-assistant",
        metavar="VERSION",
        default=versions.locked_version(),
        help="another Home Assistant, or 'latest' (default: %(default)s)",
    )
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept")
    parser.add_argument("--locks", type=int, default=1, metavar="N", help="number of locks (1)")
    parser.add_argument(
        "--port", type=int, help="port of Home Assistant (default: 8123, or a free one)"
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.locks <= 100:
        parser.error("--locks must be 1 to 100")
    if arguments.port is not None and not 1 <= arguments.port <= 65535:
        parser.error("--port must be 1 to 65535")
    return arguments


def _tell(demo: Demo) -> None:
    """Print what a person needs to know."""
    say("ready")
    print(f"\nHome Assistant   {demo.home_assistant.url}/   (signed in as the owner)")
    print(f"Doors and locks  {demo.simulator.url}/")
    print(
        f"Remote access    {demo.ras.url}/   (the server; how to use it comes with the first lock)"
    )
    for lock in demo.simulator.locks:
        print(
            f"Setup code       {lock.setup_code}   {lock.name} ({lock.radio_name}), {lock.address}"
        )
    print("\nOnly programs on this machine reach these addresses, and each of them is let in.")
    print("Ctrl-C stops all; what you set up is kept for the next time.", flush=True)


async def _show(arguments: argparse.Namespace, python: Path, version: str) -> int:
    """Run until stopped."""
    # The tests have folders of their own, and ports too: several demos start at the same moment there.
    tested = os.environ.get("IGRS_LOCK_DEMO")
    folder = Path(tested or ROOT / ".demo") / version
    port = 0 if tested and arguments.port is None else arguments.port
    setup = Setup(folder, python, arguments.locks, port, arguments.fresh, server=True)
    async with Demo(setup) as demo:
        trial = Trial(demo.ras, folder, partial(print, flush=True))
        try:
            await demo.run(partial(_tell, demo), trial.keep)
        finally:
            say("stopping")
    return 0


async def _check(arguments: argparse.Namespace, python: Path, version: str) -> int:
    """Run all steps in folders of their own, kept only when a step fails."""
    folder = Path(tempfile.mkdtemp(prefix="igrs-lock-check-"))
    # A free port: a Home Assistant that happens to run here is none of the check's business.
    port = 0 if arguments.port is None else arguments.port
    check = Check(Setup(folder, python, arguments.locks, port, server=True), version)
    try:
        passed = await check.run()
    except asyncio.CancelledError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    check.report(sys.stdout)
    if passed:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if passed else 1


async def _main(arguments: argparse.Namespace) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(_start(arguments))
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:  # Impatience must not leave half of it running.
            stopping = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    return await task


async def _start(arguments: argparse.Namespace) -> int:
    version, python = await versions.python_with(arguments.home_assistant)
    return await (_check if arguments.check else _show)(arguments, python, version)


def main() -> int:
    """Command line; the exit code."""
    arguments = _arguments()
    try:
        with suppress(asyncio.CancelledError):
            return asyncio.run(_main(arguments))
    except DemoError as err:
        print(f"\ndemo: {err}", file=sys.stderr)
        return 1
    # Stopped by a person. A check that was broken off has not passed.
    return 130 if arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
