"""`scripts/screenshots`: the README's pictures, taken anew from the running demo."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .browser import Browser, HomeAssistantPage
from .demo import Demo, Setup
from .errors import DemoError
from .ha_config import ROOT
from .progress import say

if TYPE_CHECKING:
    from playwright.async_api import Page

_SETTLE_MS = 1_500
_NAME = "Front door"


async def _shoot(page: Page, folder: Path, name: str) -> None:
    await page.wait_for_timeout(_SETTLE_MS)  # animations end, icons come
    path = folder / f"{name}.png"
    await page.screenshot(path=path)
    say(f"wrote {path.name}")


async def take(demo: Demo, folder: Path) -> None:
    """Pair the demo's lock through the dialog, use it a little, and take the pictures."""
    simulator = demo.simulator
    lock = simulator.locks[0]
    async with Browser() as browser:
        page = await browser.page(1100, 720)
        home = HomeAssistantPage(page, demo.home_assistant.url)
        await home.open_integrations()
        await home.add_discovered()
        await _shoot(page, folder, "pairing")
        await home.enter_code(lock.setup_code)
        await home.finish(_NAME)

        door = await browser.page(1100, 940)
        await door.goto(f"{simulator.url}/")

        # The side bar takes a quarter of the picture and says nothing of locks.
        await page.set_viewport_size({"width": 860, "height": 790})
        await home.open_dashboard()
        await page.get_by_text("Battery", exact=True).wait_for()
        for action, details in _USE:
            await simulator.act(lock.id, action, **details)
            await asyncio.sleep(1)
        await page.get_by_role("button", name="Lock", exact=True).click()
        await page.get_by_text("Locked", exact=False).first.wait_for()
        await _shoot(page, folder, "dashboard")
        await _shoot(door, folder, "simulator")


_USE: list[tuple[str, dict[str, object]]] = [
    ("turn", {"bolt": "unlocked"}),
    ("door", {"open": True}),
    ("door", {"open": False}),
]


async def _main(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="igrs-lock-screenshots-") as work:
        async with Demo(Setup(Path(work), Path(sys.executable), port=0)) as demo:
            ready = asyncio.Event()
            running = asyncio.create_task(demo.run(ready.set))
            try:
                await ready.wait()
                await take(demo, folder)
            finally:
                running.cancel()
                await asyncio.wait([running])


def main() -> int:
    """Command line; the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/screenshots", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(_main(folder))
    except DemoError as err:
        print(f"screenshots: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
