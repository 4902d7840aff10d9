"""Clause 7.1: registration, confirming an e-mail address; and a new password for who forgot it."""

from typing import Annotated, Literal

import msgspec

from igrs_ras.accounts import register, reset
from igrs_ras.accounts.passwords import Password
from igrs_ras.accounts.signin import Step
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.api.sessions import Code, Email, shown_device
from igrs_ras.status import Refused, Status
from igrs_ras.wire import Answer, Body

table = Table()

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=100, description="display name")]


class RegisterBody(Body):
    """A new account. `owner_code` is the home's; without it the caller's own session of a joined invitation."""

    email: Email
    password: Password
    name: Name
    owner_code: Code = ""


class Registered(Answer):
    """`confirm`: mail (a code has to be entered at /api/v1/users/confirm) or none (sign in now)."""

    confirm: Literal["mail", "none"]


class ConfirmBody(Body):
    """The address and the code that came there."""

    email: Email
    code: Code


class ResetBody(Body):
    """Whose password was forgotten."""

    email: Email


class ResetDoneBody(Body):
    """The code from the mail, the new password, and the second factor if the account has one."""

    email: Email
    code: Code
    password: Password
    method: Literal["", "totp", "recovery"] = ""
    second: Code = ""


def confirmation(*, mailed: bool) -> Registered:
    """Return the answer to what has an address confirmed."""
    return Registered(confirm="mail" if mailed else "none")


@table.add(
    "POST",
    "/api/v1/users",
    Who.ANYBODY,
    clause="7.1",
    summary="Register",
    body=RegisterBody,
    answer=Registered,
    statuses=(Status.WRONG_CODE, Status.TOO_MANY_ATTEMPTS, Status.EXISTS, Status.SLOW_DOWN),
    example={
        "email": "alma@example.org", "password": "a sentence that only Alma knows", "name": "Alma",
        "owner_code": "8KNZ-44YW-D3XS-6GJ4",
    },
    answer_example={"confirm": "mail"},
)  # fmt: skip
async def register_user(call: Call[RegisterBody]) -> Registered:
    """Make an account with a home's owner code, or give an invited person an address and a password.

    The answer is the same whether the address has an account; the mail says it. 22: this user has a password already.
    """
    if call.principal.who not in (Who.ANYBODY, Who.USER):
        raise Refused(Status.NOT_PERMITTED)
    body = call.body
    mailed = await register.register(
        call.ras, call.principal, email=body.email, password=body.password, name=body.name,
        owner_code=body.owner_code, address=call.address,
    )  # fmt: skip
    return confirmation(mailed=mailed)


@table.add(
    "POST",
    "/api/v1/users/confirm",
    Who.ANYBODY,
    clause="7.1",
    summary="Confirm an e-mail address",
    body=ConfirmBody,
    statuses=(Status.WRONG_CODE, Status.TOO_MANY_ATTEMPTS),
    example={"email": "alma@example.org", "code": "123 456"},
)
async def confirm_email(call: Call[ConfirmBody]) -> None:
    """Enter the code from the mail: within 10 minutes, in the session that asked for it if there was one."""
    await register.confirm(call.ras, call.principal, call.body.email, call.body.code, call.address)


@table.add(
    "POST",
    "/api/v1/resets",
    Who.ANYBODY,
    clause="7.2",
    summary="Ask for a new password by mail",
    body=ResetBody,
    statuses=(Status.TOO_MANY_ATTEMPTS,),
    example={"email": "alma@example.org"},
)
async def request_reset(call: Call[ResetBody]) -> None:
    """Mail a code if the address is the confirmed one of an account. The answer is the same in any case."""
    await reset.request(call.ras, call.body.email, call.address, shown_device(call))


@table.add(
    "POST",
    "/api/v1/resets/done",
    Who.ANYBODY,
    clause="7.2",
    summary="Set the new password",
    body=ResetDoneBody,
    statuses=(Status.WRONG_CODE, Status.SECOND_STEP, Status.TOO_MANY_ATTEMPTS, Status.SLOW_DOWN),
    example={
        "email": "alma@example.org", "code": "8KNZ-44YW-D3XS-6GJ4", "password": "another sentence of Alma's",
        "method": "totp", "second": "123456",
    },
)  # fmt: skip
async def finish_reset(call: Call[ResetDoneBody]) -> None:
    """Set the password; all sessions end. 13: the code is right, but the account has a second factor."""
    body = call.body
    step = Step(body.method, body.second) if body.method else None
    await reset.finish(
        call.ras,
        email=body.email,
        code=body.code,
        password=body.password,
        step=step,
        address=call.address,
        device=shown_device(call),
    )
