"""Starts `igrs-ras` in the image: the command itself, and before it what only an app of Home Assistant needs.

In the app, the Supervisor writes the options to /data/options.json and gives a token in the environment. From the
options come the settings; which addresses are listened on is not the user's choice, since the Supervisor's network and
`config.yaml` fix them. Outside Home Assistant nothing is changed: settings come from the environment or a file.
"""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from igrs_ras.settings import PREFIX
from igrs_ras.supervisor import TOKEN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

OPTIONS: Final = Path("/data/options.json")
CERTIFICATES: Final = Path("/ssl")

# As config.yaml has it: the public port, the two that are never published, and one for the container itself.
PUBLIC: Final = "0.0.0.0:8443"
LOCAL: Final = "0.0.0.0:8098"
INGRESS: Final = "0.0.0.0:8099"
METRICS: Final = "127.0.0.1:9190"


def environment() -> dict[str, str]:
    """Return the settings of the app as environment variables, which go over the file of options.

    The public listener stays shut until it has a certificate or a proxy that may stand before it. Certificates are
    named as elsewhere in Home Assistant: relative to its folder of certificates. Options that cannot be read are left
    to the settings' own check, which says what is wrong.
    """
    given = _options()
    found = {
        "CONFIG": str(OPTIONS),
        "DATA": str(OPTIONS.parent),
        "LISTEN": PUBLIC if given.get("certfile") or given.get("trusted_proxies") else "",
        "LOCAL_LISTEN": LOCAL,
        "INGRESS_LISTEN": INGRESS,
        "METRICS_LISTEN": METRICS,
        "LOG_FORMAT": "text",  # people read it on the app's page
    }
    for name in ("certfile", "keyfile"):
        if isinstance(file := given.get(name), str) and file:
            found[name.upper()] = str(CERTIFICATES / file)
    return {f"{PREFIX}{name}": value for name, value in found.items()}


def _options() -> Mapping[str, Any]:
    try:
        read = json.loads(OPTIONS.read_bytes())
    except OSError, ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _keep_copy() -> None:
    """Leave a copy behind: a backup of an app that does not run takes what is there, and not the live database."""
    from igrs_ras import offline  # noqa: PLC0415  the whole server
    from igrs_ras.control import VerbError  # noqa: PLC0415
    from igrs_ras.settings import load  # noqa: PLC0415

    copy = {"file": str(OPTIONS.parent / offline.PUT_BACK), "replace": True, "passphrase": None}
    try:
        offline.alone(load(), "backup", copy)
    except VerbError as error:
        sys.stderr.write(f"igrs-ras: no copy for backups could be left: {error.text}\n")


def main() -> int:
    """Run `igrs-ras` with this process's arguments and return its exit status."""
    # Late, since it reads the settings' environment.
    from igrs_ras.cli import main as igrs_ras  # noqa: PLC0415

    if not os.environ.get(TOKEN_VARIABLE):
        return igrs_ras()
    os.environ.update(environment())
    status = igrs_ras()
    if status == 0 and sys.argv[1:] == ["serve"]:
        _keep_copy()
    return status


if __name__ == "__main__":
    sys.exit(main())
