"""Joining a home by a link, and signing in later: calls that can be repeated at each start, in any state.

What must not be lost is stored before it is used. So whenever the program ends, the next start goes on: the same key asks
again, an opened box is told again as *done*, and what is done is not asked for any more.
"""

from typing import TYPE_CHECKING

from ilp import IlpError
from ilp.joining import JoinKeyPair, client_join_keys, done_proof, join_proof, open_box

from .errors import (
    BadAnswerError,
    BoxError,
    ExistsError,
    JoinGoneError,
    JoinPendingError,
    JoinRefusedError,
    JoinWrongError,
    NotFoundError,
    SecondStepError,
    SignInError,
)
from .keys import KeyRing
from .memory import ASKING, JOINED, OPENED
from .wire import Fields, MalformedError, b64

if TYPE_CHECKING:
    from .http import Http
    from .memory import Memory

BOX_MAX = 16 * 1024
_TOKEN_MAX = 200


async def go_on_joining(memory: Memory, http: Http, token: str = "") -> None:
    """Do the next steps of a join until it is finished. `token`: join as the user who is signed in with it.

    Raises JoinPendingError when the home has not answered yet; JoinGoneError, JoinRefusedError, JoinWrongError, BoxError
    when it will not; kin of NotSentError and ServerSaysError when the server could not be asked.
    """
    if memory.stage == ASKING:
        await _ask(memory, http, token)
    if memory.stage == OPENED:
        try:
            await _tell(memory, http)
        except SignInError:
            # The session has ended since. The same request makes another one.
            await _ask(memory, http, token)
            await _tell(memory, http)


async def _ask(memory: Memory, http: Http, token: str) -> None:
    pair = JoinKeyPair(memory.private)
    id_ = bytes.fromhex(memory.invitation)
    body = {
        "invitation": memory.invitation,
        "client_public": b64(pair.public),
        "proof": b64(join_proof(memory.secret, id_, pair.public)),
        "name": memory.name,
    }
    try:
        answer = await http.call("POST", "/api/v1/joins", body, token)
    except NotFoundError as error:
        raise JoinGoneError from error
    try:
        match answer.text("state", 20):
            case "pending":
                raise JoinPendingError
            case "refused":
                raise JoinRefusedError
            case "wrong":
                raise JoinWrongError
            case "answered":
                _open(memory, answer, pair, token)
            case _:
                raise BadAnswerError
    except MalformedError as error:
        raise BadAnswerError(f"field {error}") from error


def _open(memory: Memory, answer: Fields, pair: JoinKeyPair, token: str) -> None:
    """Open the box and store all of it. The server can have made none of it: it has not the link's secret."""
    id_ = bytes.fromhex(memory.invitation)
    join, user, site = answer.hex_id("join"), answer.hex_id("user"), answer.hex_id("site")
    fresh = answer.text("token", _TOKEN_MAX)
    home_public, box = answer.binary("home_public", size=65), answer.binary("box", most=BOX_MAX)
    try:
        keys = client_join_keys(pair, home_public, memory.secret, id_)
        plain = open_box(keys, id_, box)
    except IlpError:
        raise BoxError from None
    ring = KeyRing.read(plain)
    memory.join, memory.user, memory.site = join, user, site
    memory.token = fresh or token
    memory.person, memory.person_name = ring.person, ring.name
    memory.locks = {lock.device: lock for lock in ring.locks}
    memory.done, memory.update_key = done_proof(keys.done), keys.update
    memory.stage = OPENED
    memory.save()


async def _tell(memory: Memory, http: Http) -> None:
    body = {"done": b64(memory.done)}
    try:
        await http.call("POST", f"/api/v1/joins/{memory.join}/done", body, memory.token)
    except ExistsError as error:
        raise JoinRefusedError from error
    except NotFoundError as error:
        raise JoinGoneError from error
    memory.stage = JOINED
    memory.secret = memory.private = memory.done = b""
    memory.save()


async def sign_in(memory: Memory, http: Http, email: str, password: str) -> list[str]:
    """Sign in for a new session (7.2). Returns the ways of the second step; empty: signed in.

    WrongCredentialsError, TooManyAttemptsError.
    """
    body = {"email": email, "password": password, "kind": "bearer", "device": memory.device_token}
    answer = await http.call("POST", "/api/v1/sessions", body)
    return _signed_in(memory, answer)


async def second_step(memory: Memory, http: Http, method: str, code: str) -> None:
    """Complete signing in with the code of an app (totp), of the recovery list (recovery) or of a mail (mail). WrongCodeError."""
    body = {"method": method, "code": code, "device": memory.device_token}
    answer = await http.call("POST", "/api/v1/sessions/step", body, memory.token)
    if _signed_in(memory, answer):
        raise SecondStepError


async def mail_code(memory: Memory, http: Http) -> None:
    """Have a code mailed for the second step."""
    await http.call("POST", "/api/v1/sessions/mail", {"device": memory.device_token}, memory.token)


def _signed_in(memory: Memory, answer: Fields) -> list[str]:
    try:
        needed = answer.text("second_step", 10) == "needed"
        methods = answer.texts("methods", 10) if needed else []
        token, device = answer.text("token", _TOKEN_MAX), answer.text("device", _TOKEN_MAX)
        user = answer.hex_id("user")
    except MalformedError as error:
        raise BadAnswerError(f"field {error}") from error
    if memory.user and user != memory.user:
        # Another person's account: its session would show another person's homes.
        raise BadAnswerError("this is another person's account than the one that joined")
    memory.token, memory.device_token = token, device or memory.device_token
    memory.save()
    return methods
