"""What verbs share: their register, and how they find things."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select

from igrs_ras.control import REFUSED, VerbError
from igrs_ras.storage.tables import sites

if TYPE_CHECKING:
    from igrs_ras.ras import Ras

type Arguments = Mapping[str, Any]
type Verb = Callable[[Ras, Arguments], Awaitable[dict[str, Any]]]

MOST = 10_000  # rows of a list

VERBS: dict[str, Verb] = {}


def verb(name: str) -> Callable[[Verb], Verb]:
    """Register a verb."""

    def register(function: Verb) -> Verb:
        VERBS[name] = function
        return function

    return register


def confirmed(arguments: Arguments, what: str) -> None:
    """Raise VerbError unless the operator said yes to what cannot be undone."""
    if not arguments.get("yes"):
        raise VerbError(REFUSED, f"{what}: add --yes to do it")


def count(connection: Connection, table: Any, *where: Any) -> int:
    """Return how many rows there are."""
    return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


def site_row(connection: Connection, identifier: str) -> Any:
    """Return a site's row. Raises VerbError."""
    row = connection.execute(select(sites).where(sites.c.id == identifier)).first()
    if row is None:
        raise VerbError(REFUSED, "there is no such site: see igrs-ras site list")
    return row
