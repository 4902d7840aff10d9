"""The caller's own account (clauses 7.1 and 7.2): profile, password, second steps, homes by owner code, deletion.

What guards the account is changed only within 10 minutes of a sign-in or proof (13: /api/v1/sessions/proof).
"""

from typing import Annotated

import msgspec
from sqlalchemy import select

from igrs_ras.accounts import owners, people, register
from igrs_ras.accounts.passwords import Password
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.api.sessions import (
    Code,
    Credential,
    Email,
    PasskeyOptions,
    Token,
    give_token,
    is_bearer,
)
from igrs_ras.api.users import Name, Registered, confirmation
from igrs_ras.status import Status
from igrs_ras.storage.tables import members, sites
from igrs_ras.wire import Answer, Body

table = Table()

_PASSKEY = "c2a4e1b7905d4f3e8b6a7c8d9e0f1a2b"


class PasskeyRow(Answer):
    """A passkey. `used` is null until it was used."""

    passkey: str
    name: str
    created: int
    used: int | None


class Membership(Answer):
    """A home that the user belongs to. `state`: pending until the home let him in, active, or suspended."""

    site: str
    name: str
    role: str
    state: str


class Me(Answer):
    """The caller. `methods` are the second steps that his next sign-in offers."""

    user: str
    name: str
    email: str | None
    email_verified: bool
    password: bool
    totp: bool
    passkeys: list[PasskeyRow]
    recovery_left: int
    second_step: bool
    methods: list[str]
    sites: list[Membership]
    created: int


class ChangeBody(Body):
    """What to change; what is left out stays."""

    name: Name | None = None
    email: Email | None = None


class PasswordBody(Body):
    """The present password and the new one."""

    old: Password
    new: Password


class OwnPasswordBody(Body):
    """The present password."""

    password: Password


class HomeBody(Body):
    """A home's owner code."""

    owner_code: Code


class Home(Answer):
    """The home, which now decides whether the caller is its owner."""

    site: str


class TotpSecret(Answer):
    """The secret as text and as the address that apps read from a QR code. Shown once."""

    secret: str
    uri: str


class CodeBody(Body):
    """A code of six digits."""

    code: Code


class RecoveryCodes(Answer):
    """Codes that work once each. Shown once. Empty if the user has some left."""

    recovery_codes: list[str]


class PasskeyBody(Body):
    """A name to tell it from others, and the browser's answer."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    credential: Credential


class PasskeyAdded(Answer):
    """The passkey's id, and recovery codes if the user had none."""

    passkey: str
    recovery_codes: list[str]


_RECOVERY = {"recovery_codes": ["8KNZ-44YW-D3XS-6GJ4"]}
_PROVEN = (Status.SECOND_STEP, Status.NOT_PERMITTED)
_BY_PASSWORD = (Status.WRONG_CREDENTIALS, Status.TOO_MANY_ATTEMPTS, Status.SLOW_DOWN)


@table.add(
    "GET",
    "/api/v1/me",
    Who.USER,
    clause="7.1",
    summary="The caller's account",
    answer=Me,
    answer_example={
        "user": "0b9f5b1c6d1e4c7f8a2b3c4d5e6f7081", "name": "Alma", "email": "alma@example.org",
        "email_verified": True, "password": True, "totp": True,
        "passkeys": [{"passkey": _PASSKEY, "name": "phone", "created": 1790000000000, "used": None}],
        "recovery_left": 10, "second_step": True, "methods": ["totp", "passkey", "recovery"],
        "sites": [
            {"site": "7d1f0a52c3b84e6f9a0b1c2d3e4f5061", "name": "Home", "role": "owner", "state": "active"}
        ],
        "created": 1790000000000,
    },
)  # fmt: skip
async def get_me(call: Call[None]) -> Me:
    """Return profile, methods and homes. No secret is in it."""
    profile, homes = await call.ras.store.read(
        lambda connection: (
            people.profile(call.ras, connection, call.user),
            connection.execute(
                select(
                    members.c.site, members.c.role, members.c.state, sites.c.name, sites.c.suspended
                )
                .join(sites, sites.c.id == members.c.site)
                .where(members.c.user == call.user)
                .order_by(members.c.created, members.c.site)
            ).all(),
        )
    )
    user = profile.user
    return Me(
        user=user.id,
        name=user.name,
        email=user.email,
        email_verified=user.email_verified is not None,
        password=user.password is not None,
        totp=user.totp_confirmed is not None,
        passkeys=[
            PasskeyRow(passkey=key.id, name=key.name, created=key.created, used=key.used)
            for key in profile.passkeys
        ],
        recovery_left=profile.recovery_left,
        second_step=profile.needed,
        methods=profile.methods,
        sites=[
            Membership(
                site=home.site, name=home.name, role=home.role,
                state="suspended" if home.suspended and home.state == "active" else home.state,
            )
            for home in homes
        ],
        created=user.created,
    )  # fmt: skip


@table.add(
    "PATCH",
    "/api/v1/me",
    Who.USER,
    clause="7.1",
    summary="Change the name or the e-mail address",
    body=ChangeBody,
    answer=Registered,
    statuses=(*_PROVEN, Status.EXISTS, Status.TOO_MANY_ATTEMPTS),
    example={"name": "Alma Berg"},
    answer_example={"confirm": "none"},
)
async def change_me(call: Call[ChangeBody]) -> Registered:
    """A new address counts when the code that is mailed there is entered in this session; the old one is told then."""
    body = call.body
    mailed = False
    if body.email is not None:
        mailed = await register.change_email(call.ras, call.principal, body.email)
    if body.name is not None:
        await people.rename(call.ras, call.user, body.name)
    return confirmation(mailed=mailed)


@table.add(
    "DELETE",
    "/api/v1/me",
    Who.USER,
    clause="7.1",
    summary="Delete the caller's account",
    statuses=_PROVEN,
)
async def delete_me(call: Call[None]) -> None:
    """Erase name, address, methods, sessions and memberships; homes are told. The audit keeps the random id."""
    await people.delete_me(call.ras, call.principal)
    if not is_bearer(call):
        call.ras.sessions.clear_cookie(call)


@table.add(
    "POST",
    "/api/v1/me/password",
    Who.USER,
    clause="7.2",
    summary="Change the password",
    body=PasswordBody,
    answer=Token,
    statuses=_BY_PASSWORD,
    example={"old": "a sentence that only Alma knows", "new": "another sentence of Alma's"},
    answer_example={"token": ""},
)
async def change_password(call: Call[PasswordBody]) -> Token:
    """All other sessions end, this one gets a new token."""
    bearer = is_bearer(call)
    token = await people.change_password(
        call.ras, call.principal, call.body.old, call.body.new, bearer=bearer
    )
    return Token(token=give_token(call, token, bearer=bearer))


@table.add(
    "POST",
    "/api/v1/me/homes",
    Who.USER,
    clause="7.1",
    summary="Claim a home with its owner code",
    body=HomeBody,
    answer=Home,
    statuses=(Status.WRONG_CODE, Status.TOO_MANY_ATTEMPTS),
    example={"owner_code": "8KNZ-44YW-D3XS-6GJ4"},
    answer_example={"site": "7d1f0a52c3b84e6f9a0b1c2d3e4f5061"},
)
async def claim_home(call: Call[HomeBody]) -> Home:
    """For who has an account already. The home answers whether he is its owner."""
    return Home(
        site=await owners.claim_signed_in(call.ras, call.user, call.body.owner_code, call.address)
    )


@table.add(
    "POST",
    "/api/v1/me/totp",
    Who.USER,
    clause="7.2",
    summary="Begin to add an authenticator app",
    answer=TotpSecret,
    statuses=(*_PROVEN, Status.EXISTS),
    answer_example={
        "secret": "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP",
        "uri": "otpauth://totp/IGRS%20Lock:alma%40example.org?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=IGRS%20Lock",
    },
)
async def begin_totp(call: Call[None]) -> TotpSecret:
    """Return a secret; it counts when a code has confirmed it."""
    secret, uri = await people.begin_totp(call.ras, call.principal)
    return TotpSecret(secret=secret, uri=uri)


@table.add(
    "POST",
    "/api/v1/me/totp/confirm",
    Who.USER,
    clause="7.2",
    summary="Confirm the authenticator app",
    body=CodeBody,
    answer=RecoveryCodes,
    statuses=(*_PROVEN, Status.WRONG_CODE, Status.TOO_MANY_ATTEMPTS),
    example={"code": "123 456"},
    answer_example=_RECOVERY,
)
async def confirm_totp(call: Call[CodeBody]) -> RecoveryCodes:
    """Enter a code of the app. The first second factor comes with ten recovery codes."""
    return RecoveryCodes(
        recovery_codes=await people.confirm_totp(call.ras, call.principal, call.body.code)
    )


@table.add(
    "POST",
    "/api/v1/me/totp/remove",
    Who.USER,
    clause="7.2",
    summary="Remove the authenticator app",
    body=OwnPasswordBody,
    statuses=(*_BY_PASSWORD, Status.NOT_FOUND),
    example={"password": "a sentence that only Alma knows"},
)
async def remove_totp(call: Call[OwnPasswordBody]) -> None:
    """Takes the password, which must have 15 characters if no other second factor is left."""
    await people.remove_factor(call.ras, call.principal, call.body.password)


@table.add(
    "POST",
    "/api/v1/me/recovery",
    Who.USER,
    clause="7.2",
    summary="Make new recovery codes",
    answer=RecoveryCodes,
    statuses=_PROVEN,
    answer_example=_RECOVERY,
)
async def new_recovery(call: Call[None]) -> RecoveryCodes:
    """Ten new codes; the old ones are void."""
    return RecoveryCodes(recovery_codes=await people.new_recovery(call.ras, call.principal))


@table.add(
    "POST",
    "/api/v1/me/passkeys/options",
    Who.USER,
    clause="7.2",
    summary="Begin to add a passkey",
    answer=PasskeyOptions,
    statuses=_PROVEN,
)
async def begin_passkey(call: Call[None]) -> PasskeyOptions:
    """Return a challenge: good once, for 5 minutes, in this session."""
    return PasskeyOptions(options=await people.begin_passkey(call.ras, call.principal))


@table.add(
    "POST",
    "/api/v1/me/passkeys",
    Who.USER,
    clause="7.2",
    summary="Add a passkey",
    body=PasskeyBody,
    answer=PasskeyAdded,
    statuses=(*_PROVEN, Status.WRONG_CODE, Status.EXISTS, Status.TOO_MANY_ATTEMPTS),
    example={
        "name": "phone",
        "credential": {"id": "…", "rawId": "…", "type": "public-key", "response": {}},
    },
    answer_example={"passkey": _PASSKEY, **_RECOVERY},
)
async def add_passkey(call: Call[PasskeyBody]) -> PasskeyAdded:
    """Store the browser's answer. The first second factor comes with ten recovery codes."""
    passkey, codes = await people.add_passkey(
        call.ras, call.principal, call.body.name, call.body.credential
    )
    return PasskeyAdded(passkey=passkey, recovery_codes=codes)


@table.add(
    "POST",
    "/api/v1/me/passkeys/{passkey}/remove",
    Who.USER,
    clause="7.2",
    summary="Remove a passkey",
    body=OwnPasswordBody,
    statuses=_BY_PASSWORD,
    example={"password": "a sentence that only Alma knows"},
)
async def remove_passkey(call: Call[OwnPasswordBody]) -> None:
    """Takes the password, which must have 15 characters if no other second factor is left."""
    await people.remove_factor(
        call.ras, call.principal, call.body.password, passkey=call.path["passkey"]
    )
