"""Run all checks and print what they find."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import (
    INTEGRATION,
    ROOT,
    Files,
    Finding,
    app,
    blueprints,
    code,
    icons,
    manifest,
    scale,
    services,
    texts,
)


def findings(folder: Path, source: code.Source | None = None) -> list[Finding]:
    """Return everything that is wrong with an integration, in order; `source` if it was read before."""
    files = Files(folder)
    source = source or code.Source.read(folder)
    found = {
        *manifest.check(files),
        *services.check(files),
        *texts.check(files),
        *icons.check(files),
        *scale.check(files),
        *code.check(files, source),
        *files.unreadable,
    }
    if folder == INTEGRATION:
        found |= {
            *blueprints.check(ROOT / "blueprints"),
            *scale.check_table(files, ROOT),
            *app.check(ROOT),
        }
    return sorted(found)


def main() -> int:
    """Check the folder that is given, or this repository's integration."""
    parser = argparse.ArgumentParser(prog="python -m scripts.checks", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=INTEGRATION)
    found = findings(parser.parse_args().folder.resolve())
    for finding in found:
        print(finding, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
