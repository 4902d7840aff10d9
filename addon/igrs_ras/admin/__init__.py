"""What an operator can do, once: the running server does it for the command line, or the command line by itself.

Each verb is `async def verb(ras, arguments) -> dict`; its data is what `--json` prints. No verb opens a door or lets
anybody in: that is for the homes.
"""

from typing import TYPE_CHECKING, Any

from igrs_ras.admin import people, places, server  # noqa: F401  they register their verbs
from igrs_ras.admin.common import VERBS, Arguments
from igrs_ras.control import NOT_READY, REFUSED, VerbError
from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from igrs_ras.ras import Ras


async def run(ras: Ras, name: str, arguments: Arguments) -> dict[str, Any]:
    """Do a verb. Raises VerbError."""
    try:
        return await VERBS[name](ras, arguments)
    except Refused as error:
        if error.status is Status.NOT_READY:
            text = "the database does not take it now: see the server's log, then try again"
            raise VerbError(NOT_READY, text) from error
        raise VerbError(REFUSED, str(error)) from error
