"""What the tests of accounts share: a browser that keeps cookies, homes' owner codes, a mailbox behind real SMTP."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import re
import secrets
import ssl
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from conftest import Api, Reply, base_of, eventually
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from igrs_ras import codes
from igrs_ras.storage.tables import invitations, members, sites, users

if TYPE_CHECKING:
    from email.message import EmailMessage
    from pathlib import Path

    import aiohttp
    from igrs_ras.ras import Ras

PASSWORD = "the moon is made of rice"
OTHER = "a river runs uphill at night"
EMAIL = "alma@example.org"
HOUR = 3600
DAY = 24 * HOUR


class Browser:
    """A browser at the server's own origin: keeps the cookies it is given, sends Origin with all it does."""

    def __init__(self, api: Api, *, origin: str = "", address: str = "") -> None:
        self.api = api
        self.origin = origin or api.base
        self.address = address
        self.jar: dict[str, str] = {}
        self.set: SimpleCookie = SimpleCookie()  # of the last answer
        self.headers: dict[str, str] = {}  # besides

    async def __call__(self, method: str, path: str, body: Any = None) -> Reply:
        headers = {"Origin": self.origin, **self.headers}
        if self.jar:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        if self.address:
            headers["X-Forwarded-For"] = self.address
        reply = await self.api(method, path, body, headers=headers)
        self.set = SimpleCookie()
        for line in reply.headers.getall("Set-Cookie", []):
            self.set.load(line)
        for name, morsel in self.set.items():
            if morsel.value:
                self.jar[name] = morsel.value
            else:
                self.jar.pop(name, None)
        return reply

    @property
    def token(self) -> str:
        return self.jar.get("__Host-igrs", "")

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD) -> Reply:
        return await self("POST", "/api/v1/sessions", {"email": email, "password": password})

    async def prove(self, password: str = PASSWORD) -> Reply:
        return await self(
            "POST", "/api/v1/sessions/proof", {"method": "password", "password": password}
        )


def browser_of(ras: Ras, http: aiohttp.ClientSession, *, address: str = "") -> Browser:
    return Browser(Api(http, base_of(ras)), origin=ras.settings.public_url, address=address)


async def new_home(ras: Ras, *, life: int = HOUR) -> tuple[str, str, str]:
    """Make a site with an owner code, as its gateway would; return site, invitation and the code's text."""
    site, invitation = secrets.token_hex(16), secrets.token_hex(16)
    raw, text = codes.new()

    def job(tx: Any) -> None:
        tx.execute(sites.insert(), {"id": site, "name": "Home", "generation": 1, "created": tx.now})
        tx.execute(
            invitations.insert(),
            {
                "id": invitation, "site": site, "kind": "owner", "state": "open",
                "code": hashlib.sha256(raw).digest(), "created": tx.now, "expires": tx.now + life * 1000,
            },
        )  # fmt: skip

    await ras.store.write(job)
    return site, invitation, text


def registration(code: str, **other: Any) -> dict[str, Any]:
    return {"email": EMAIL, "password": PASSWORD, "name": "Alma", "owner_code": code} | other


async def registered(ras: Ras, browser: Browser, email: str = EMAIL, **other: Any) -> str:
    """Register somebody on a server without SMTP; return the site whose owner he wants to be."""
    site, _, code = await new_home(ras)
    reply = await browser("POST", "/api/v1/users", registration(code, email=email, **other))
    assert (reply.status, reply.data) == (0, {"confirm": "none"})
    return site


async def joined(ras: Ras, site: str, name: str = "Guest") -> tuple[str, str]:
    """Make somebody who joined by an invitation, as `joins` does; return user and the token of his browser's session."""
    user = secrets.token_hex(16)

    def job(tx: Any) -> str:
        tx.execute(users.insert(), {"id": user, "name": name, "created": tx.now})
        tx.execute(
            members.insert(),
            {"site": site, "user": user, "role": "member", "state": "active", "created": tx.now},
        )
        return ras.sessions.create(tx, user, "join")

    return user, await ras.store.write(job)


async def rows(ras: Ras, statement: Any) -> list[Any]:
    return await ras.store.read(lambda connection: list(connection.execute(statement).all()))


# Mail


def make_certificate(folder: Path, host: str = "localhost") -> Path:
    """Write a certificate with its key, its own authority; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{host}.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM)
        + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return path


class _OwnPort(Controller):
    """aiosmtpd's controller with a port of the system's choice."""

    def _trigger_server(self) -> None:
        assert isinstance(self.server, asyncio.Server)
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()  # type: ignore[no-untyped-call]  # not annotated by aiosmtpd


@dataclass
class Mail:
    sender: str
    to: list[str]
    message: EmailMessage
    encrypted: bool
    user: str


@dataclass
class Mailbox:
    """A real SMTP server on loopback that keeps what it gets. `refuse` makes it answer 550 to each recipient."""

    security: str = "none"  # none, starttls, tls
    certificate: Path | None = None
    credentials: tuple[str, str] | None = None
    refuse: bool = False
    mails: list[Mail] = field(default_factory=list)

    def __enter__(self) -> Self:
        context = None
        if self.certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.certificate)
        options: dict[str, Any] = {}
        if self.security == "starttls":
            options = {"tls_context": context, "require_starttls": True}
        elif self.security == "tls":
            options = {"ssl_context": context}
        if self.credentials is not None:
            options |= {
                "authenticator": self._authenticate,
                "auth_required": True,
                "auth_require_tls": self.security == "starttls",
            }
        self._controller = _OwnPort(self, hostname="127.0.0.1", port=0, **options)
        self._controller.start()
        self.port: int = self._controller.port
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def _authenticate(
        self, _server: Any, session: Any, _envelope: Any, _how: str, given: Any
    ) -> AuthResult:
        right = (given.login.decode(), given.password.decode()) == self.credentials
        session.who = given.login.decode() if right else ""
        return AuthResult(success=right)

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if self.refuse:
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        message: Any = message_from_bytes(envelope.content, policy=policy.default)
        self.mails.append(
            Mail(
                envelope.mail_from, envelope.rcpt_tos, message,
                session.ssl is not None or self.security == "tls", getattr(session, "who", ""),
            )
        )  # fmt: skip
        return "250 OK"

    @property
    def settings(self) -> dict[str, Any]:
        """What the server under test is told."""
        user, password = self.credentials or ("", "")
        return {
            "smtp_host": "localhost" if self.certificate else "127.0.0.1",
            "smtp_port": self.port,
            "smtp_security": self.security,
            "smtp_sender": "IGRS Lock <locks@example.org>",
            "smtp_user": user,
            "smtp_password": password,
        }

    def to(self, address: str) -> list[str]:
        """The texts that went to an address, oldest first."""
        return [mail.message.get_content() for mail in list(self.mails) if address in mail.to]

    def code(self, address: str = EMAIL) -> str:
        """The six digits of the newest mail to an address."""
        found = re.search(r"\b\d{6}\b", self.to(address)[-1])
        assert found, self.to(address)[-1]
        return found[0]

    def long_code(self, address: str = EMAIL) -> str:
        """The code for a new password in the newest mail to an address."""
        found = re.search(r"\b(?:[0-9A-Z]{4}-){3}[0-9A-Z]{4}\b", self.to(address)[-1])
        assert found, self.to(address)[-1]
        return found[0]

    async def got(self, count: int, address: str = EMAIL) -> None:
        """Wait until so many mails came to an address."""
        await eventually(lambda: len(self.to(address)) >= count)


async def with_mail(ras: Ras, browser: Browser, mailbox: Mailbox, email: str = EMAIL) -> str:
    """Register somebody on a server with SMTP and confirm his address; return the site."""
    site, _, code = await new_home(ras)
    reply = await browser("POST", "/api/v1/users", registration(code, email=email))
    assert (reply.status, reply.data) == (0, {"confirm": "mail"})
    confirmation = {"email": email, "code": mailbox.code(email)}
    assert (await browser("POST", "/api/v1/users/confirm", confirmation)).status == 0
    return site
