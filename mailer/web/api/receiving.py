"""Mail that somebody else received for us, handed in over HTTP."""

from http import HTTPStatus

from sqlmodel import Session
from starlette.responses import Response

from mailer import tenancy
from mailer.errors import Conflict, Forbidden, Invalid, NotFound, Problem
from mailer.feedback.inbound import Mail, address_of
from mailer.web import problems
from mailer.web.api.calls import Answer, Call, body_of
from mailer.web.api.queries import RawMailQuery


async def raw(call: Call) -> Answer | Response:
    """Take in a mail as it arrived: a bounce, a complaint or an opt-out by mail to our domain of return paths.

    It is all tenants' mail, so only the operator hands it in.
    """
    asked = call.query(RawMailQuery)
    body = await body_of(call.request)

    def ours(session: Session) -> bool:
        return tenancy.is_operator(session, call.tenant_id)

    if not await call.read(ours):
        raise Forbidden(f"inbound mail is the operator's: hand it in with a key of the tenant {tenancy.DEFAULT}")
    if not call.service.settings.return_path_domain:
        raise Conflict("nothing is received here: set MAILER_RETURN_PATH_DOMAIN to the domain of return paths")
    room = call.service.mailroom
    address = asked.to or address_of(body, room.knows)
    if address is None:
        raise Invalid(Problem("to", "say for which address the mail came: its headers name none of ours"))
    if not room.knows(address):
        raise NotFound("there is no such address here: the token in it is not one that we signed")
    reply = await room.arrived(address, Mail("", body))
    if reply.startswith("5"):
        raise Invalid(Problem("", reply.partition(" ")[2].partition(" ")[2]))
    if reply.startswith("4"):
        unavailable = HTTPStatus.SERVICE_UNAVAILABLE
        return problems.response(
            problems.described(unavailable, "what the mail means could not be recorded: send it again"), unavailable
        )
    return Answer({"taken": True, "reply": reply})
