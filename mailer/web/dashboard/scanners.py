"""Opt-outs that a scanner may have made: alarms, and their undoing with a note."""

from starlette.responses import Response

from mailer import alarms
from mailer.alarms import Undoing
from mailer.audit import Act
from mailer.drafts import LiftDraft, parse
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen

_PAGE = 50


async def show(asked: Asked) -> Response:
    """Show the alarms, the newest first, and what became of the one that was undone just now."""
    after = asked.query("after", 40)
    found = await asked.read(
        lambda session: alarms.listing(session, asked.tenant_id, limit=_PAGE + 1, after=after or None)
    )
    shown = found[:_PAGE]
    return asked.page(
        "suppressions-alarms.html",
        {
            "alarms": shown,
            "undone": asked.told,
            "kept": alarms.KEPT,
            "rule": {"fewest": alarms.FEWEST, "one_in": alarms.ONE_IN},
            "open_until": asked.now - alarms.KEPT,
            "newest": asked.at("/suppressions/alarms") if after else "",
            "older": asked.at("/suppressions/alarms", after=shown[-1].id) if len(found) > _PAGE else "",
        },
    )


async def undo(asked: Asked) -> Response:
    """Give back what the opt-outs of an alarm took; whoever said later that they want to leave stays away."""
    note = parse(LiftDraft, {"note": asked.form.one("note")}).note
    what = Undoing(asked.form.one("alarm"), asked.operator, note)
    undone = await alarms.undo_all(asked.service.database, asked.tenant_id, what, asked.service.now)
    await asked.run(lambda session: asked.log(session, Act.ALARM_UNDONE, what.alarm_id, **undone._asdict()))
    return asked.tell("/suppressions/alarms", undone._asdict())


SCREENS = (Screen("/suppressions/alarms", May.SEE_SUPPRESSIONS, show, undo, may_act=May.EDIT_SUPPRESSIONS),)
