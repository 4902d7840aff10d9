"""What is known, in words. Nothing is put more surely than it is known."""

from typing import TYPE_CHECKING, Final

from ilp import CONTROLLER_SLOT, UNKNOWN_SLOT, Bolt, Door, Event, Operation, Source

if TYPE_CHECKING:
    from ilp import LogRecord

    from .conversation import Done
    from .state import View

_BOLT: Final = {
    Bolt.UNKNOWN: "bolt not known to the lock",
    Bolt.LOCKED: "locked",
    Bolt.UNLOCKED: "unlocked",
    Bolt.LOCKING: "locking",
    Bolt.UNLOCKING: "unlocking",
    Bolt.JAMMED: "jammed",
    Bolt.OPEN: "open",
}
_DOOR: Final = {Door.CLOSED: "door closed", Door.OPEN: "door open"}
_DONE: Final = {Operation.LOCK: "locked", Operation.UNLOCK: "unlocked", Operation.OPEN: "opened"}
_EVENT: Final = {
    Event.LOCKED: "locked",
    Event.UNLOCKED: "unlocked",
    Event.OPENED: "opened",
    Event.JAMMED: "jammed",
    Event.ACCESS_DENIED: "access denied",
    Event.WRONG_PIN: "wrong PIN",
    Event.TAMPER: "cover opened",
    Event.DOOR_OPENED: "door opened",
    Event.DOOR_CLOSED: "door closed",
    Event.LOW_BATTERY: "low battery",
    Event.ACCOUNT_CHANGED: "account changed",
    Event.RESTARTED: "restarted",
    Event.OPTION_CHANGED: "option changed",
    Event.CLOCK_SET: "clock set",
    Event.PAIRED: "paired",
}
_SOURCE: Final = {
    Source.KEYPAD: "at the keypad",
    Source.BY_HAND: "by hand",
    Source.AUTO_LOCK: "by itself",
    Source.BUTTON: "with the button",
}


def describe(view: View, *, age: bool = True) -> str:
    """Return what may be shown of a lock, with its age."""
    if view.bolt is None:
        return f"not known: {view.why.value}" if view.why else "not known"
    words = [_BOLT[view.bolt]]
    if view.door in _DOOR:
        words.append(_DOOR[view.door])
    if view.battery is not None:
        words.append(f"battery {view.battery} %")
    if view.low_battery:
        words.append("battery low")
    if view.tamper:
        words.append("cover open")
    text = ", ".join(words)
    if not view.current:
        text = f"not current: it was {text}"
    if age and view.age is not None:
        source = "said by the lock" if view.sealed else "seen"
        text += f" ({source} {_ago(view.age)})"
    return text


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{round(seconds)} s ago"
    if seconds < 7200:
        return f"{round(seconds / 60)} min ago"
    return f"{round(seconds / 3600)} h ago"


def done_text(done: Done) -> str:
    """Return what the lock said of a finished operation."""
    text = _DONE[done.operation]
    if done.already:
        text = f"was {text} already"
    if done.door_open:
        text += ", but the door is open"
    return text


def describe_record(record: LogRecord, own_slot: int) -> str:
    """Return one record of the log. Names are the home's to say: here are only slots."""
    text = _EVENT[record.event]
    if (source := _SOURCE.get(record.source)) is not None:
        return f"{text} {source}"
    if record.slot == own_slot:
        return f"{text} by you"
    if record.slot == CONTROLLER_SLOT:
        return f"{text} by the home"
    if record.slot != UNKNOWN_SLOT:
        return f"{text} by slot {record.slot}"
    return text
