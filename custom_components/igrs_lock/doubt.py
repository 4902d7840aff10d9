"""What is done about packets of a lock that change nothing: a wrong tag, or an old counter."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from homeassistant.config_entries import SOURCE_REAUTH, SOURCE_RECONFIGURE
from homeassistant.core import callback
from homeassistant.helpers import issue_registry as ir

from .const import DOMAIN, ISSUE_RESET_ELSEWHERE, RESET_SILENCE
from .errors import OperationError
from .ilp import AdvertisementKey, Header, IlpError, Status, requests

if TYPE_CHECKING:
    import asyncio

    from .coordinator import IgrsLockCoordinator

_LOGGER = logging.getLogger(__name__)


class Doubt:
    """Asks the lock itself where its advertisements cannot be trusted (ILP1 section 2)."""

    def __init__(self, coordinator: IgrsLockCoordinator) -> None:
        self._coordinator = coordinator
        self._task: asyncio.Task[None] | None = None

    @callback
    def async_take(self, data: bytes, now: float, silent: float) -> None:
        """Take a doubtful packet, `silent` seconds after the last authentic one."""
        self.async_ask(now)
        if silent < RESET_SILENCE:
            return
        try:
            header = Header.parse(data)
        except IlpError:
            return
        coordinator = self._coordinator
        if (
            header.setup_mode
            and not header.tagged
            # Somebody is about to pair it.
            and all(
                flow.get("step_id") == "who"  # that one comes after a pairing
                for flow in coordinator.config_entry.async_get_active_flows(
                    coordinator.hass, {SOURCE_REAUTH, SOURCE_RECONFIGURE}
                )
            )
        ):
            ir.async_create_issue(
                coordinator.hass,
                DOMAIN,
                self._reset_issue,
                is_fixable=True,
                severity=ir.IssueSeverity.WARNING,
                translation_key=ISSUE_RESET_ELSEWHERE,
                translation_placeholders={"name": coordinator.config_entry.title},
                data={"entry_id": coordinator.config_entry.entry_id},
            )

    @callback
    def async_dispel(self) -> None:
        """Take that the lock was heard for certain."""
        ir.async_delete_issue(self._coordinator.hass, DOMAIN, self._reset_issue)

    @property
    def _reset_issue(self) -> str:
        return f"{ISSUE_RESET_ELSEWHERE}_{self._coordinator.device_id}"

    @callback
    def async_ask(self, now: float) -> None:
        """Ask for the status if that is due."""
        coordinator = self._coordinator
        if coordinator.tracker.ask_due(now) and (self._task is None or self._task.done()):
            coordinator.tracker.asked(now)
            self._task = coordinator.config_entry.async_create_background_task(
                coordinator.hass, self._async_ask(), f"{coordinator.config_entry.title} status"
            )

    @callback
    def async_give_way(self) -> None:
        """Ask no more: a person goes first."""
        if self._task is not None:
            self._task.cancel()

    async def _async_ask(self) -> None:
        coordinator = self._coordinator
        counter = coordinator.tracker.counter
        try:
            status, key = await coordinator.operator.async_ask(
                requests.get_status(), requests.get_advertisement_key()
            )
            epoch = AdvertisementKey.of(key).epoch
            if epoch != coordinator.tracker.epoch:
                coordinator.tracker.set_epoch(epoch)
            # An advertisement may have overtaken the answer.
            down = coordinator.tracker.counter == counter
            answer = Status.of(status)
            if down and counter is not None and answer.counter < counter:
                # What was heard under the higher ones was not the lock, or of before it lost them.
                coordinator.log.async_forget_heard()
            coordinator.async_answered(answer, down=down)
        except (OperationError, IlpError) as err:
            _LOGGER.debug("%s: no status: %s", coordinator.config_entry.title, err)
