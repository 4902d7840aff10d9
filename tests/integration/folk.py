"""People for the tests: added through the same flow as in the browser."""

from typing import TYPE_CHECKING, Any

from homeassistant.data_entry_flow import FlowResultType
from world import DOMAIN

from custom_components.igrs_lock.home import Home, async_get_home, find_people_entry

if TYPE_CHECKING:
    from board import TestLock
    from homeassistant.config_entries import ConfigEntry
    from world import World

ALWAYS: dict[str, Any] = {"weekdays": [], "first_time": "00:00:00", "last_time": "23:59:00"}


class Folk:
    """The People entry and its flows."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.hass = world.hass
        self.flows = world.hass.config_entries.subentries

    @property
    def entry(self) -> ConfigEntry[Any]:
        """The People entry."""
        entry = find_people_entry(self.hass)
        assert entry is not None
        return entry

    async def home(self) -> Home:
        return await async_get_home(self.hass)

    # --- flows ---

    async def begin(self) -> dict[str, Any]:
        """Begin to add somebody."""
        return dict(
            await self.flows.async_init((self.entry.entry_id, "person"), context={"source": "user"})
        )

    async def reconfigure(self, person_id: str, step: str | None = None) -> dict[str, Any]:
        """Begin to change somebody; with `step` choose it in the menu."""
        result = dict(
            await self.flows.async_init(
                (self.entry.entry_id, "person"),
                context={"source": "reconfigure", "subentry_id": person_id},
            )
        )
        return result if step is None else await self.choose(result, step)

    async def choose(self, result: dict[str, Any], step: str) -> dict[str, Any]:
        """Choose in a menu."""
        assert result["type"] is FlowResultType.MENU, result
        assert step in result["menu_options"]
        return await self.submit(result, {"next_step_id": step})

    async def submit(self, result: dict[str, Any], user_input: dict[str, Any]) -> dict[str, Any]:
        """Fill in a form."""
        result = dict(await self.flows.async_configure(result["flow_id"], user_input))
        await self.world.settle()
        return result

    async def add(
        self,
        name: str,
        *locks: TestLock,
        kind: str = "resident",
        user_id: str | None = None,
        pin: str = "",
        rights: list[str] | None = None,
        **details: Any,
    ) -> str:
        """Add somebody; return the person's ID."""
        result = await self.begin()
        identity: dict[str, Any] = {"name": name, "kind": kind}
        if self.world.hass.config_entries.async_entries(DOMAIN):
            identity["locks"] = [lock.unique_id for lock in locks]
        if user_id is not None:
            identity["user_id"] = user_id
        result = await self.submit(result, identity)
        assert result["step_id"] == "details", result
        values = suggested(result) | details
        result = await self.submit(
            result, values if rights is None else values | {"rights": rights}
        )
        if result["type"] is FlowResultType.MENU:
            result = await self.choose(result, "pin_type" if pin else "no_pin")
            if pin:
                result = await self.submit(result, {"pin": pin})
        assert result["type"] is FlowResultType.CREATE_ENTRY, result
        (person_id,) = [
            key for key, subentry in self.entry.subentries.items() if subentry.title == name
        ]
        return person_id

    def data(self, person_id: str) -> dict[str, Any]:
        """What is kept of somebody."""
        return dict(self.entry.subentries[person_id].data)


def suggested(result: dict[str, Any]) -> dict[str, Any]:
    """What a form shows, as the browser would send it back unchanged."""
    values = {}
    for marker in result["data_schema"].schema:
        value = (marker.description or {}).get("suggested_value")
        if value is not None:
            values[str(marker)] = value
    return values


def options(result: dict[str, Any], field: str) -> list[str]:
    """The values that a form offers in a field."""
    selector = result["data_schema"].schema[field]
    return [
        option if isinstance(option, str) else option["value"]
        for option in selector.config["options"]
    ]
