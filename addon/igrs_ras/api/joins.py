"""Joining a home by an invitation's link."""

from igrs_ras import wire
from igrs_ras.accounts.names import display_name
from igrs_ras.api.app import is_own
from igrs_ras.api.route import Call, Table, Who
from igrs_ras.joins import Request, check_point
from igrs_ras.status import Status
from igrs_ras.wire import Answer, Body, Id

table = Table()


class NewJoin(Body):
    """A client's key, and the proof that it has the invitation's secret."""

    invitation: Id
    client_public: str
    proof: str
    name: str


class JoinState(Answer):
    """What became of it: pending, answered, refused or wrong. The rest is empty until it is answered.

    `box`: sealed by the home for this client. `token`: a session's, for clients that are not of this origin; browsers of
    this origin get a cookie. Neither if the client was signed in when it joined.
    """

    join: str
    state: str
    site: str = ""
    user: str = ""
    home_public: str = ""
    box: str = ""
    token: str = ""


class JoinDone(Body):
    """`done`: `HMAC-SHA256(done key, "done")`, which shows the home that the client has its keys."""

    done: str


@table.add(
    "POST",
    "/api/v1/joins",
    Who.ANYBODY,
    clause="7.1",
    summary="Join by an invitation; repeat it to learn the home's answer",
    body=NewJoin,
    answer=JoinState,
    statuses=(Status.NOT_FOUND, Status.SLOW_DOWN),
    example={
        "invitation": "dad36809c9bb585398ff5b6ebc814edc",
        "client_public": "BHQFZXzX2MuoHg4nUuUt0RgxgahKe/EMEmawtO6a/7Dt+fPGN05QJgmHn+gmK58QZQvlF4FKKMF1jrZ1SeKieh0=",
        "proof": "Qzg+PF4K+xIVYBtK/IwKdizGHwztzXe7rWVR//i/k4s=",
        "name": "Alma",
    },
    answer_example={"join": "00112233445566778899aabbccddeeff", "state": "pending"},
)
async def join_home(call: Call[NewJoin]) -> JoinState:
    """Keep the request for the home, or say what became of the same one."""
    request = Request(
        invitation=call.body.invitation,
        client_public=check_point(
            wire.unb64(call.body.client_public, 65, field="client_public"), "client_public"
        ),
        proof=wire.unb64(call.body.proof, 32, field="proof"),
        name=display_name(call.body.name),
    )
    bearer = not is_own(call.ras, call.request, call.request.headers.get("Origin", ""))
    user = call.user if call.principal.who is Who.USER else ""
    found = await call.ras.joins.ask(request, user, bearer=bearer)
    if found.token and not bearer:
        call.ras.sessions.set_cookie(call, found.token)
    return JoinState(
        join=found.join,
        state=found.state,
        site=found.site,
        user=found.user,
        home_public=wire.b64(found.home_public),
        box=wire.b64(found.box),
        token=found.token if bearer else "",
    )


@table.add(
    "POST",
    "/api/v1/joins/{join}/done",
    Who.USER,
    clause="7.1",
    summary="Say that the client has its keys, so that the home lets it in",
    body=JoinDone,
    statuses=(Status.NOT_FOUND, Status.EXISTS),
    example={"done": "ODSBC/ASwnqfzd3jb8D7P1oEyaQdCeH9yANEhoeV5Bg="},
)
async def finish_join(call: Call[JoinDone]) -> None:
    """Pass the proof on to the home."""
    proof = wire.unb64(call.body.done, 32, field="done")
    await call.ras.joins.done(call.path["join"], call.user, proof)
