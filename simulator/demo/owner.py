"""What an owner does in Home Assistant's dialogs: connects a server, chooses locks, adds people and invites them."""

from typing import TYPE_CHECKING, Any, Final

from .dashboard import DOMAIN
from .errors import DemoError

if TYPE_CHECKING:
    from .client import Client
    from .ras import Place

PEOPLE_TITLE: Final = "People"
"""The entry with everybody in it."""


async def connect(client: Client, url: str, place: Place) -> str:
    """Connect Home Assistant to a server, comparing the key as a careful owner does; the entry's ID.

    Raises DemoError when the dialog says something else than expected, as all of these do.
    """
    step = await client.start_flow(DOMAIN)
    step = await client.continue_flow(step["flow_id"], {"next_step_id": "server"})
    step = await client.continue_flow(step["flow_id"], {"url": url, "code": place.code})
    _asks(step, "server_confirm")
    shown = step["description_placeholders"]["fingerprint"]
    if shown != place.fingerprint:
        raise DemoError(f"Home Assistant shows the key {shown}, the server has {place.fingerprint}")
    step = await client.continue_flow(step["flow_id"], suggested(step))
    if step["type"] != "create_entry":
        raise DemoError(f"the dialog made no entry for the server: {_said(step)}")
    entry_id: str = step["result"]["entry_id"]
    return entry_id


async def make_reachable(client: Client, server_entry: str, locks: list[str]) -> None:
    """Choose which locks are reachable through the server, by their device identifiers."""
    step = await client.start_flow(DOMAIN, server_entry)
    step = await client.continue_flow(step["flow_id"], {"next_step_id": "server_locks"})
    _asks(step, "server_locks")
    step = await client.continue_flow(step["flow_id"], {"locks": locks})
    _ended(step, "server_locks_saved")


async def people_entry(client: Client) -> str:
    """The ID of the entry with everybody in it."""
    for entry in await client.entries(DOMAIN):
        if entry["title"] == PEOPLE_TITLE:
            found: str = entry["entry_id"]
            return found
    raise DemoError("Home Assistant has no entry for people")


async def add_person(client: Client, name: str, kind: str, locks: list[str], pin: str = "") -> str:
    """Add somebody for some locks, otherwise as the dialog suggests; the person's ID."""
    people = await people_entry(client)
    step = await client.start_subentry_flow(people, "person")
    choice = "pin_type" if pin else "no_pin"
    answers: list[tuple[str, dict[str, Any] | None]] = [
        ("user", {"name": name, "kind": kind, "locks": locks}),
        ("details", None),
        ("pin", {"next_step_id": choice}),
    ]
    if pin:
        answers.append(("pin_type", {"pin": pin}))
    for asked, answer in answers:
        _asks(step, asked)
        given = suggested(step) if answer is None else answer
        step = await client.continue_subentry_flow(step["flow_id"], given)
    if step["type"] != "create_entry":
        raise DemoError(f"the dialog added nobody: {_said(step)}")
    for person in await client.subentries(people):
        if person["title"] == name:
            found: str = person["subentry_id"]
            return found
    raise DemoError(f"{name} was not added")


async def invite(client: Client, person: str) -> str:
    """Invite a phone of somebody; the link, which lets in who opens it first."""
    step = await client.start_subentry_flow(await people_entry(client), "person", person)
    step = await client.continue_subentry_flow(step["flow_id"], {"next_step_id": "invite"})
    _asks(step, "invite")
    step = await client.continue_subentry_flow(step["flow_id"], suggested(step))
    _asks(step, "invite_link")
    link: str = step["description_placeholders"]["link"]
    _ended(await client.continue_subentry_flow(step["flow_id"], {}), "invited")
    return link


async def remove_person(client: Client, person: str) -> None:
    """Remove somebody for good."""
    await client.command(
        "config_entries/subentries/delete",
        entry_id=await people_entry(client),
        subentry_id=person,
    )


def suggested(form: dict[str, Any]) -> dict[str, Any]:
    """What a form shows before anybody types: what somebody sends who only presses *Submit*."""
    values = {}
    for field in form["data_schema"]:
        value = field.get("description", {}).get("suggested_value", field.get("default"))
        if value is not None:
            values[field["name"]] = value
    return values


def _asks(step: dict[str, Any], step_id: str) -> None:
    if step.get("step_id") != step_id or step.get("errors"):
        raise DemoError(f"the dialog does not ask for {step_id}: {_said(step)}")


def _ended(step: dict[str, Any], reason: str) -> None:
    if step.get("reason") != reason:
        raise DemoError(f"the dialog did not end with {reason}: {_said(step)}")


def _said(step: dict[str, Any]) -> str:
    """What a dialog answered, in short and without what was typed."""
    return f"{step['type']} {step.get('step_id') or step.get('reason')} {step.get('errors') or ''}"
