"""Scanner alarms: many opt-outs of one domain or network soon after delivery."""

from typing import Annotated

from pydantic import Field
from sqlmodel import Session

from mailer import alarms
from mailer.alarms import Undoing
from mailer.audit import Act
from mailer.drafts import Body, Note
from mailer.models import Alarm
from mailer.web.api.calls import Answer, Call
from mailer.web.api.queries.paging import Paged
from suppression.rules import Ender


class AlarmQuery(Paged):
    """Which alarms are asked for."""

    campaign_id: Annotated[str, Field(max_length=40)] | None = None


class UndoDraft(Body):
    """Why the opt-outs of an alarm are undone."""

    note: Note


def alarm_view(alarm: Alarm) -> dict[str, object]:
    """Return an alarm as JSON shows it."""
    return {
        "id": alarm.id,
        "campaign_id": alarm.campaign_id or None,
        "kind": alarm.kind,
        "value": alarm.value,
        "opt_outs": alarm.count,
        "first_at": alarm.first_at,
        "last_at": alarm.last_at,
        "undone_at": alarm.undone_at,
        "note": alarm.note,
    }


async def listing(call: Call) -> Answer:
    """List scanner alarms, the newest first; the opt-outs that they are about hold."""
    asked = call.query(AlarmQuery)

    def verb(session: Session) -> list[dict[str, object]]:
        found = alarms.listing(
            session, call.tenant_id, campaign_id=asked.campaign_id, limit=asked.limit + 1, after=asked.after
        )
        return [alarm_view(alarm) for alarm in found]

    found = await call.read(verb)
    return Answer({"data": found[: asked.limit], "has_more": len(found) > asked.limit})


async def undo(call: Call) -> Answer:
    """Undo the opt-outs of an alarm; whoever said later that they want to leave stays away."""
    draft = call.draft(UndoDraft)
    what = Undoing(call.path("id"), f"{Ender.OPERATOR}:{call.key.name}", draft.note)
    undone = await alarms.undo_all(call.service.database, call.tenant_id, what, call.service.now)

    def verb(session: Session) -> dict[str, object]:
        call.log(session, Act.ALARM_UNDONE, what.alarm_id)
        return alarm_view(alarms.get(session, call.tenant_id, what.alarm_id))

    alarm = await call.run(verb)
    return Answer({**alarm, **undone._asdict()})
