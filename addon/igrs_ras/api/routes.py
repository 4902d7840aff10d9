"""All routes of the public interface, in the order of the document."""

from igrs_ras.api import gateways, joins, locks, me, meta, push, sessions, sites, users
from igrs_ras.api.route import Route

ROUTES: list[Route] = [
    *meta.table.routes,
    *users.table.routes,
    *sessions.table.routes,
    *me.table.routes,
    *sites.table.routes,
    *locks.table.routes,
    *joins.table.routes,
    *push.table.routes,
    *gateways.table.routes,
]
