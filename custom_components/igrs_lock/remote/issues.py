"""What the owner has to know of a remote access server: repairs, gone by themselves when mended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from homeassistant.config_entries import SOURCE_REAUTH
from homeassistant.core import CALLBACK_TYPE, HassJob, HomeAssistant, callback
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.event import async_call_later

from ..const import DOMAIN, OUT_OF_REACH_AFTER
from .chain import Problem
from .link import Down

if TYPE_CHECKING:
    from datetime import datetime

    from homeassistant.config_entries import ConfigEntry

    from .gateway import Gateway

ISSUE_AUDIT_CUT: Final = "server_audit_cut"
ISSUE_AUDIT_FORKED: Final = "server_audit_forked"
ISSUE_AUDIT_SIGNATURE: Final = "server_audit_signature"
ISSUE_CERTIFICATE: Final = "server_certificate"
ISSUE_CLOCK: Final = "server_clock_off"
ISSUE_COPIED: Final = "server_copied"
ISSUE_FALSE_CHECKPOINT: Final = "server_false_checkpoint"
ISSUE_KEY_CHANGED: Final = "server_key_changed"
ISSUE_NO_ADDRESS: Final = "server_no_address"
ISSUE_NOT_REACHED: Final = "server_not_reached"
ISSUE_NOT_A_SERVER: Final = "server_not_a_server"
ISSUE_REFUSED: Final = "server_refused"
ISSUE_RESTORED: Final = "server_restored"
ISSUE_REVOKED: Final = "server_revoked"
ISSUE_UNREACHABLE: Final = "server_unreachable"

_AT_ONCE: Final = {
    Down.COPY: ISSUE_COPIED,
    Down.FALSE_CHECKPOINT: ISSUE_FALSE_CHECKPOINT,
    Down.KEY_CHANGED: ISSUE_KEY_CHANGED,
    Down.REFUSED: ISSUE_REFUSED,
    Down.REVOKED: ISSUE_REVOKED,
}
_NEW_CODE: Final = frozenset((ISSUE_COPIED, ISSUE_FALSE_CHECKPOINT, ISSUE_REFUSED, ISSUE_REVOKED))
"""These are mended by a new enrolment: their repair begins the dialog for its code."""
_AFTER_A_WHILE: Final = {
    Down.NOT_A_SERVER: ISSUE_NOT_A_SERVER,
    Down.TLS: ISSUE_CERTIFICATE,
}
"""Everything else that lasts for an hour is `ISSUE_UNREACHABLE`."""
_NO_LINK: Final = (*_AT_ONCE.values(), *_AFTER_A_WHILE.values(), ISSUE_UNREACHABLE)
_PUBLIC: Final = (ISSUE_NO_ADDRESS, ISSUE_NOT_REACHED)
_AUDIT: Final = {
    Problem.CUT: ISSUE_AUDIT_CUT,
    Problem.FORKED: ISSUE_AUDIT_FORKED,
    Problem.SIGNATURE: ISSUE_AUDIT_SIGNATURE,
}
SERVER_ISSUES: Final = (*_NO_LINK, *_PUBLIC, *_AUDIT.values(), ISSUE_RESTORED, ISSUE_CLOCK)
"""Each is `<this>_<entry id>` in the registry."""

_LOOK: Final = 600.0
"""Seconds between two looks whether people have reached the server."""


@callback
def async_delete_issues(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Delete the issues of a server that is gone or disabled."""
    for issue in SERVER_ISSUES:
        ir.async_delete_issue(hass, DOMAIN, f"{issue}_{entry.entry_id}")


class ServerIssues:
    """Raises and deletes what is to be known of one server."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._down: Down | None = None
        self._cancel_hour: CALLBACK_TYPE | None = None
        self._cancel_look: CALLBACK_TYPE | None = None

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Begin; returns what ends it."""
        self._delete(ISSUE_CLOCK)  # it is told again if it is still so
        self.stored_changed()
        if self._gateway.enabled:
            self._arm_hour()

        @callback
        def stop() -> None:
            self._disarm()

        return stop

    @callback
    def _disarm(self) -> None:
        for name in ("_cancel_hour", "_cancel_look"):
            if (cancel := getattr(self, name)) is not None:
                cancel()
                setattr(self, name, None)

    # --- the link -------------------------------------------------------------------------------

    @callback
    def linked(self) -> None:
        """Take back what is mended by a link; look whether people can reach the server."""
        self._disarm()
        for issue in _NO_LINK:
            self._delete(issue)
        hass, entry = self._gateway.hass, self._gateway.entry
        for flow in [*entry.async_get_active_flows(hass, {SOURCE_REAUTH})]:
            hass.config_entries.flow.async_abort(flow["flow_id"])  # no code is wanted any more
        welcome = self._gateway.welcome
        if welcome is not None and welcome.public_url and not welcome.reached:
            # This home's own look may be all that is missing.
            self._gateway.entry.async_create_background_task(
                self._gateway.hass, self._gateway.async_look_public(), "public address"
            )
        else:
            self.public_changed()

    @callback
    def unlinked(self, down: Down) -> None:
        """Tell at once what does not mend itself, and what lasts after an hour."""
        self._down = down
        if self._cancel_look is not None:
            self._cancel_look()
            self._cancel_look = None
        if down is Down.STOPPED:
            return
        if (issue := _AT_ONCE.get(down)) is not None:
            self._raise(issue, fixable=issue in _NEW_CODE)
        self._arm_hour()

    @callback
    def switched_off(self) -> None:
        """Nothing is wanted of the server, so nothing is wrong with it; who else uses its key is."""
        self._disarm()
        for issue in (*_AFTER_A_WHILE.values(), ISSUE_UNREACHABLE, ISSUE_CLOCK, *_PUBLIC):
            self._delete(issue)

    @callback
    def switched_on(self) -> None:
        """Wait for the link again."""
        self._arm_hour()

    @callback
    def _arm_hour(self) -> None:
        if self._cancel_hour is None:
            self._cancel_hour = async_call_later(
                self._gateway.hass,
                OUT_OF_REACH_AFTER,
                HassJob(self._hour_over, cancel_on_shutdown=True),
            )

    @callback
    def _hour_over(self, _now: datetime) -> None:
        # Stays armed in name: once told it is not told again before the next link.
        down = self._down or Down.UNREACHABLE
        if down not in _AT_ONCE:
            self._raise(_AFTER_A_WHILE.get(down, ISSUE_UNREACHABLE))

    # --- its public address ---------------------------------------------------------------------

    @callback
    def public_changed(self) -> None:
        """Tell that nobody can be invited yet, and why; look again in a while."""
        welcome = self._gateway.welcome
        if welcome is None:
            return
        set_, reached = bool(welcome.public_url), welcome.reached
        self._show(ISSUE_NO_ADDRESS, wanted=not set_)
        self._show(ISSUE_NOT_REACHED, wanted=set_ and not reached, url=welcome.public_url)
        if not (set_ and reached) and self._cancel_look is None:
            self._cancel_look = async_call_later(
                self._gateway.hass, _LOOK, HassJob(self._async_look, cancel_on_shutdown=True)
            )

    async def _async_look(self, _now: datetime) -> None:
        self._cancel_look = None
        await self._gateway.async_look_public()

    # --- clock and record -----------------------------------------------------------------------

    @callback
    def clock_off(self, seconds: int | None) -> None:
        """Tell that the two clocks differ."""
        self._show(ISSUE_CLOCK, wanted=seconds is not None, seconds=str(abs(seconds or 0)))

    @callback
    def stored_changed(self) -> None:
        """Tell what is stored until the owner knows it: a restore, a record that was changed."""
        store = self._gateway.store
        self._show(ISSUE_RESTORED, wanted=bool(store.restored), fixable=True)
        kind = None if store.audit_problem is None else store.audit_problem["kind"]
        for problem, issue in _AUDIT.items():
            self._show(issue, wanted=kind == problem.value, fixable=True)

    # --- the registry ---------------------------------------------------------------------------

    @callback
    def _show(
        self, issue: str, *, wanted: bool, fixable: bool = False, **placeholders: str
    ) -> None:
        if wanted:
            self._raise(issue, fixable=fixable, **placeholders)
        else:
            self._delete(issue)

    @callback
    def _raise(self, issue: str, *, fixable: bool = False, **placeholders: str) -> None:
        entry = self._gateway.entry
        ir.async_create_issue(
            self._gateway.hass,
            DOMAIN,
            f"{issue}_{entry.entry_id}",
            is_fixable=fixable,
            severity=ir.IssueSeverity.WARNING,
            translation_key=issue,
            translation_placeholders={"name": entry.title, **placeholders},
            data={"entry_id": entry.entry_id},
        )

    @callback
    def _delete(self, issue: str) -> None:
        ir.async_delete_issue(self._gateway.hass, DOMAIN, f"{issue}_{self._gateway.entry.entry_id}")
