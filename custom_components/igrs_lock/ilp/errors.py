"""Typed errors of ILP1. None of them carries a key, a PIN, a setup code or message bytes."""


class IlpError(Exception):
    """Anything ILP1 refuses; every function of this package raises only this and its kin."""


class MalformedError(IlpError, ValueError):
    """Bytes, text or numbers that do not have the form ILP1 gives them."""


class SetupCodeError(MalformedError):
    """Text that is no setup code: wrong length or a character outside the alphabet."""


class AuthenticationError(IlpError):
    """A tag or confirmation that the expected key did not make."""


class PairingError(IlpError):
    """Pairing cannot go on: refused key, refused confirmation or a step out of order."""


class WrongSetupCodeError(PairingError, AuthenticationError):
    """The lock's confirmation does not fit: another setup code, another lock, or somebody between."""


class SessionError(IlpError):
    """A session used out of order, or an answer that fits no request."""


class LockError(IlpError):
    """The lock sent ERROR (kind 1F). It is not authenticated: it may cause one retry, never trust.

    `code` is the ErrorCode; `nonce` the 8 bytes that count as a CHALLENGE.
    """

    def __init__(self, code: int, nonce: bytes) -> None:
        """Keep the code and the nonce; the text names the code only."""
        super().__init__(f"lock answered ERROR {code}")
        self.code = code
        self.nonce = nonce


class RefusedError(IlpError):
    """An authenticated answer whose result is not *done*.

    `command` and `result` are the numbers of ILP1 section 5.
    """

    def __init__(self, command: int, result: int) -> None:
        """Keep both numbers."""
        super().__init__(f"command {command:02X} refused with result {result}")
        self.command = command
        self.result = result
