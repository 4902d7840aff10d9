"""What can go wrong with a lock, each with its translated sentence."""

from typing import ClassVar

from homeassistant.exceptions import HomeAssistantError

from .const import DOMAIN


class OperationError(HomeAssistantError):
    """The lock did not do it, or nobody can tell whether it did.

    `key` is the translation key under `exceptions` and, in the config flow, under `config.error`.
    """

    key: ClassVar[str]

    def __init__(self, name: str, **placeholders: str) -> None:
        """Keep the lock's name and what else the sentence needs."""
        super().__init__(
            translation_domain=DOMAIN,
            translation_key=self.key,
            translation_placeholders={"name": name, **placeholders},
        )


class OutOfReachError(OperationError):
    """No gateway can connect to the lock. The placeholder `reason` says why not."""

    key = "out_of_reach"


class GatewayBusyError(OperationError):
    """Every gateway that hears the lock has all its connections in use."""

    key = "gateway_busy"


class NoAnswerError(OperationError):
    """Connected, but no answer came, or the link was lost: the outcome is not known."""

    key = "no_answer"


class UnconfirmedError(OperationError):
    """The lock began to move, but did not tell that it arrived."""

    key = "unconfirmed"


class JammedError(OperationError):
    """The bolt did not reach its end."""

    key = "jammed"


class DoorOpenError(OperationError):
    """The bolt is out, but the door is open."""

    key = "door_open"


class LockBusyError(OperationError):
    """The lock is moving, or somebody else is pairing with it."""

    key = "lock_busy"


class BatteryLowError(OperationError):
    """The battery is too low to move the bolt."""

    key = "battery_low"


class NotPossibleError(OperationError):
    """The lock cannot do it now, for example because the door is open."""

    key = "not_possible"


class RefusedError(OperationError):
    """The lock refuses the command; the placeholder `result` is its number."""

    key = "refused"


class NeedsPairingError(OperationError):
    """The lock does not accept this home's key."""

    key = "needs_pairing"


class UnsupportedError(OperationError):
    """The lock speaks another version of the profile."""

    key = "unsupported_version"


class NotInSetupModeError(OperationError):
    """The lock is not to be paired now."""

    key = "not_in_setup_mode"


class WrongSetupCodeError(OperationError):
    """The setup code is another lock's."""

    key = "wrong_setup_code"


class PairingFailedError(OperationError):
    """The lock broke off the pairing."""

    key = "pairing_failed"


class NotAllowedError(OperationError):
    """A Home Assistant user is tied to a person who may not use this lock; placeholder `person`."""

    key = "not_allowed"


class AccessPendingError(OperationError):
    """What a person may do is not written to the lock yet; placeholder `person`."""

    key = "access_pending"


class NoRightError(OperationError):
    """The lock does not let this person do that; placeholder `person`."""

    key = "no_right"


class OutsideHoursError(OperationError):
    """The lock does not let this person in now; placeholder `person`."""

    key = "outside_hours"


class AccessGoneError(OperationError):
    """The lock does not know this person any more; placeholder `person`."""

    key = "access_gone"


class AccessSuspendedError(OperationError):
    """This person's access is suspended or used up; placeholder `person`."""

    key = "access_suspended"


class LedgerNotSavedError(OperationError):
    """What is meant to be written to a lock could not be stored on disk first."""

    key = "ledger_not_saved"


class LogNotSavedError(OperationError):
    """What was read of a lock's log could not be stored on disk; it is read again."""

    key = "log_not_saved"
