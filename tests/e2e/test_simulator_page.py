"""The simulator's control page in a real browser."""

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from simulator.demo.browser import chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def simulator(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "simulator", "--locks", "2", "--state", str(tmp_path)),
        *("--motor-seconds", "0.1"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    yield json.loads(await process.stdout.readline())
    process.terminate()
    await process.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests: each has a page without memory of the others."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(simulator: dict[str, Any], browser: Browser) -> AsyncIterator[Page]:
    """The page, loaded; fails the test when it complains or asks for anything from elsewhere."""
    complaints: list[str] = []
    url = f"http://127.0.0.1:{simulator['http']}"
    context = await browser.new_context()
    page = await context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
    page.on("request", lambda one: complaints.append(one.url) if url not in one.url else None)
    await page.goto(url)
    await expect(page.locator(".lock")).to_have_count(2)
    yield page
    await context.close()
    # What is refused or gone the browser notes by itself.
    assert [line for line in complaints if "Failed to load" not in line] == []


async def test_it_shows_each_lock_and_its_setup_code(page: Page, simulator: dict[str, Any]) -> None:
    for index, lock in enumerate(simulator["locks"]):
        card = page.locator(".lock").nth(index)
        await expect(card.get_by_role("heading", level=2)).to_have_text(lock["name"])
        await expect(card).to_contain_text(lock["address"])
        await expect(card).to_contain_text(f"IGRS-{lock['id'][-4:]}")  # as Home Assistant shows it
        await expect(card).to_contain_text(lock["setup_code"])  # unpaired: the code is open
        code = card.get_by_role("img", name="QR code of the setup code")
        assert await code.evaluate("image => image.naturalWidth > 0")


async def test_what_a_person_does_happens_and_is_seen(page: Page) -> None:
    card = page.locator(".lock").first
    drawing = card.locator("svg")
    await expect(card.locator(".state")).to_have_text("Locked")
    await card.get_by_role("button", name="Open the door").click()
    await expect(page.get_by_role("alert")).to_contain_text("The bolt holds the door")
    await card.get_by_role("button", name="Unlock by hand").click()
    await expect(card.locator(".state")).to_have_text("Unlocked")
    await card.get_by_role("button", name="Open the door").click()
    await expect(drawing).to_have_attribute("aria-label", "Front door: door open, bolt drawn back")
    await card.get_by_role("button", name="Close the door").click()
    await card.get_by_role("switch", name="Something blocks the bolt").check()
    await card.get_by_role("button", name="Press the button inside").click()
    await expect(card.locator(".state")).to_have_text("Jammed")
    events = card.get_by_role("list")
    await expect(events).to_contain_text("Jammed (tried with the button inside)")
    await expect(events).to_contain_text("Door opened")
    await expect(page.locator(".lock").nth(1).locator(".state")).to_have_text("Locked")


async def test_equal_events_of_one_second_are_all_listed_in_order(page: Page) -> None:
    card = page.locator(".lock").first
    turn = card.get_by_role("button", name="by hand")
    for _ in range(3):
        for after in ("Unlocked", "Locked"):
            await turn.click()
            await expect(card.locator(".state")).to_have_text(after)
    lines = card.get_by_role("list").get_by_role("listitem").filter(has_text="by hand")
    await expect(lines).to_have_count(6)
    texts = await lines.locator("span").all_text_contents()
    assert texts == ["Locked by hand", "Unlocked by hand"] * 3  # the newest on top
    numbers = [int(await line.get_attribute("data-number") or 0) for line in await lines.all()]
    assert numbers == sorted(set(numbers), reverse=True)


async def test_a_bolt_out_beside_an_open_door_is_not_shown_as_locked(page: Page) -> None:
    card = page.locator(".lock").first
    state = card.locator(".state")
    await card.get_by_role("button", name="Unlock by hand").click()
    await card.get_by_role("button", name="Open the door").click()
    await expect(card.get_by_role("button", name="Close the door")).to_be_visible()
    amber = await state.evaluate("badge => getComputedStyle(badge).color")
    await card.get_by_role("button", name="Lock by hand", exact=True).click()
    await expect(state).to_have_text("Bolt out, door open")
    assert await state.evaluate("badge => getComputedStyle(badge).color") == amber


async def test_what_is_no_pin_is_said_at_the_field(page: Page) -> None:
    card = page.locator(".lock").first
    for typed, answer in (("", "Type a PIN first."), ("12a4", "A PIN has digits only.")):
        await card.get_by_label("PIN").fill(typed)
        await card.get_by_role("button", name="Type it").click()
        await expect(page.get_by_role("alert")).to_contain_text(answer)
    await expect(card.get_by_label("PIN")).to_have_value("12a4")


async def test_power_keypad_and_battery(page: Page) -> None:
    card = page.locator(".lock").first
    await card.get_by_label("PIN").fill("1234")
    await card.get_by_label("PIN").press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("The lock says")
    await card.get_by_role("slider", name="Battery").fill("10")
    await expect(card.locator(".facts")).to_contain_text("10 % low")
    await card.get_by_role("button", name="Pull the power").click()
    await expect(card.locator(".state")).to_have_text("No power")
    await expect(card.get_by_role("button", name="Press the button inside")).to_be_disabled()
    await card.get_by_role("button", name="Give it power").click()
    await expect(card.locator(".state")).to_have_text("Locked")


async def test_gateways_appear_with_their_signal(page: Page, simulator: dict[str, Any]) -> None:
    _reader, writer = await asyncio.open_connection("127.0.0.1", simulator["hci"][0])
    await expect(page.locator("#gateways")).to_have_text("adapter-1")
    signal = page.locator(".lock").first.get_by_role("group", name="Signal at the gateways")
    await expect(signal).to_contain_text("-60 dBm")
    await signal.get_by_role("slider").fill("-101")
    await expect(signal).to_contain_text("out of reach")
    writer.close()
    await expect(page.locator("#gateways")).to_have_text("none plugged in")
    await expect(signal).to_be_hidden()


async def test_it_says_when_the_simulator_is_gone(page: Page, simulator: dict[str, Any]) -> None:
    await expect(page.locator("#link")).to_have_text("Live")
    await page.route("**/api/events", lambda route: route.abort())
    await page.reload()
    await expect(page.locator("#link")).to_contain_text("gone")


async def test_nothing_is_wider_than_the_screen(page: Page) -> None:
    for width in (320, 390, 768, 1440):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, width
