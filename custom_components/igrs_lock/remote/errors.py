"""What can go wrong between this home and its remote access server, each with its translated sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from homeassistant.exceptions import HomeAssistantError

from ..const import DOMAIN

if TYPE_CHECKING:
    from .wire import Status


class RemoteError(HomeAssistantError):
    """Remote access failed; locks and local control are not concerned.

    `key` is the translation key under `exceptions`.
    """

    key: ClassVar[str]

    def __init__(self, **placeholders: str) -> None:
        """Keep what the sentence needs. Nothing that a server wrote stands in it."""
        super().__init__(
            translation_domain=DOMAIN,
            translation_key=self.key,
            translation_placeholders=placeholders or None,
        )


class LinkDown(RemoteError):  # noqa: N818  a state, not a fault
    """There is no link to the server, or it ended before the answer: nobody knows what was done."""

    key = "remote_link_down"


class Refused(RemoteError):  # noqa: N818  an answer, not a fault
    """The server answered with a status other than *done*.

    `message` is the server's own sentence, for the log at most: it may say anything.
    """

    key = "remote_refused"

    def __init__(self, status: Status, message: str = "") -> None:
        """Keep the number of Table 1 and the server's words."""
        super().__init__(status=str(int(status)))
        self.status = status
        self.message = message


class Unreachable(RemoteError):  # noqa: N818  a state, not a fault
    """Nothing answers at the address."""

    key = "remote_unreachable"


class NotReady(RemoteError):  # noqa: N818  a state, not a fault
    """The server is there, but takes nothing now."""

    key = "remote_not_ready"


class CertificateWrong(RemoteError):  # noqa: N818  a state, not a fault
    """Something answers, but not with a certificate that proves the name."""

    key = "remote_certificate"


class NotAServer(RemoteError):  # noqa: N818  a state, not a fault
    """Something answers that is no remote access server, or one of another version."""

    key = "remote_not_a_server"


class NoPublicAddress(RemoteError):  # noqa: N818  a state, not a fault
    """Nobody has reached the server at its public address yet, or it has none: a link would lead nowhere."""

    key = "remote_no_public_address"


class RemoteNotSaved(RemoteError):  # noqa: N818  kin of the ledger's
    """What has to outlive a restart could not be stored on disk; therefore it was not done."""

    key = "remote_not_saved"
