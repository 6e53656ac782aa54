"""Product code asks for a person to get mail; the mailbox itself says yes."""

from http import HTTPStatus

from sqlmodel import Session
from starlette.responses import Response

from mailer import subscribing
from mailer.drafts import parse
from mailer.drafts.subscribing import SubscribeDraft
from mailer.errors import Limited
from mailer.submission import Accepted
from mailer.web.api.calls import URGENT, Answer, Call
from mailer.web.api.once import Work, asked_by, once


async def subscribe(call: Call) -> Answer | Response:
    """Send a person the mail that asks whether they want these topics; nothing begins before they say yes."""
    draft = parse(SubscribeDraft, call.json())
    asked = subscribing.Request(
        tenant_id=call.tenant_id,
        email=call.path("email"),
        captures=call.key.captures,
        public=False,
        **draft.model_dump(),
    )

    def verb(session: Session) -> Accepted:
        accepted = subscribing.ask(session, asked, call.service.intake, call.now)
        if accepted is None:
            raise Limited("this person, or this network, was asked too often lately: ask again tomorrow")
        return accepted

    def told(accepted: Accepted) -> Answer:
        return Answer({"id": accepted.id, "status": accepted.status}, HTTPStatus.ACCEPTED)

    return await once(call, Work(verb, told, lambda accepted: (accepted.stream,), URGENT), asked_by(call))
