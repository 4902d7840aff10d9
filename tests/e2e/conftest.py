"""The demo as its users run it: processes, a browser, and what is left behind."""

import sys
from typing import TYPE_CHECKING

import pytest
from terminal import ROOT, Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, and have short tests follow it: a worker keeps the next one, and all others are shared."""
    items.sort(
        key=lambda item: (
            item.get_closest_marker("timeout") is None,
            "simulator_page" not in item.nodeid,
        )
    )


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts demos at a terminal, all on the same folder."""
    started: list[Terminal] = []

    def start(*arguments: str) -> Terminal:
        started.append(Terminal(list(arguments), tmp_path / "demo"))
        return started[-1]

    yield start
    for terminal in started:
        terminal.close()
