"""What others told about our mail: what found its mail, and what did not."""

from sqlmodel import Session

from mailer import tenancy
from mailer.errors import Forbidden
from mailer.feedback import hearing
from mailer.models import Told, ToldState
from mailer.web.api.calls import Answer, Call
from mailer.web.api.queries.paging import Paged


class ToldQuery(Paged):
    """Which reports are asked for."""

    state: ToldState = ToldState.UNMATCHED


def told_view(told: Told) -> dict[str, object]:
    """Return a report as JSON shows it."""
    return {
        "id": told.id,
        "state": told.state,
        "why": told.why,
        "kind": told.kind,
        "category": told.category,
        "hard": told.hard,
        "code": told.code,
        "diagnostic": told.diagnostic,
        "at": told.at,
        "heard_at": told.heard_at,
        "source": told.source,
        "reporter": told.reporter,
        "proof": told.proof or None,
        "email_id": told.email_id,
        "recipient": told.recipient,
        "message_id": told.message_id,
        "envelope_id": told.envelope_id,
    }


async def listing(call: Call) -> Answer:
    """List what others told about our mail, the newest first: what names no mail of ours, or another state.

    Kept for 30 days. An unmatched report belongs to no tenant, so this is for the operator.
    """
    asked = call.query(ToldQuery)

    def look(session: Session) -> hearing.Page:
        if not tenancy.is_operator(session, call.tenant_id):
            raise Forbidden(f"reports are the operator's: ask with a key of the tenant {tenancy.DEFAULT}")
        return hearing.listing(session, asked.state, limit=asked.limit, after=asked.after)

    page = await call.read(look)
    return Answer({"data": [told_view(told) for told in page.reports], "has_more": page.has_more})
