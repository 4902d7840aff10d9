"""Passkeys (WebAuthn) as a second step: never the only method, always with user verification.

The RP ID is the host of `public_url`; without one, or on an IP address, there are none. An answer counts from the own
origin, and from listed origins at or below that host (browsers let no other use the RP ID). A challenge is bound to
the session, works once and for 5 minutes.

The library is imported when the first passkey is asked for: it takes 0.2 s and 6 MiB, and many servers have none.
"""

import ipaddress
import json
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sqlalchemy import Row, select

from igrs_ras.accounts.throttle import MINUTE
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import passkeys, sessions
from igrs_ras.wire import new_id

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor
    from webauthn.registration.verify_registration_response import VerifiedRegistration

    from igrs_ras.ras import Ras
    from igrs_ras.storage.store import Transaction

CHALLENGE_LIFE = 5 * MINUTE
PASSKEYS = 10  # per user
CREDENTIAL_BYTES = 1023  # WebAuthn's own bound for an id

type Json = dict[str, Any]


class Passkeys:
    """Options for browsers, and checks of their answers."""

    def __init__(self, ras: Ras) -> None:
        settings = ras.settings
        self._name = settings.name
        self._ras = ras
        self.rp_id = "" if _is_address(settings.public_host) else settings.public_host
        parts = urlsplit(settings.public_url)
        self.origins = [f"{parts.scheme}://{parts.netloc}"] if self.rp_id else []
        for origin in settings.allowed_origins if self.rp_id else ():
            host = urlsplit(origin).hostname or ""
            if host == self.rp_id or host.endswith(f".{self.rp_id}"):
                self.origins.append(origin)

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def tick(self) -> None:
        """Nothing is due."""

    @property
    def available(self) -> bool:
        """Tell whether this server can have passkeys."""
        return bool(self.rp_id)

    def _needed(self) -> None:
        if not self.available:
            raise Refused(Status.NOT_PERMITTED, "passkeys need a public_url with a host name")

    def creation_options(self, tx: Transaction, user: Row[Any], session: str) -> Json:
        """Begin to add a passkey, in a job: return what `navigator.credentials.create` takes."""
        from webauthn import generate_registration_options  # noqa: PLC0415  see above
        from webauthn.helpers.structs import (  # noqa: PLC0415  see above
            AuthenticatorSelectionCriteria,
            ResidentKeyRequirement,
            UserVerificationRequirement,
        )

        self._needed()
        own = _credentials(tx, user.id)
        if len(own) >= PASSKEYS:
            raise Refused(Status.NOT_PERMITTED, "too many passkeys")
        options = generate_registration_options(
            rp_id=self.rp_id,
            rp_name=self._name,
            user_id=bytes.fromhex(user.id),
            user_name=user.email or user.name,
            user_display_name=user.name,
            challenge=_challenge(tx, session),
            timeout=CHALLENGE_LIFE,
            exclude_credentials=own,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.DISCOURAGED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
        )
        return _json(options)

    def request_options(self, tx: Transaction, user: str, session: str) -> Json:
        """Begin to use a passkey, in a job: return what `navigator.credentials.get` takes. Refuses (21) without one."""
        from webauthn import generate_authentication_options  # noqa: PLC0415  see above
        from webauthn.helpers.structs import UserVerificationRequirement  # noqa: PLC0415  see above

        self._needed()
        own = _credentials(tx, user)
        if not own:
            raise Refused(Status.NOT_FOUND)
        options = generate_authentication_options(
            rp_id=self.rp_id,
            challenge=_challenge(tx, session),
            timeout=CHALLENGE_LIFE,
            allow_credentials=own,
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return _json(options)

    async def check(self, session: str, credential: Json) -> VerifiedRegistration:
        """Check the answer to `creation_options`; return what `store` stores of it. Raises Refused(WRONG_CODE)."""
        from webauthn import verify_registration_response  # noqa: PLC0415  see above

        self._needed()
        challenge = await self._ras.store.write(lambda tx: _take_challenge(tx, session))
        try:
            made = verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origins,
                require_user_verification=True,
            )
        except Exception as error:  # the library raises many kinds on bad input; none may pass
            raise Refused(Status.WRONG_CODE) from error
        if len(made.credential_id) > CREDENTIAL_BYTES:
            raise Refused(Status.WRONG_CODE)
        return made

    def store(self, tx: Transaction, user: str, name: str, made: VerifiedRegistration) -> str:
        """Store a passkey that was checked, in a job; return its id. Raises Refused(NOT_PERMITTED, EXISTS)."""
        if len(_credentials(tx, user)) >= PASSKEYS:
            raise Refused(Status.NOT_PERMITTED, "too many passkeys")
        same = select(passkeys.c.id).where(passkeys.c.credential == made.credential_id)
        if tx.execute(same).first():
            raise Refused(Status.EXISTS)
        identifier = new_id()
        row = {
            "credential": made.credential_id,
            "id": identifier,
            "user": user,
            "public_key": made.credential_public_key,
            "sign_count": made.sign_count,
            "name": name,
            "created": tx.now,
        }
        tx.execute(passkeys.insert(), row)
        return identifier

    async def verify(self, user: str, session: str, credential: Json) -> bool:
        """Check the answer to `request_options`; tell whether it is right. A count that does not rise is refused."""
        from webauthn import verify_authentication_response  # noqa: PLC0415  see above

        if not self.available:
            return False
        challenge, key = await self._ras.store.write(
            lambda tx: (_take_challenge(tx, session), _find(tx, user, credential))
        )
        if key is None:
            return False
        try:
            used = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self.rp_id,
                expected_origin=self.origins,
                credential_public_key=bytes(key.public_key),
                credential_current_sign_count=key.sign_count,
                require_user_verification=True,
            )
        except Exception:  # noqa: BLE001  the library raises many kinds on bad input; none may pass
            return False
        count = used.new_sign_count
        return await self._ras.store.write(lambda tx: _count(tx, key, count))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _json(options: Any) -> Json:
    from webauthn import options_to_json  # noqa: PLC0415  see above

    found: Json = json.loads(options_to_json(options))
    return found


def _credentials(tx: Transaction, user: str) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor  # noqa: PLC0415  see above

    rows = tx.execute(select(passkeys.c.credential).where(passkeys.c.user == user)).scalars()
    return [PublicKeyCredentialDescriptor(id=bytes(credential)) for credential in rows]


def _challenge(tx: Transaction, session: str) -> bytes:
    challenge = secrets.token_bytes(32)
    tx.execute(
        sessions.update()
        .where(sessions.c.id == session)
        .values(challenge=challenge, challenge_expires=tx.now + CHALLENGE_LIFE)
    )
    return challenge


def _take_challenge(tx: Transaction, session: str) -> bytes:
    """Return the session's challenge and forget it. Raises Refused(WRONG_CODE) if there is none in time.

    One that is refused is not forgotten by this job, but it is void: its time is over.
    """
    row = tx.execute(
        select(sessions.c.challenge, sessions.c.challenge_expires).where(sessions.c.id == session)
    ).first()
    if row is None or row.challenge is None or row.challenge_expires <= tx.now:
        raise Refused(Status.WRONG_CODE)
    tx.execute(
        sessions.update()
        .where(sessions.c.id == session)
        .values(challenge=None, challenge_expires=None)
    )
    return bytes(row.challenge)


def _find(tx: Transaction, user: str, credential: Json) -> Row[Any] | None:
    from webauthn.helpers import base64url_to_bytes  # noqa: PLC0415  see above

    try:
        identifier = base64url_to_bytes(credential["rawId"])
    except KeyError, TypeError, ValueError, AttributeError:
        return None
    return tx.execute(
        select(passkeys).where(passkeys.c.credential == identifier, passkeys.c.user == user)
    ).first()


def _count(tx: Transaction, key: Row[Any], count: int) -> bool:
    used = tx.execute(
        passkeys.update()
        .where(passkeys.c.credential == key.credential, passkeys.c.sign_count == key.sign_count)
        .values(sign_count=count, used=tx.now)
    )
    return used.rowcount == 1
