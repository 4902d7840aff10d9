"""YAML examples of the documents, as a reader would copy them."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from homeassistant.setup import async_setup_component
from homeassistant.util import yaml as yaml_util

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from homeassistant.core import HomeAssistant
    from world import TestLock

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```yaml\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A code block, known by the alias or name of what it makes."""

    name: str
    text: str

    def config(self, lock: TestLock | None = None) -> dict[str, Any]:
        """Read it; the names of *Front door* become those of a lock."""
        text = self.text if lock is None else self.text.replace("front_door", lock.entity)
        read = yaml_util.parse_yaml(text)
        assert isinstance(read, dict)
        return read

    async def set_up(self, hass: HomeAssistant, lock: TestLock) -> None:
        """Put it into Home Assistant's configuration."""
        for domain, config in self.config(lock).items():
            assert await async_setup_component(hass, domain, {domain: config})
        await hass.async_block_till_done()


def examples(document: str) -> Iterator[Example]:
    """Yield the examples of a document, by its path in the repository."""
    for block in _BLOCK.finditer((ROOT / document).read_text("utf-8")):
        ((domain, items),) = yaml_util.parse_yaml(block["text"]).items()  # type: ignore[union-attr]
        match domain:
            case "automation":
                name = items[0]["alias"]
            case "template":
                name = items[0]["sensor"][0]["name"]
            case _:
                (name,) = items
        yield Example(name, block["text"])


class Runs:
    """Examples of a document that tests have asked for."""

    def __init__(self, document: str) -> None:
        self.examples = {example.name: example for example in examples(document)}
        self.asked: set[str] = set()

    def __call__[F: Callable[..., Any]](self, name: str) -> Callable[[F], F]:
        """Note which example a test runs."""
        self.asked.add(name)
        return lambda test: test

    def __getitem__(self, name: str) -> Example:
        assert name in self.asked
        return self.examples[name]
