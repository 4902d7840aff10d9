"""The demo's dashboard: each lock with its door, battery and log, as far as Home Assistant has them."""

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import RefusedError

if TYPE_CHECKING:
    from .client import Client

DOMAIN = "igrs_lock"
URL_PATH = "igrs-lock"
_TITLE = "IGRS Lock"
_SERVER = ("_connectivity", "_remote_access")
_ORDER = ("lock", "binary_sensor", "sensor", "others")


@dataclass
class Device:
    """A lock in Home Assistant's registries."""

    id: str
    name: str
    entry_id: str
    device_id: str
    """The lock's own identifier."""
    entities: list[str] = field(default_factory=list)


async def devices(client: Client) -> list[Device]:
    """Home Assistant's locks of this integration, by name, with their entities in the order shown."""
    found = {
        device["id"]: Device(
            device["id"],
            device["name_by_user"] or device["name"] or "Lock",
            device["primary_config_entry"],
            device["identifiers"][0][1],
        )
        for device in await client.command("config/device_registry/list")
        if any(domain == DOMAIN for domain, *_ in device["identifiers"])
    }
    for entity in await client.command("config/entity_registry/list"):
        if (
            entity["platform"] == DOMAIN
            and entity["device_id"] in found
            and not entity["disabled_by"]
            and (entity["entity_category"] is None or entity["entity_id"].startswith("sensor."))
            and _domain(entity["entity_id"]) != _ORDER[-1]
        ):
            found[entity["device_id"]].entities.append(entity["entity_id"])
    locks = [device for device in found.values() if any(map(_is_lock, device.entities))]
    for device in locks:
        # The shortest name of a kind is what is looked at most: the door before "door left open".
        device.entities.sort(key=lambda one: (_ORDER.index(_domain(one)), len(one), one))
    return sorted(locks, key=lambda device: device.name)


async def server_entities(client: Client) -> list[str]:
    """What Home Assistant has of a remote access server: its switch and whether it is connected."""
    locks = {device.id for device in await devices(client)}
    return sorted(
        (
            entity["entity_id"]
            for entity in await client.command("config/entity_registry/list")
            if entity["platform"] == DOMAIN
            and entity["device_id"] not in locks
            and entity["entity_id"].endswith(_SERVER)
        ),
        reverse=True,
    )


async def save(client: Client, locks: list[Device], waiting: bool, simulator_url: str) -> None:
    """Make the dashboard for what is paired now, and the one that Home Assistant opens with.

    With `waiting` it says how to pair the locks that are left.
    """
    dashboards = await client.command("lovelace/dashboards/list")
    if all(dashboard["url_path"] != URL_PATH for dashboard in dashboards):
        await client.command(
            "lovelace/dashboards/create",
            url_path=URL_PATH,
            title=_TITLE,
            icon="mdi:lock",
            show_in_sidebar=True,
            require_admin=False,
            mode="storage",
        )
        # Only a convenience: without it the dashboard is one click away in the side bar.
        with contextlib.suppress(RefusedError):
            await client.command(
                "frontend/set_system_data", key="core", value={"default_panel": URL_PATH}
            )
    server = await server_entities(client)
    await client.command(
        "lovelace/config/save",
        url_path=URL_PATH,
        config=config(locks, server, waiting, simulator_url),
    )


def config(
    locks: list[Device], server: list[str], waiting: bool, simulator_url: str
) -> dict[str, Any]:
    """The dashboard's configuration, as its own editor would store it."""
    sections = [_section(device) for device in locks]
    if server and locks:
        sections.append(_server_section(server))
    if waiting or not locks:
        sections.append(_pairing_section(simulator_url))
    return {
        "title": _TITLE,
        "views": [
            {
                "title": _TITLE,
                "path": "locks",
                "type": "sections",
                "max_columns": 3,
                "sections": sections,
            }
        ],
    }


def _section(device: Device) -> dict[str, Any]:
    return {
        "type": "grid",
        "cards": [
            {
                "type": "heading",
                "heading": device.name,
                "icon": "mdi:door",
                "heading_style": "title",
                "tap_action": {
                    "action": "navigate",
                    "navigation_path": f"/config/devices/device/{device.id}",
                },
            },
            *(_tile(entity) for entity in device.entities),
            {
                "type": "logbook",
                "target": {"entity_id": device.entities},
                "hours_to_show": 24,
                "grid_options": {"columns": "full", "rows": 6},
            },
        ],
    }


def _tile(entity: str) -> dict[str, Any]:
    tile: dict[str, Any] = {"type": "tile", "entity": entity}
    if _is_lock(entity):
        return tile | {
            "features": [{"type": "lock-commands"}, {"type": "lock-open-door"}],
            "state_content": ["state", "changed_by", "last_changed"],
            "grid_options": {"columns": 12},
        }
    return tile | {"name": {"type": "entity"}, "grid_options": {"columns": 6}}


def _server_section(entities: list[str]) -> dict[str, Any]:
    return {
        "type": "grid",
        "cards": [
            {"type": "heading", "heading": "Remote access", "icon": "mdi:earth"},
            *(_tile(entity) for entity in entities),
            {
                "type": "markdown",
                "content": (
                    "The server passes sealed messages on and reads none of them. The terminal says"
                    " how to be the guest who was invited.\n\nTo invite somebody else: the gear of a person"
                    f" in [People](/config/integrations/integration/{DOMAIN}), then *Invite a phone*.\n"
                ),
            },
        ],
    }


def _pairing_section(simulator_url: str) -> dict[str, Any]:
    return {
        "type": "grid",
        "cards": [
            {"type": "heading", "heading": "A lock waits to be paired", "icon": "mdi:bluetooth"},
            {
                "type": "markdown",
                "content": (
                    "Home Assistant has found it over Bluetooth.\n\n"
                    "1. Open [Devices & services](/config/integrations/dashboard) and choose"
                    " **Add** on the lock that was discovered.\n"
                    "2. Type the setup code on its label: the terminal shows it, and so does"
                    f" [the simulator's page]({simulator_url}/).\n\n"
                    "Nothing there? Press the button inside (simulator: **Press button**): a new lock"
                    " can be paired for ten minutes after that.\n"
                ),
            },
        ],
    }


def _domain(entity: str) -> str:
    domain = entity.partition(".")[0]
    return domain if domain in _ORDER else _ORDER[-1]


def _is_lock(entity: str) -> bool:
    return entity.startswith("lock.")
