"""A real Home Assistant in the bench's own process, as `hass` would start it, and where its times come from."""

import asyncio
import importlib.util
import logging
import math
import statistics
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from homeassistant import bootstrap, runner

from simulator.demo.ha_config import STAND_INS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Sequence
    from pathlib import Path

    from homeassistant.core import HomeAssistant


@asynccontextmanager
async def home_assistant(config: Path) -> AsyncIterator[HomeAssistant]:
    """Start Home Assistant on a configuration folder, and stop it at the end."""
    # The demo's settings write debug lines, which nobody pays for in a home.
    logging.disable(logging.ERROR)
    for name in ("pymicro_vad", "pyspeex_noise"):
        if importlib.util.find_spec(name) is None:
            sys.path.append(str(STAND_INS / name))
    hass = await bootstrap.async_setup_hass(
        runner.RuntimeConfig(config_dir=str(config), skip_pip=True)
    )
    if hass is None:
        raise RuntimeError(f"Home Assistant did not start: see {config / 'home-assistant.log'}")
    sys.excepthook = sys.__excepthook__  # Home Assistant's writes to the log, which is off
    await hass.async_start()
    try:
        yield hass
    finally:
        await hass.async_stop(force=True)


def run[T](main: Coroutine[object, object, T]) -> T:
    """Run on the event loop that Home Assistant makes for itself."""
    with asyncio.Runner(loop_factory=runner.create_event_loop) as loop:
        return loop.run(main)


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile; not a number where there are no values."""
    if not values:
        return math.nan
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, the first to the left, others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells))
