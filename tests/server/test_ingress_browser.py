"""The owner's page as it is used: Chromium, in Home Assistant's frame, behind the path that ingress puts before it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import base_of, eventually
from house import COOKIE, House
from igrs_ras import wire
from igrs_ras.api.route import Listener
from igrs_ras.storage.tables import members, users
from playwright.async_api import async_playwright, expect
from test_ingress import ADMIN, LOCK, OTHER, homes, ras, settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction
    from playwright.async_api import Browser, BrowserContext, FrameLocator, Page
    from test_ingress import Homes

__all__ = ["homes", "ras", "settings"]  # fixtures

# What a page does in a browser does not depend on the database behind the server.
pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)

MARKUP = "<img src=x onerror=alert(1)>"
# A name that turns the direction of what follows it, if it is let.
TURNING = "\u202eevil"


@pytest.fixture
async def house(ras: Ras) -> AsyncIterator[House]:
    async with House(base_of(ras, Listener.INGRESS)) as running:
        yield running


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=Path(sys.executable).with_name("chromium"), args=["--no-sandbox"]
        )
        yield running
        await running.close()


class Seat:
    """A browser of a user of Home Assistant, and what went wrong in it."""

    def __init__(self, context: BrowserContext, page: Page, house: House) -> None:
        self.context = context
        self.page = page
        self.house = house
        self.problems: list[str] = []
        page.on(
            "console",
            lambda message: self.problems.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    async def open(self) -> FrameLocator:
        """Open the page in Home Assistant's frame."""
        await self.page.goto(f"{self.house.origin}/frontend")
        frame = self.page.frame_locator("iframe")
        await expect(frame.locator("main:not([aria-busy])")).to_be_attached()
        return frame


async def sit(browser: Browser, house: House, user: str, **options: Any) -> Seat:
    context = await browser.new_context(**options)
    await context.add_cookies(
        [{"name": COOKIE, "value": house.sign_in(user), "url": house.origin, "httpOnly": True}]
    )
    return Seat(context, await context.new_page(), house)


async def people(ras: Ras, site: str, *names: str) -> None:
    """Members of a site by name."""

    def job(tx: Transaction) -> None:
        for name in names:
            user = wire.new_id()
            tx.execute(users.insert().values(id=user, name=name, created=tx.now))
            tx.execute(
                members.insert().values(
                    site=site, user=user, role="member", state="active", created=tx.now
                )
            )

    await ras.store.write(job)


async def test_an_owner_looks_and_takes_away(
    ras: Ras, homes: Homes, house: House, browser: Browser
) -> None:
    home = await homes("Ferienhaus")
    await home.register_lock(LOCK)
    phone = await homes.guest(home, "Alma")
    await people(ras, home.site, MARKUP)
    invitation = await home.invite()
    seat = await sit(browser, house, ADMIN)
    frame = await seat.open()
    await expect(frame.get_by_role("heading", name="Ferienhaus")).to_be_visible()
    await expect(frame.get_by_text("Connected", exact=True)).to_be_visible()
    await expect(frame.get_by_text(MARKUP)).to_be_visible()
    await expect(frame.get_by_text(LOCK).first).to_be_visible()
    await expect(frame.get_by_text("A member was added")).to_be_visible()

    await frame.get_by_role("button", name="Remove Alma").click()
    dialog = frame.get_by_role("dialog", name="Remove this member?")
    await expect(dialog).to_contain_text("Alma can no longer use this home's locks from away.")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(frame.get_by_role("button", name="Remove Alma")).to_be_focused()
    assert phone.user in home.members

    await seat.page.keyboard.press("Enter")
    await dialog.get_by_role("button", name="Remove").click()
    await expect(frame.get_by_role("status")).to_have_text("Alma was removed.")
    await expect(frame.get_by_role("status")).to_be_focused()
    await expect(frame.get_by_role("button", name="Remove Alma")).to_have_count(0)
    assert (await home.event("member.left"))["user"] == phone.user

    await frame.get_by_role("button", name=f"Withdraw invitation link {invitation.id[:8]}").click()
    await frame.get_by_role("dialog").get_by_role("button", name="Withdraw").click()
    await expect(frame.get_by_text("There is none.")).to_be_visible()
    assert (await home.event("invitation.withdrawn"))["invitation"] == invitation.id

    assert seat.problems == []
    # Nothing is kept in the browser, whose origin is also that of every other app's page.
    assert [cookie["name"] for cookie in await seat.context.cookies()] == [COOKIE]
    left = await seat.page.evaluate(
        "async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length,"
        " (await caches.keys()).length, (await navigator.serviceWorker.getRegistrations()).length]"
    )
    assert left == [0, 0, 0, 0, 0]
    assert all(request.path.startswith(house.prefix) for request in house.seen)


async def test_case_65_who_is_no_administrator_reads_where_to_go(
    homes: Homes, house: House, browser: Browser
) -> None:
    await homes("Ferienhaus")
    seat = await sit(browser, house, OTHER)
    frame = await seat.open()
    await expect(
        frame.get_by_text("Use Home Assistant, or the link that you were given.")
    ).to_be_visible()
    await expect(frame.get_by_text("Ferienhaus")).to_have_count(0)
    await expect(frame.get_by_role("button", name="Remove")).to_have_count(0)


async def test_a_server_that_does_not_answer_is_said_and_tried_again(
    homes: Homes, house: House, browser: Browser
) -> None:
    await homes("Ferienhaus")
    seat = await sit(browser, house, ADMIN)
    frame = await seat.open()
    house.broken = True
    await frame.get_by_role("button", name="Refresh").click()
    await expect(frame.get_by_role("alert")).to_contain_text("The server does not answer.")
    house.broken = False
    await frame.get_by_role("button", name="Try again").click()
    await expect(frame.get_by_role("heading", name="Ferienhaus")).to_be_visible()


async def test_what_failed_to_be_taken_away_stays_and_is_said(
    ras: Ras, homes: Homes, house: House, browser: Browser
) -> None:
    home = await homes()
    phone = await homes.guest(home, "Alma")
    seat = await sit(browser, house, ADMIN)
    frame = await seat.open()
    house.broken = True
    await frame.get_by_role("button", name="Remove Alma").click()
    await frame.get_by_role("dialog").get_by_role("button", name="Remove").click()
    await expect(frame.get_by_role("status")).to_have_text("The server does not answer.")
    await expect(frame.get_by_role("button", name="Remove Alma")).to_be_enabled()
    assert phone.user in home.members


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_long_names_and_many_rows_fit_a_phone(
    ras: Ras, homes: Homes, house: House, browser: Browser, scheme: Any
) -> None:
    home = await homes("Ferienhaus am " + "See" * 25)
    await people(
        ras, home.site, "W" * 100, TURNING, *(f"Person {number:02}" for number in range(43))
    )
    seat = await sit(
        browser, house, ADMIN, viewport={"width": 320, "height": 640}, color_scheme=scheme
    )
    await seat.page.goto(house.url)
    page = seat.page
    await expect(page.get_by_text("Members (45)")).to_be_visible()
    assert await page.get_by_role("button", name="Remove").count() == 20
    await page.get_by_role("button", name="Show all 45").click()
    assert await page.get_by_role("button", name="Remove").count() == 45
    assert await page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    # A name stands alone: what it does to the direction of text ends with it.
    assert await page.locator("bdi", has_text=TURNING).count() == 1
    await expect(page.get_by_text("Remove").last).to_be_visible()
    # Text and its background differ enough to be read (WCAG 2.2, 1.4.3: 4.5 to 1).
    poor = await page.evaluate(_POOR_CONTRAST)
    assert poor == []
    assert seat.problems == []


_POOR_CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(one).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")]
    .filter((element) => element.checkVisibility() && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((element) => {
      const [high, low] = [light(numbers(getComputedStyle(element).color).slice(0, 3)), light(behind(element))].sort((a, b) => b - a);
      return (high + 0.05) / (low + 0.05) < 4.5;
    })
    .map((element) => element.outerHTML.slice(0, 80));
}"""


async def test_the_page_tells_that_a_home_is_not_connected(
    ras: Ras, homes: Homes, house: House, browser: Browser
) -> None:
    home = await homes()
    await home.close()
    await eventually(lambda: ras.gateways.link_of(home.site) is None)
    seat = await sit(browser, house, ADMIN)
    frame = await seat.open()
    await expect(frame.get_by_text("Not connected")).to_be_visible()
    await expect(frame.get_by_text("Nobody uses this home from away.")).to_be_visible()
