"""What operators ask: how the streams stand, and what became of an email that a crash left in doubt."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from sqlmodel import Session

from mailer import emails, streams, tenancy, uncertain
from mailer.audit import Act
from mailer.drafts import Note
from mailer.errors import Forbidden
from mailer.models import Email
from mailer.status import Status
from mailer.streams import State
from mailer.uncertain import Decision, Resolution
from mailer.web.api.calls import URGENT, Answer, Call
from suppression.rules import Ender


class ResolveDraft(BaseModel):
    """What became of an uncertain email."""

    model_config = ConfigDict(extra="forbid")

    as_: Annotated[Resolution, Field(alias="as", description="Mail that is sent `again` may arrive twice.")]
    note: Note | None = None


async def listing(call: Call) -> Answer:
    """Show both streams to the operator: paused or going, which relays rest and why, how long mail waits.

    All tenants share the streams: whose relays they are and what is in their way is not for customers.
    """

    def look(session: Session) -> Sequence[State]:
        if not tenancy.is_operator(session, call.tenant_id):
            raise Forbidden(f"the streams are the operator's: ask with a key of the tenant {tenancy.DEFAULT}")
        return streams.states(session, call.service.settings, call.now)

    found = await call.read(look)
    return Answer({"data": [state.view() for state in found], "has_more": False})


async def resolve(call: Call) -> Answer:
    """Say what became of an uncertain email: it was sent, it failed, or it is sent again."""
    draft = call.draft(ResolveDraft)
    decision = Decision(draft.as_, f"{Ender.OPERATOR}:{call.key.name}", draft.note)

    def verb(session: Session) -> Email:
        email = emails.get(session, call.tenant_id, call.path("id"))
        call.log(session, Act.EMAIL_RESOLVED, email.id)
        return uncertain.resolve_one(session, email, decision, call.now)

    email = await call.run(verb, urgency=URGENT)
    if email.status is Status.QUEUED:
        call.service.ring(email.stream)
    return Answer({"id": email.id, "status": email.status})
