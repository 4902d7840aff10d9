"""The dashboard and the pairing dialog in a real browser, by clicks."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from simulator.demo.browser import Browser, HomeAssistantPage
from simulator.demo.demo import Demo, Setup
from simulator.demo.screenshots import take

if TYPE_CHECKING:
    from playwright.async_api import Page

ROOT = Path(__file__).resolve().parents[2]


async def running(demo: Demo) -> asyncio.Task[None]:
    """Let the demo keep its dashboard, as it does for a person."""
    ready = asyncio.Event()
    task = asyncio.create_task(demo.run(ready.set))
    await ready.wait()
    return task


async def text_of(home: HomeAssistantPage, *pages: str) -> str:
    """Everything that can be read on some pages of Home Assistant."""
    texts = []
    for path in pages:
        await home.page.goto(f"{home.url}{path}")
        await home.page.wait_for_timeout(2000)
        texts.append(await home.visible_text())
    return "\n".join(texts)


async def wait_for_bolt(demo: Demo, bolt: str) -> None:
    async with asyncio.timeout(20):
        while (await demo.simulator.truth(demo.simulator.locks[0].id))["bolt"] != bolt:  # noqa: ASYNC110 - the simulator is another process
            await asyncio.sleep(0.1)


async def press(page: Page, name: str) -> None:
    await page.get_by_role("button", name=name, exact=True).click()


async def test_a_person_pairs_a_lock_in_the_dialog_and_operates_it_on_the_dashboard(
    tmp_path: Path,
) -> None:
    async with Demo(Setup(tmp_path, Path(sys.executable), port=0)) as demo, Browser() as browser:
        task = await running(demo)
        lock = demo.simulator.locks[0]
        page = await browser.page()
        home = HomeAssistantPage(page, demo.home_assistant.url)

        # Nobody is asked for a password, and the dashboard says what to do.
        await home.open_dashboard()
        await page.get_by_text("A lock waits to be paired").wait_for()

        # The dialog tells mistakes apart and keeps asking.
        await home.open_integrations()
        await home.add_discovered()
        await home.enter_code("1234")
        await page.get_by_text("This is not a setup code.").wait_for()
        await home.enter_code("2222-3333-4444-5555")
        await page.get_by_text("This is not the setup code of").wait_for()
        assert not (await demo.simulator.truth(lock.id))["paired"]
        await home.enter_code(lock.setup_code)
        await home.finish("Kitchen door")
        assert (await demo.simulator.truth(lock.id))["paired"]

        # The dashboard has the lock by its name, and its buttons move the real bolt.
        await home.open_dashboard()
        await page.get_by_text("Kitchen door").first.wait_for()
        await page.get_by_text("Battery", exact=True).wait_for()
        await demo.simulator.act(lock.id, "turn", bolt="unlocked")
        await page.get_by_text("Unlocked").first.wait_for()
        await press(page, "Lock")
        await wait_for_bolt(demo, "locked")
        await press(page, "Unlock")
        await wait_for_bolt(demo, "unlocked")

        # No secret is on any page about the lock.
        (entry,) = await _entries(demo)
        seen = await text_of(
            home,
            "/igrs-lock/locks",
            "/config/integrations/integration/igrs_lock",
            "/config/logs",
            "/history",
        )
        assert "Kitchen door" in seen
        for secret in (lock.setup_code, lock.setup_code.replace("-", ""), entry["lock_key"]):
            assert secret.lower() not in seen.lower()

        assert browser.errors == []
        task.cancel()


async def _entries(demo: Demo) -> list[dict[str, str]]:
    """The data of the entries of locks, from where Home Assistant keeps them."""
    import json  # noqa: PLC0415

    stored = demo.setup.folder / "config" / ".storage" / "core.config_entries"
    async with asyncio.timeout(30):
        while True:
            text = await asyncio.to_thread(stored.read_text) if stored.exists() else "{}"
            entries = json.loads(text).get("data", {}).get("entries", [])
            data = [entry["data"] for entry in entries if entry["domain"] == "igrs_lock"]
            if found := [one for one in data if "lock_key" in one]:
                return found
            await asyncio.sleep(0.5)


async def test_a_person_with_a_pin_is_added_by_clicks_and_activity_tells_who_came(
    tmp_path: Path,
) -> None:
    pin = "8305172946"  # long: so many digits stand nowhere by chance
    async with Demo(Setup(tmp_path, Path(sys.executable), port=0)) as demo, Browser() as browser:
        task = await running(demo)
        lock = demo.simulator.locks[0]
        page = await browser.page()
        home = HomeAssistantPage(page, demo.home_assistant.url)
        await home.open_integrations()
        await home.add_discovered()
        await home.enter_code(lock.setup_code)
        await home.finish("Front door")

        # The dialog has the lock by the name that was just given.
        await home.open_people()
        await home.begin_person("Anna", "Resident", "Front door")
        await home.choose_pin(pin)
        async with asyncio.timeout(20):
            while not (await demo.simulator.act(lock.id, "pin", digits=pin))["accepted"]:  # noqa: ASYNC110 - the simulator is another process
                await asyncio.sleep(0.5)
        await wait_for_bolt(demo, "unlocked")

        await home.open_activity("lock.front_door")
        await page.get_by_text("was unlocked by Anna with the keypad").wait_for()
        seen = await home.visible_text()
        seen += await text_of(home, "/config/integrations/integration/igrs_lock")
        assert "Anna" in seen
        assert pin not in seen

        # Every dialog finds what it fills its texts with.
        menu = page.locator("ha-config-entry-row").filter(has_text="Front door").first
        await menu.locator("ha-dropdown").first.click()
        await page.get_by_text("Reconfigure", exact=True).first.click()
        await home.dialog.get_by_text("Pair again", exact=True).wait_for()
        assert "formatjs" not in await home.visible_text()

        assert browser.errors == []
        task.cancel()


async def test_the_pictures_for_the_documentation_can_be_taken_anew(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    async with Demo(Setup(tmp_path / "demo", Path(sys.executable), port=0, server=True)) as demo:
        task = await running(demo)
        await take(demo, pictures)
        task.cancel()

    taken = {path.stem for path in (ROOT / "docs" / "images").glob("*.png")}
    assert {path.stem for path in pictures.iterdir()} == taken
    for name in taken:
        picture = (pictures / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 10_000  # an empty page is smaller
