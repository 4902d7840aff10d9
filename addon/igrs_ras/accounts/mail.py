"""Sends mail through the operator's SMTP server, with exactly the security that was configured."""

import asyncio
import logging
import ssl
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate, make_msgid, parseaddr
from typing import TYPE_CHECKING

import aiosmtplib

from igrs_ras.status import Refused, Status

if TYPE_CHECKING:
    from igrs_ras.accounts.letters import Letter
    from igrs_ras.ras import Ras

_LOGGER = logging.getLogger(__name__)

TIMEOUT = 15.0  # seconds for each step of SMTP
AT_ONCE = 4  # connections to the SMTP server
WAITING = 100  # letters that may wait; more are dropped and logged


class Mailer:
    """Sends letters, at once or behind an answer that must not wait."""

    def __init__(self, ras: Ras) -> None:
        self._ras = ras
        self._settings = ras.settings
        self._tls: ssl.SSLContext | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def configured(self) -> bool:
        """Tell whether there is an SMTP server."""
        return bool(self._settings.smtp_host)

    async def start(self) -> None:
        """Read the certificates that SMTP servers are checked against."""
        if self.configured and self._settings.smtp_security != "none":
            self._tls = await asyncio.to_thread(ssl.create_default_context)

    async def stop(self) -> None:
        """Give letters that are on their way a moment."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2)
        for task in self._tasks:
            task.cancel()

    async def tick(self) -> None:
        """Nothing is due."""

    async def send(self, to: str, letter: Letter) -> None:
        """Send a letter and wait until the SMTP server took it.

        Raises:
            Refused: NOT_READY when it did not, or none is configured; why stands in the log.
        """
        if not self.configured:
            raise Refused(Status.NOT_READY, "the server sends no mail")
        try:
            async with self._slots:
                await self._deliver(to, letter)
        except (aiosmtplib.SMTPException, OSError, MessageError, ValueError) as error:
            # The server's reply may repeat the address; its number says enough.
            _LOGGER.error(  # noqa: TRY400  the traceback would hold the letter
                "a mail was not sent: %s %s", type(error).__name__, getattr(error, "code", "")
            )
            raise Refused(Status.NOT_READY, "the mail was not sent") from None

    def later(self, to: str, letter: Letter) -> None:
        """Send a letter behind the answer, so that neither its time nor its failure tells anything."""
        if not self.configured:
            return
        if len(self._tasks) >= WAITING:
            _LOGGER.error("too many mails wait; one was dropped")
            return
        task = asyncio.get_running_loop().create_task(self._later(to, letter))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _later(self, to: str, letter: Letter) -> None:
        try:
            await self.send(to, letter)
        except Refused:
            return  # logged where it happened

    def _message(self, to: str, letter: Letter) -> EmailMessage:
        # The policy refuses line breaks in headers, so nothing that came from outside can add one.
        message = EmailMessage(policy=SMTP)
        sender = self._settings.smtp_sender
        message["From"] = sender
        message["To"] = to
        message["Subject"] = f"{letter.subject} ({self._settings.name})"
        message["Date"] = formatdate(self._ras.clock.now_ms() / 1000)
        message["Message-ID"] = make_msgid(
            domain=parseaddr(sender)[1].rpartition("@")[2] or "localhost"
        )
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(letter.text)
        return message

    async def _deliver(self, to: str, letter: Letter) -> None:
        settings = self._settings
        security = settings.smtp_security
        await aiosmtplib.send(
            self._message(to, letter),
            sender=parseaddr(settings.smtp_sender)[1],
            recipients=[to],
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user or None,
            password=settings.smtp_password or None,
            local_hostname=settings.public_host or "localhost",
            timeout=TIMEOUT,
            use_tls=security == "tls",
            # True, not None: a server (or somebody between) that does not offer STARTTLS gets nothing.
            start_tls=security == "starttls",
            tls_context=self._tls,
        )
