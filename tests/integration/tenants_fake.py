"""Temporary stand-in for the log."""
from dataclasses import dataclass
from typing import Any
from custom_components.igrs_lock import ilp
from custom_components.igrs_lock.coordinator import IgrsLockCoordinator
from custom_components.igrs_lock.sync import Job

@dataclass(frozen=True)
class LogEntry:
    counter: int
    event: Any
    slot: int
    source: Any
    bolt: Any
    door: Any
    detail: int
    timestamp: int

STORE: dict[str, list[LogEntry]] = {}

class FakeLog:
    def __init__(self, coordinator: Any) -> None:
        self.c = coordinator
        self.entries = STORE.setdefault(coordinator.device_id, [])
        self.cbs: list[Any] = []
    def async_listen(self, cb: Any) -> Any:
        self.cbs.append(cb)
        return lambda: self.cbs.remove(cb)
    def async_heard(self, _adv: Any) -> None:
        if _adv.log_bits != getattr(self, "bits", None):
            self.bits = _adv.log_bits
            self.c.sync.nudge(Job.LOG)
    async def async_read(self) -> None:
        while True:
            after = self.entries[-1].counter if self.entries else 0
            (reply,) = await self.c.async_request(ilp.requests.get_log(after))
            page = ilp.LogPage.of(reply)
            new = [LogEntry(r.counter, r.event, r.slot, r.source, r.bolt, r.door, r.detail, r.timestamp) for r in page.records]
            if not after:
                at = max((i for i, r in enumerate(new) if r.event == ilp.Event.PAIRED), default=0)
                new = new[at:]
            if after and page.oldest > after:
                new.insert(0, LogEntry(page.oldest - 1, None, 254, 0, 0, 0, 0, 0))
            self.entries += new
            for entry in new:
                for cb in list(self.cbs):
                    cb(entry)
            if not page.records or page.records[-1].counter >= page.newest:
                return

def install(monkeypatch: Any) -> None:
    from custom_components.igrs_lock import coordinator as m
    from custom_components.igrs_lock.accounts import AccountKeeper
    STORE.clear()
    if hasattr(m, "LockLog"):
        return
    init, start, adv = IgrsLockCoordinator.__init__, IgrsLockCoordinator.async_start, IgrsLockCoordinator._async_advertised
    def new_init(self: Any, *args: Any) -> None:
        init(self, *args)
        self.log = FakeLog(self)
        self.accounts = AccountKeeper(self.hass, self, self.home)
    def new_start(self: Any) -> Any:
        stop = start(self)
        self.sync.register(Job.LOG, self.log.async_read)
        self._on_stop.append(self.accounts.async_start())
        return stop
    def new_adv(self: Any, advertisement: Any, *args: Any) -> None:
        adv(self, advertisement, *args)
        self.log.async_heard(advertisement)
    monkeypatch.setattr(IgrsLockCoordinator, "__init__", new_init)
    monkeypatch.setattr(IgrsLockCoordinator, "async_start", new_start)
    monkeypatch.setattr(IgrsLockCoordinator, "_async_advertised", new_adv)
