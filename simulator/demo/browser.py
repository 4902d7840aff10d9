"""A real Chromium on the demo: what a person sees and clicks. For the end-to-end tests and the README's pictures."""

import os
import shutil
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from playwright.async_api import Locator, Page, Route, async_playwright

from .errors import DemoError

if TYPE_CHECKING:
    from types import TracebackType

    from playwright.async_api import Browser as Chromium

_ARGUMENTS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
)
_WIDTH, _HEIGHT = 1280, 800
_WAIT_MS = 30_000


def chromium() -> str:
    """The Chromium of this environment, else the machine's.

    Raises DemoError when there is none.
    """
    beside = Path(sys.executable).with_name("chromium")
    found = str(beside) if beside.exists() else shutil.which("chromium")
    if found is None:
        raise DemoError("there is no Chromium: run scripts/setup")
    return found


class Browser:
    """Chromium without a window. Nothing but the loopback is reachable from its pages."""

    def __init__(self, *, dark: bool = False) -> None:
        self.refused: list[str] = []
        """Addresses outside of the loopback that pages asked for."""
        self.errors: list[str] = []
        """Errors that scripts of the pages did not catch."""
        self._dark = dark
        self._stack = AsyncExitStack()
        self._chromium: Chromium

    async def __aenter__(self) -> Self:
        playwright = await self._stack.enter_async_context(async_playwright())
        # Chromium refuses to sandbox itself as root, as in containers.
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        self._chromium = await playwright.chromium.launch(
            executable_path=chromium(), args=[*_ARGUMENTS, *root]
        )
        self._stack.push_async_callback(self._chromium.close)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def page(self, width: int = _WIDTH, height: int = _HEIGHT) -> Page:
        """A new page, with no memory of others."""
        context = await self._chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if self._dark else "light",
        )
        page = await context.new_page()
        page.set_default_timeout(_WAIT_MS)
        await page.route("**/*", self._route)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    async def _route(self, route: Route) -> None:
        address = urlsplit(route.request.url)
        if address.scheme in ("http", "https", "ws") and address.hostname != "127.0.0.1":
            self.refused.append(route.request.url)
            await route.abort()
        else:
            await route.continue_()


class HomeAssistantPage:
    """Home Assistant's page, by what a person clicks on it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    async def open_dashboard(self) -> None:
        """Open the address that the demo prints."""
        await self.page.goto(f"{self.url}/")
        await self.page.wait_for_url("**/igrs-lock/**")

    async def open_integrations(self) -> None:
        """Open *Devices & services*."""
        await self.page.goto(f"{self.url}/config/integrations/dashboard")

    async def add_discovered(self) -> None:
        """Click *Add* on the lock that was discovered, and wait for the dialog."""
        await self.page.get_by_role("button", name="Add", exact=True).click()
        await self.setup_code.wait_for()

    @property
    def setup_code(self) -> Locator:
        """The dialog's field."""
        return self.page.get_by_role("textbox", name="Setup code")

    async def enter_code(self, code: str) -> None:
        """Type a setup code and submit it."""
        await self.setup_code.fill(code)
        await self.page.get_by_role("button", name="Submit").click()

    async def finish(self, name: str) -> None:
        """Name the paired lock and close the dialog."""
        field = self.page.get_by_role("textbox", name="Device name")
        await field.fill(name)
        await self.page.get_by_role("button", name="Finish").click()
        await field.wait_for(state="detached")

    async def open_people(self) -> None:
        """Open the integration's page, where its locks and people are."""
        await self.page.goto(f"{self.url}/config/integrations/integration/igrs_lock")

    async def begin_person(self, name: str, kind: str, lock: str) -> None:
        """Begin to add somebody there for a lock, up to the step about rights and times."""
        await self.page.get_by_role("button", name="Add person").click()
        await self.page.get_by_role("textbox", name="Name").fill(name)
        await self.dialog.get_by_text(kind, exact=True).click()
        await self.dialog.get_by_text(lock, exact=True).click()
        await self.submit()
        await self.dialog.get_by_text(f"What may {name} do, and when?").wait_for()

    async def choose_pin(self, pin: str) -> None:
        """Take the step about rights and times as it is, give a PIN, and close the dialog."""
        await self.submit()
        await self.dialog.get_by_text("Choose a PIN", exact=True).click()
        await self.page.get_by_role("textbox", name="PIN").fill(pin)
        await self.submit()
        finish = self.page.get_by_role("button", name="Finish")
        await finish.click()
        await finish.wait_for(state="detached")

    async def begin_server(self, url: str, code: str) -> None:
        """Begin to connect a remote access server, up to the step that shows its key."""
        await self.open_people()
        await self.page.get_by_role("button", name="Add lock or server").click()
        await self.dialog.get_by_text("Connect to a remote access server").click()
        await self.page.get_by_role("textbox", name="Address").fill(url)
        await self.page.get_by_role("textbox", name="Enrolment code").fill(code)
        await self.submit()
        await self.dialog.get_by_text("Is this your server?").wait_for()

    async def connect(self) -> None:
        """Take the server that is shown, and close the dialog."""
        await self.page.get_by_role("button", name="Connect", exact=True).click()
        finish = self.page.get_by_role("button", name="Skip and finish")
        await finish.click()
        await finish.wait_for(state="detached")

    async def invite(self, name: str) -> None:
        """Invite a phone of somebody, up to the step that shows the link."""
        await self.open_people()
        row = self.page.locator("ha-config-sub-entry-row").filter(has_text=name).last
        buttons = row.locator("ha-icon-button:not([slot=trigger])")
        await buttons.nth(1).click()  # the first one folds the row
        await self.dialog.get_by_text("Invite a phone", exact=True).click()
        await self.page.get_by_role("button", name="Make the link").click()
        await self.dialog.get_by_text(f"The link for {name}").wait_for()

    @property
    def dialog(self) -> Locator:
        """The dialog of a flow."""
        return self.page.locator("dialog-data-entry-flow")

    async def submit(self) -> None:
        """Send the form that is shown."""
        await self.page.get_by_role("button", name="Submit").click()

    async def open_device(self, name: str) -> None:
        """Open the page of a device of the integration by its name."""
        await self.open_people()
        await self.page.get_by_text(name, exact=True).last.click()
        await self.page.wait_for_url("**/config/devices/device/**")

    async def open_activity(self, entity: str) -> None:
        """Open what Activity tells of an entity."""
        await self.page.goto(f"{self.url}/logbook?entity_id={entity}")

    async def open_repair(self, title: str) -> None:
        """Wait for a repair and open it."""
        await self.page.goto(f"{self.url}/config/repairs")
        await self.page.get_by_text(title).click()

    async def visible_text(self) -> str:
        """All text of the page, also within Home Assistant's own elements."""
        text: str = await self.page.evaluate(
            """() => {
                const texts = [];
                const walk = (node) => {
                    if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent);
                    if (node.value !== undefined) texts.push(String(node.value));
                    if (node.shadowRoot) walk(node.shadowRoot);
                    node.childNodes.forEach(walk);
                };
                walk(document.body);
                return texts.join("\\n");
            }"""
        )
        return text
