"""`scripts/screenshots`: the pictures in the documentation, taken anew from the running demo."""

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
_NARROW = 860
"""Pixels: the widest page without the side bar."""
_NAME = "Front door"
_ENTITY = "lock.front_door"
_PIN, _WRONG_PIN = "830517", "502816"


async def _shoot(page: Page, folder: Path, name: str) -> None:
    await page.wait_for_timeout(_SETTLE_MS)  # animations end, icons come
    path = folder / f"{name}.png"
    await page.screenshot(path=path)
    say(f"wrote {path.name}")


async def take(demo: Demo, folder: Path) -> None:
    """Pair the demo's lock through the dialog, add people, use it a little, connect a server, and take the pictures."""
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
        await _people(home, folder)

        door = await browser.page(1100, 940)
        await door.goto(f"{simulator.url}/")
        # The side bar takes a quarter of the picture and says nothing of locks.
        await page.set_viewport_size({"width": _NARROW, "height": 790})
        await home.open_dashboard()
        await page.get_by_text("Battery", exact=True).wait_for()
        for action, details in _USE:
            await simulator.act(lock.id, action, **details)
            await asyncio.sleep(1.5)
        await page.get_by_text("was unlocked by Anna").first.wait_for()
        await page.get_by_role("button", name="Lock", exact=True).click()
        await page.get_by_text("was locked by Home").first.wait_for()
        await _shoot(page, folder, "dashboard")
        await _shoot(door, folder, "simulator")
        await door.close()

        await page.set_viewport_size({"width": _NARROW, "height": 920})
        await home.open_activity(_ENTITY)
        # The names of states come after the sentences; until then their keys are shown.
        await page.get_by_text("Locking", exact=True).first.wait_for()
        await _shoot(page, folder, "log")
        await page.set_viewport_size({"width": _NARROW, "height": 1165})
        await home.open_device(_NAME)
        await _shoot(page, folder, "device")
        await simulator.act(lock.id, "battery", percent=8)
        await page.set_viewport_size({"width": 700, "height": 520})
        await home.open_repair(f"The battery of {_NAME} is low")
        await _shoot(page, folder, "repairs")
        await _remote(demo, home, folder)


async def _people(home: HomeAssistantPage, folder: Path) -> None:
    """Add a resident with a PIN; show a cleaner's hours, and add nobody else."""
    page = home.page
    await home.open_people()
    await home.begin_person("Anna", "Resident", _NAME)
    await home.choose_pin(_PIN)
    await page.set_viewport_size({"width": 620, "height": 1545})
    await home.open_people()
    await home.begin_person("Clara", "Service, such as a cleaner or a carer", _NAME)
    for day in ("Tuesday", "Friday"):
        await home.dialog.get_by_text(day, exact=True).click()
    for number, hour in enumerate(("8", "6")):  # in the morning, in the afternoon
        field = home.dialog.locator("ha-selector-time").nth(number).get_by_role("spinbutton")
        await field.nth(0).fill(hour)
        await field.nth(1).fill("00")
    await _shoot(page, folder, "person")


async def _remote(demo: Demo, home: HomeAssistantPage, folder: Path) -> None:
    """Connect a server, comparing its key, and invite a phone."""
    page = home.page
    await page.set_viewport_size({"width": 620, "height": 460})
    await home.begin_server(demo.ras.url, (await demo.ras.make_place()).code)
    await _shoot(page, folder, "server")
    await home.connect()
    await page.set_viewport_size({"width": 620, "height": 720})
    await home.invite("Anna")
    await _shoot(page, folder, "invitation")


_USE: list[tuple[str, dict[str, object]]] = [
    ("turn", {"bolt": "unlocked"}),
    ("door", {"open": True}),
    ("door", {"open": False}),
    ("turn", {"bolt": "locked"}),
    ("pin", {"digits": _WRONG_PIN}),
    ("pin", {"digits": _PIN}),
]


async def _main(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="igrs-lock-screenshots-") as work:
        async with Demo(Setup(Path(work), Path(sys.executable), port=0, server=True)) as demo:
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
