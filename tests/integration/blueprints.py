"""Blueprints of the repository in Home Assistant's own automation component."""

from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from homeassistant.components.blueprint import models
from homeassistant.components.blueprint.schemas import BLUEPRINT_SCHEMA
from homeassistant.core import ServiceCall, callback
from homeassistant.setup import async_setup_component
from homeassistant.util import yaml as yaml_util

if TYPE_CHECKING:
    from homeassistant.core import HomeAssistant

FOLDER = Path(__file__).resolve().parents[2] / "blueprints" / "automation" / "igrs_lock"


def blueprint(name: str) -> models.Blueprint:
    """Read a blueprint as Home Assistant does."""
    path = FOLDER / f"{name}.yaml"
    return models.Blueprint(
        yaml_util.load_yaml_dict(path), path=str(path), expected_domain="automation",
        schema=BLUEPRINT_SCHEMA,
    )  # fmt: skip


async def automate(hass: HomeAssistant, name: str, **inputs: Any) -> None:
    """Make an automation from a blueprint, as in its dialog: what is not given is the default."""
    with patch.object(
        models.DomainBlueprints, "_load_blueprint", lambda _self, _path: blueprint(name)
    ):
        assert await async_setup_component(
            hass,
            "automation",
            {
                "automation": {
                    "id": name,
                    "alias": name,
                    "use_blueprint": {"path": f"igrs_lock/{name}.yaml", "input": inputs},
                }
            },
        )
        await hass.async_block_till_done()
    state = hass.states.get(f"automation.{name}")
    assert state is not None
    assert state.state == "on", state


async def stop(hass: HomeAssistant) -> None:
    """Let no automation wait for anything any more."""
    if hass.services.has_service("automation", "turn_off"):
        await hass.services.async_call(
            "automation", "turn_off", {"entity_id": "all"}, blocking=True
        )


def listen(
    hass: HomeAssistant, domain: str = "test", service: str = "tell"
) -> list[dict[str, Any]]:
    """Collect what is given to an action, by default to the one that `tell` calls."""
    told: list[dict[str, Any]] = []

    @callback
    def note(call: ServiceCall) -> None:
        told.append(dict(call.data))

    hass.services.async_register(domain, service, note)
    return told


def tell(*names: str) -> list[dict[str, Any]]:
    """Return an action that tells variables of a blueprint to the test."""
    data = {name: f"{{{{ {name} }}}}" for name in names}
    return [{"action": "test.tell", "data": data}]
