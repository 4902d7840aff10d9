"""Progress lines on the terminal, in the manner of `scripts/setup`."""

import sys
import time

_STARTED = time.monotonic()


def say(text: str) -> None:
    """Print one line with the seconds since the start, to standard error."""
    print(f"{time.monotonic() - _STARTED:3.0f}s  {text}", file=sys.stderr, flush=True)
