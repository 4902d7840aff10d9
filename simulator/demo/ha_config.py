"""The configuration folder that Home Assistant starts with in the demo.

Everything a person would click through once is written beforehand, in the form Home Assistant itself stores it: port,
finished onboarding, and the owner signed in automatically on loopback.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]
INTEGRATION = ROOT / "custom_components" / "igrs_lock"
BLUEPRINTS = ROOT / "blueprints" / "automation" / "igrs_lock"
VIRTUAL_ADAPTER = ROOT / "simulator" / "virtual_ble"
STAND_INS = Path(__file__).parent / "stand_ins"


@dataclass(frozen=True)
class Adapter:
    """A virtual Bluetooth adapter: where its HCI is offered, and the gateway's name on the radio."""

    port: int
    name: str


_CONFIGURATION = """\
# Written by the demo at every start: changes made here are lost.
homeassistant:
  name: IGRS Lock demo
  latitude: 51.4779
  longitude: 0.0
  elevation: 47
  unit_system: metric
  country: GB
  currency: EUR
  language: en
  time_zone: UTC
  auth_providers:
    # Nobody else reaches the loopback of this machine, and Home Assistant listens nowhere else.
    - type: trusted_networks
      trusted_networks:
        - 127.0.0.1/32
      allow_bypass_login: true
    - type: homeassistant
automation: !include automations.yaml
frontend:
history:
logbook:
recorder:
script: !include scripts.yaml
logger:
  default: warning
  logs:
    custom_components.igrs_lock: debug
    custom_components.virtual_ble: info
    homeassistant.core: info
"""


def write(folder: Path, port: int, adapters: Iterable[Adapter]) -> None:
    """Write what Home Assistant reads at its start into `folder`.

    A folder of an earlier run keeps everything that Home Assistant stored there; only the addresses that change from
    run to run are written anew.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["virtual_ble:"]
    for adapter in adapters:
        lines += ["  - host: 127.0.0.1", f"    port: {adapter.port}", f"    name: {adapter.name}"]
    (folder / "configuration.yaml").write_text(_CONFIGURATION + "\n".join(lines) + "\n")
    # A restart that is interrupted leaves this file, which makes the next start a restricted one.
    (folder / ".HA_SAFE_MODE").unlink(missing_ok=True)
    # A package of its own, also where the checkout's folder of that name can be imported (benches).
    (folder / "custom_components").mkdir(exist_ok=True)
    (folder / "custom_components" / "__init__.py").touch()
    _link(folder / "custom_components" / "igrs_lock", INTEGRATION)
    _link(folder / "custom_components" / "virtual_ble", VIRTUAL_ADAPTER)
    # As after an import, which would need the network. A copy: Home Assistant may write to it.
    shutil.copytree(
        BLUEPRINTS, folder / "blueprints" / "automation" / "igrs_lock", dirs_exist_ok=True
    )
    for made in ("automations.yaml", "scripts.yaml"):
        (folder / made).touch()
    _write_storage(
        folder,
        "http",
        version=2,
        minor_version=2,
        data={
            "stable": {
                "server_host": ["127.0.0.1"],
                "server_port": port,
                "cors_allowed_origins": [],
                "login_attempts_threshold": -1,
                "ip_ban_enabled": False,
                "ssl_profile": "modern",
                "use_x_frame_options": True,
                "created_at": "2026-01-01T00:00:00+00:00",
                "error": None,
                "error_message": None,
            },
            "pending": None,
            "yaml_migration_done": True,
        },
    )
    if not (folder / ".storage" / "onboarding").exists():
        # The step left out makes the owner. The others ask about the home and start flows that want the network.
        _write_storage(
            folder,
            "onboarding",
            version=4,
            data={"done": ["core_config", "analytics", "integration"]},
        )
    if not (folder / ".storage" / "igrs_lock").exists():
        # The simulated locks live by this machine's clock, so for them it is right by definition:
        # without this word, machines without a time service would show a repair that asks for it.
        _write_storage(folder, "igrs_lock", version=1, data={"locks": {}, "clock_vouched": True})


def _write_storage(
    folder: Path, key: str, *, version: int, minor_version: int = 1, data: dict[str, Any]
) -> None:
    path = folder / ".storage" / key
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"version": version, "minor_version": minor_version, "key": key, "data": data})
    )
    path.chmod(0o600)


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)
    path.symlink_to(target, target_is_directory=True)
