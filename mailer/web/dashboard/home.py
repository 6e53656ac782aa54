"""Home: is everything going? Each stream at a glance, what is wrong, and the last seven days."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import alarms, campaigns, reports, streams, tenancy
from mailer.halts import Pause
from mailer.models import Alarm, Brake, Webhook
from mailer.reports import Figure
from mailer.settings import Limits
from mailer.streams import State
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.charts import Bar, Chart, bars
from mailer.web.dashboard.hooking import Seen
from mailer.webhooks import endpoints
from suppression.rules import Stream

#: How many days are shown, today included.
DAYS = 7
_ALARMS = 20


class Rate(NamedTuple):
    """A share beside the limits that it must stay below."""

    value: float | None
    limits: Limits | None

    @property
    def kind(self) -> str:
        """Return how serious it is: `bad` from where mail is paused, `warn` from where somebody is warned."""
        if self.value is None or self.limits is None or self.value < self.limits.warn:
            return ""
        return "bad" if self.value >= self.limits.pause else "warn"


class Health(NamedTuple):
    """One stream of one tenant."""

    state: State
    #: Of the tenant alone, whatever the stream does.
    paused: Pause | None
    sent: int
    bounces: Rate
    complaints: Rate
    unsubscribed: int
    chart: Chart


class Week(NamedTuple):
    """What became of a stream's mail of the last `DAYS` days, by the day of its acceptance."""

    days: Mapping[date, Mapping[str, int]]
    #: Of all days together, by name.
    figures: Mapping[str, Figure]


class _Seen(NamedTuple):
    states: Sequence[State]
    weeks: Mapping[Stream, Week]
    alarms: Sequence[Alarm]
    brakes: Sequence[Brake]
    #: Endpoints that we disabled, for whoever sees webhooks.
    silenced: Sequence[Webhook]
    operator: bool


async def show(asked: Asked) -> Response:
    """Show both streams, and above them what somebody should look at."""
    seen = await asked.read(lambda session: _look(session, asked))
    return asked.page(
        "home.html",
        {
            "streams": [_health(asked, seen.weeks[state.stream], state) for state in seen.states],
            "alarms": seen.alarms,
            "brakes": seen.brakes,
            "silenced": [Seen(webhook) for webhook in seen.silenced],
            "operator": seen.operator,
            "captures": {stream: asked.service.settings.captures(stream) for stream in Stream},
        },
    )


def _look(session: Session, asked: Asked) -> _Seen:
    """Ask for everything at once; sums of days only, nothing is counted here."""
    tenant_id, now = asked.tenant_id, asked.now
    raised = [alarm for alarm in alarms.listing(session, tenant_id, limit=_ALARMS) if alarm.undone_at is None]
    return _Seen(
        streams.states(session, asked.service.settings, now),
        week_of(session, tenant_id, now.date()),
        [alarm for alarm in raised if alarm.last_at > now - timedelta(days=DAYS)],
        campaigns.warnings(session, now, tenant_id=tenant_id),
        endpoints.given_up(session, tenant_id) if asked.may(May.SEE_WEBHOOKS) else (),
        tenancy.is_operator(session, tenant_id),
    )


def week_of(session: Session, tenant_id: int, today: date) -> Mapping[Stream, Week]:
    """Return the numbers of the last `DAYS` days by stream."""
    span = reports.Span(today - timedelta(days=DAYS - 1), today)
    return {
        stream: Week(days, {each.name: each for each in reports.figures(reports.added(days.values()))})
        for stream, days in reports.daily_sums(session, tenant_id, span).items()
    }


def _health(asked: Asked, week: Week, state: State) -> Health:
    totals = {name: figure.value for name, figure in week.figures.items()}
    settings = asked.service.settings
    sent = [day.get("sent", 0) for day in week.days.values()]
    data = [
        Bar(asked.figures.day(day), amount, asked.figures.number(amount))
        for day, amount in zip(week.days, sent, strict=True)
    ]
    said = asked.say("home_chart", stream=asked.say(f"stream_{state.stream}"), sent=asked.figures.number(sum(sent)))
    return Health(
        state,
        state.tenants.get(asked.tenant.key),
        sum(sent),
        Rate(totals["hard_bounce_rate"], settings.bounces),
        Rate(totals["complaint_rate"], settings.complaints),
        int(totals["unsubscribed"] or 0) - int(totals["resubscribed"] or 0),
        Chart(
            bars(said, data),
            (str(asked.say("chart_day")), str(asked.say("home_sent"))),
            [(bar.label, bar.shown) for bar in data],
        ),
    )


SCREENS = (Screen("", May.SEE_HOME, show),)
