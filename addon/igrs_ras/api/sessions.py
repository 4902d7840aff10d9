"""Clause 7.2: signing in, the second step, sessions."""

from typing import Annotated, Any, Literal

import msgspec
from aiohttp import hdrs
from sqlalchemy import select

from igrs_ras.accounts import signin
from igrs_ras.accounts.passwords import Password
from igrs_ras.accounts.sessions import COOKIE_IDLE, DEVICE_COOKIE
from igrs_ras.accounts.signin import SignedIn, Step
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.status import Refused, Status
from igrs_ras.storage.tables import sessions
from igrs_ras.wire import Answer, Body

table = Table()

Email = Annotated[str, msgspec.Meta(min_length=3, max_length=254, description="e-mail address")]
Code = Annotated[str, msgspec.Meta(max_length=32, description="a code: spaces do not count")]
Device = Annotated[
    str,
    msgspec.Meta(
        max_length=64, description="what an earlier sign-in's `device` said; browsers use a cookie"
    ),
]
Credential = Annotated[
    dict[str, Any], msgspec.Meta(description="the browser's PublicKeyCredential as JSON")
]

_ID = "5f0c3d6a2b9e4417a8d1c6f3e0b75d92"
_USER = "0b9f5b1c6d1e4c7f8a2b3c4d5e6f7081"


class SignInBody(Body):
    """E-mail address and password. `kind` bearer: the token comes in the answer instead of a cookie."""

    email: Email
    password: Password
    kind: Literal["cookie", "bearer"] = "cookie"
    device: Device = ""


class StepBody(Body):
    """A second step: the code of an app, of the recovery list, of a mail; or a passkey's `credential`."""

    method: signin.Method
    code: Code = ""
    credential: Credential = msgspec.field(default_factory=dict)
    device: Device = ""


class ProofBody(Body):
    """The password or a second factor, shown again."""

    method: signin.ProofMethod
    password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    code: Code = ""
    credential: Credential = msgspec.field(default_factory=dict)


class CodeMailBody(Body):
    """`device` as at sign-in."""

    device: Device = ""


class Session(Answer):
    """A session after a step.

    `second_step`: none (this user has no second step), needed (by one of `methods`), or done. `token` and `device` are
    empty where the browser got cookies.
    """

    user: str
    session: str
    second_step: Literal["none", "needed", "done"]
    methods: list[str]
    token: str
    device: str


class Token(Answer):
    """The session's new token; the old one is void. Empty where the browser got a cookie."""

    token: str


class PasskeyOptions(Answer):
    """What the browser's `navigator.credentials` takes as `publicKey`, in WebAuthn's JSON form."""

    options: dict[str, Any]


class SessionRow(Answer):
    """A session of the caller. Times in ms; `current` is the one that asks."""

    session: str
    kind: str
    created: int
    used: int
    expires: int
    current: bool


class SessionList(Answer):
    """All sessions that are open."""

    sessions: list[SessionRow]


def is_bearer(call: Call[Any]) -> bool:
    """Tell whether the caller shows his token in a header: then he also gets the next one so."""
    return hdrs.AUTHORIZATION in call.request.headers


def give_token(call: Call[Any], token: str, *, bearer: bool) -> str:
    """Put a new token where it belongs: into the answer, or into the cookie (then return an empty text)."""
    if bearer:
        return token
    call.ras.sessions.set_cookie(call, token)
    return ""


def shown_device(call: Call[Any]) -> str:
    """Return the token of the known device that the caller shows, if any."""
    return call.request.cookies.get(DEVICE_COOKIE, "") or getattr(call.body, "device", "")


def _session(call: Call[Any], signed: SignedIn, *, bearer: bool) -> Session:
    token = give_token(call, signed.token, bearer=bearer)
    if signed.device and not bearer:
        call.ras.sessions.set_device_cookie(call, signed.device)
    return Session(
        user=signed.user,
        session=signed.session,
        second_step="needed" if not signed.full else "done" if signed.needed else "none",
        methods=signed.methods,
        token=token,
        device=signed.device if bearer else "",
    )


@table.add(
    "POST",
    "/api/v1/sessions",
    Who.ANYBODY,
    clause="7.2",
    summary="Sign in with e-mail address and password",
    body=SignInBody,
    answer=Session,
    statuses=(Status.WRONG_CREDENTIALS, Status.TOO_MANY_ATTEMPTS, Status.SLOW_DOWN),
    example={"email": "alma@example.org", "password": "a sentence that only Alma knows"},
    answer_example={
        "user": _USER, "session": _ID, "second_step": "needed", "methods": ["totp", "recovery"], "token": "",
        "device": "",
    },
)  # fmt: skip
async def sign_in(call: Call[SignInBody]) -> Session:
    """Make a session. With a second step it can only complete it, for 10 minutes. A session of this browser ends."""
    body = call.body
    bearer = body.kind == "bearer"
    signed = await signin.sign_in(
        call.ras, body.email, body.password, body.kind, call.address, shown_device(call)
    )
    old = call.principal
    if (
        not bearer
        and not is_bearer(call)
        and old.session
        and (old.kind == "cookie" or old.user == signed.user)
    ):
        # The cookie is overwritten: nobody could use or end the old session any more.
        await call.ras.store.write(
            lambda tx: call.ras.sessions.end(tx, old.user, session=old.session)
        )
    return _session(call, signed, bearer=bearer)


@table.add(
    "POST",
    "/api/v1/sessions/mail",
    Who.PENDING,
    clause="7.2",
    summary="Have a code mailed for the second step",
    body=CodeMailBody,
    statuses=(Status.TOO_MANY_ATTEMPTS,),
    example={},
)
async def mail_code(call: Call[CodeMailBody]) -> None:
    """Send a code of six digits to the confirmed address: good for 10 minutes in this session, 3 mails an hour."""
    await signin.send_code(call.ras, call.principal, shown_device(call))


@table.add(
    "POST",
    "/api/v1/sessions/passkey",
    Who.PENDING,
    Who.USER,
    clause="7.2",
    summary="Begin to use a passkey",
    answer=PasskeyOptions,
    statuses=(Status.NOT_FOUND,),
)
async def passkey_options(call: Call[None]) -> PasskeyOptions:
    """Return a challenge for one of the user's passkeys: good once, for 5 minutes, in this session."""
    ras, who = call.ras, call.principal
    return PasskeyOptions(
        options=await ras.store.write(
            lambda tx: ras.passkeys.request_options(tx, who.user, who.session)
        )
    )


@table.add(
    "POST",
    "/api/v1/sessions/step",
    Who.PENDING,
    clause="7.2",
    summary="Complete the sign-in with the second step",
    body=StepBody,
    answer=Session,
    statuses=(Status.WRONG_CODE, Status.TOO_MANY_ATTEMPTS),
    example={"method": "totp", "code": "123 456"},
    answer_example={
        "user": _USER, "session": _ID, "second_step": "done", "methods": [], "token": "", "device": "",
    },
)  # fmt: skip
async def second_step(call: Call[StepBody]) -> Session:
    """Check the code or passkey. The session gets a new token. Ten wrong codes an hour."""
    body = call.body
    step = Step(body.method, body.code, body.credential)
    bearer = is_bearer(call)
    signed = await signin.second_step(
        call.ras, call.principal, step, shown_device(call), bearer=bearer
    )
    return _session(call, signed, bearer=bearer)


@table.add(
    "POST",
    "/api/v1/sessions/proof",
    Who.USER,
    clause="7.2",
    summary="Show the password or a second factor again",
    body=ProofBody,
    answer=Token,
    statuses=(
        Status.WRONG_CREDENTIALS,
        Status.WRONG_CODE,
        Status.TOO_MANY_ATTEMPTS,
        Status.SLOW_DOWN,
    ),
    example={"method": "password", "password": "a sentence that only Alma knows"},
    answer_example={"token": ""},
)
async def prove(call: Call[ProofBody]) -> Token:
    """For 10 minutes from now this session may change what guards the account. It gets a new token."""
    body = call.body
    step = Step(
        body.method, body.password if body.method == "password" else body.code, body.credential
    )
    bearer = is_bearer(call)
    token = await signin.prove(call.ras, call.principal, step, bearer=bearer)
    return Token(token=give_token(call, token, bearer=bearer))


@table.add(
    "GET",
    "/api/v1/sessions",
    Who.USER,
    clause="7.2",
    summary="The caller's sessions",
    answer=SessionList,
    answer_example={
        "sessions": [
            {
                "session": _ID, "kind": "cookie", "created": 1790000000000, "used": 1790000600000,
                "expires": 1792592000000, "current": True,
            }
        ]
    },
)  # fmt: skip
async def list_sessions(call: Call[None]) -> SessionList:
    """List open sessions, the newest first."""
    now = call.ras.clock.now_ms()
    rows = await call.ras.store.read(
        lambda connection: connection.execute(
            select(sessions)
            .where(
                sessions.c.user == call.user, sessions.c.full.is_(True), sessions.c.expires > now
            )
            .order_by(sessions.c.created.desc(), sessions.c.id)
        ).all()
    )
    return SessionList(
        sessions=[
            SessionRow(
                session=row.id, kind=row.kind, created=row.created, used=row.used, expires=row.expires,
                current=row.id == call.principal.session,
            )
            for row in rows
            if row.kind != "cookie" or now - row.used < COOKIE_IDLE
        ]
    )  # fmt: skip


@table.add(
    "DELETE",
    "/api/v1/sessions/{session}",
    Who.PENDING,
    Who.USER,
    clause="7.2",
    summary="End one session (sign out)",
)
async def end_session(call: Call[None]) -> None:
    """End an own session; its sockets close. Before the second step only the session that asks."""
    ras, who, session = call.ras, call.principal, call.path["session"]
    if who.who is Who.PENDING and session != who.session:
        raise Refused(Status.NOT_FOUND)
    if not await ras.store.write(lambda tx: ras.sessions.end(tx, who.user, session=session)):
        raise Refused(Status.NOT_FOUND)
    if session == who.session and not is_bearer(call):
        ras.sessions.clear_cookie(call)


@table.add(
    "DELETE", "/api/v1/sessions", Who.USER, clause="7.2", summary="End all sessions, this one too"
)
async def end_sessions(call: Call[None]) -> None:
    """Sign out everywhere; all sockets close."""
    ras = call.ras
    await ras.store.write(lambda tx: ras.sessions.end(tx, call.user))
    if not is_bearer(call):
        ras.sessions.clear_cookie(call)
