"""What Home Assistant's own check (hassfest) asks of an integration's files, as far as it can be asked here.

hassfest is not on the package index. It is run by the workflow on GitHub; this is written after its rules and stricter
in places: every text is used, every key that the code names has its text, and the keys are in order.

    python -m scripts.checks [FOLDER]     checks an integration, by default this repository's; status 1 if something is wrong

Each finding names the file and the key and says what to do.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from homeassistant.exceptions import HomeAssistantError
from homeassistant.util.yaml import load_yaml_dict

ROOT = Path(__file__).resolve().parents[2]
INTEGRATION = ROOT / "custom_components" / "igrs_lock"


@dataclass(frozen=True, order=True)
class Finding:
    """Something that is wrong: in which file, at which key, and what to do about it."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.file}: {self.key}: {self.text}" if self.key else f"{self.file}: {self.text}"


@dataclass
class Files:
    """The files of an integration. One that cannot be read is empty, and a finding."""

    folder: Path
    unreadable: list[Finding] = field(default_factory=list)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """manifest.json."""
        return self._json("manifest.json")

    @cached_property
    def texts(self) -> dict[str, Any]:
        """The English texts: custom integrations have no strings.json."""
        return self._json("translations/en.json")

    @cached_property
    def icons(self) -> dict[str, Any]:
        """icons.json."""
        return self._json("icons.json")

    @cached_property
    def services(self) -> dict[str, Any]:
        """services.yaml."""
        return self._yaml("services.yaml")

    @cached_property
    def scale(self) -> dict[str, Any]:
        """quality_scale.yaml."""
        return self._yaml("quality_scale.yaml")

    def other_languages(self) -> dict[str, dict[str, Any]]:
        """Return the texts in other languages, by file."""
        return {
            f"translations/{path.name}": self._json(f"translations/{path.name}")
            for path in sorted((self.folder / "translations").glob("*.json"))
            if path.name != "en.json"
        }

    def _json(self, name: str) -> dict[str, Any]:
        try:
            read = json.loads((self.folder / name).read_text("utf-8"))
        except (OSError, ValueError) as err:
            self.unreadable.append(Finding(name, "", f"cannot be read: {err}"))
            return {}
        if not isinstance(read, dict):
            self.unreadable.append(Finding(name, "", "must be an object"))
            return {}
        return read

    def _yaml(self, name: str) -> dict[str, Any]:
        try:
            return load_yaml_dict(str(self.folder / name))
        except (OSError, HomeAssistantError) as err:
            self.unreadable.append(Finding(name, "", f"cannot be read: {err}"))
            return {}
