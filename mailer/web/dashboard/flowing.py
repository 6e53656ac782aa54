"""The streams: going or paused, what is in the way, which thresholds stop them, and who lets them go on."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import campaigns, halts, streams, tenancy
from mailer.audit import Act
from mailer.errors import Forbidden, Invalid, Problem
from mailer.halts import By
from mailer.models import Brake
from mailer.streams import State
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.home import DAYS, Rate, Week, week_of
from suppression.rules import Stream

_LONGEST_REASON = 500
#: Which figure a brake looks at, by the name of its measure.
_MEASURED = {"complaints": "complaint_rate", "bounces": "hard_bounce_rate"}


class _Seen(NamedTuple):
    states: Sequence[State]
    weeks: Mapping[Stream, Week]
    brakes: Sequence[Brake]
    operator: bool


async def show(asked: Asked) -> Response:
    """Show both streams as this tenant may know them; the operator's people see relays and pauses of everybody."""
    seen = await asked.read(partial(_look, asked))
    settings = asked.service.settings
    limits = {"complaints": settings.complaints, "bounces": settings.bounces}
    return asked.page(
        "streams.html",
        {
            "states": seen.states,
            "own": {state.stream: state.tenants.get(asked.tenant.key) for state in seen.states},
            "brakes": {stream: [each for each in seen.brakes if each.stream == stream] for stream in Stream},
            "rates": {
                stream: [
                    (name, week.figures[figure], Rate(week.figures[figure].value, limits[name]))
                    for name, figure in _MEASURED.items()
                ]
                for stream, week in seen.weeks.items()
            },
            "operator": seen.operator,
            "captures": {stream: settings.captures(stream) for stream in Stream},
            "days": DAYS,
            "promotional": Stream.PROMOTIONAL,
        },
    )


def _look(asked: Asked, session: Session) -> _Seen:
    return _Seen(
        streams.states(session, asked.service.settings, asked.now),
        week_of(session, asked.tenant_id, asked.now.date()),
        campaigns.warnings(session, asked.now, tenant_id=asked.tenant_id),
        # What concerns everybody is for whoever runs the service, and not for each viewer of their tenant.
        asked.may(May.STEER_STREAMS) and tenancy.is_operator(session, asked.tenant_id),
    )


async def act(asked: Asked) -> Response:
    """Pause a stream or the tenant's own mail of it, or let it go on."""
    stream = _stream(asked.form.one("stream"))
    do, whose = asked.form.one("do"), None if asked.form.one("whose") == "all" else asked.tenant_id
    if whose is not None and stream is not Stream.PROMOTIONAL:
        raise Invalid(Problem("stream", "of one sender only promotional mail is paused: security mail must go"))
    if do == "pause":
        await asked.run(partial(_pause, asked, stream, whose), conclusive=True)
    elif do == "resume":
        await asked.run(partial(_resume, asked, stream, whose))
        asked.service.ring(stream)
    else:
        raise Invalid(Problem("do", "must be one of pause, resume"))
    return asked.to("/streams", done=f"stream_{do}d")


def _pause(asked: Asked, stream: Stream, tenant_id: int | None, session: Session) -> None:
    by = _check(asked, session, stream, tenant_id)
    reason = asked.form.one("reason").strip()
    if not 1 <= len(reason) <= _LONGEST_REASON:
        raise Invalid(Problem("reason", f"must have 1 to {_LONGEST_REASON} characters: whoever looks reads why"))
    halts.pause(session, stream, reason, asked.now, tenant_id=tenant_id, by=by)
    asked.log(session, Act.STREAM_PAUSED, stream, whose="all" if tenant_id is None else "own")


def _resume(asked: Asked, stream: Stream, tenant_id: int | None, session: Session) -> None:
    _check(asked, session, stream, tenant_id)
    if halts.resume(session, stream, asked.now, tenant_id=tenant_id):
        asked.log(session, Act.STREAM_RESUMED, stream, whose="all" if tenant_id is None else "own")


def _check(asked: Asked, session: Session, stream: Stream, tenant_id: int | None) -> By:
    """Return as who one acts; raises `Forbidden` where that is for whoever runs the service."""
    if tenancy.is_operator(session, asked.tenant_id):
        return By.OPERATOR
    if tenant_id is None:
        raise Forbidden("the streams are shared: whoever runs this service pauses them for everybody")
    if halts.paused_by(session, stream, tenant_id) is By.OPERATOR:
        raise Forbidden("whoever runs this service paused this mail: ask them why, and to let it go on")
    return By.SENDER


def _stream(text: str) -> Stream:
    if text not in set(Stream):
        raise Invalid(Problem("stream", f"must be one of {', '.join(Stream)}"))
    return Stream(text)


SCREENS = (Screen("/streams", May.SEE_TOPICS, show, act, may_act=May.STEER_STREAMS),)
