"""Sums kept as events arrive, so that no report counts a big table."""

from collections import Counter as Sums
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import NamedTuple, Protocol

from sqlalchemy import Subquery, case, cast, func, select, text, union_all
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.models import HOUR_COUNTER, Counter, Opens
from mailer.models import Tally as Waiting

_counter = SQLModel.metadata.tables[str(Counter.__tablename__)]
_tally = SQLModel.metadata.tables[str(Waiting.__tablename__)]


#: The dimension that every email belongs to.
ALL = ("all", "")
#: The only one of mail that was sent to look at.
TEST = ("test", "")
#: The hours in which things happened, of a stream and of a campaign; everything else is counted on the day on which
#: the email was accepted, so that parts of a campaign add up whenever they happened. A fact's value is the hour, and
#: behind it the campaign.
STREAM_HOUR, CAMPAIGN_HOUR = "stream_hour", "campaign_hour"
#: The columns of the hours of a day, in their order.
HOURS = tuple(f"h{hour:02}" for hour in range(24))
#: A campaign's mail by whose mailboxes it went to.
CAMPAIGN_PROVIDER = "campaign_provider"
#: Sent with a pixel of their own, whose opens tell the provider; counted by provider alone.
FOLLOWED = "tracked:individual"
#: Between the parts of a value that has two; no id and no provider has it.
SEPARATOR = "|"
#: How many facts one fold adds to the sums.
FOLDED = 5_000


class Key(NamedTuple):
    """What one sum is about."""

    tenant_id: int
    day: date
    stream: str
    dimension: str
    value: str
    metric: str


def _facts() -> Subquery:
    names = (*Key._fields, "amount")
    both = (select(*(table.c[name] for name in names)) for table in (_counter, _tally))
    return union_all(*both).subquery("facts")


def _hourly() -> Subquery:
    key = [HOUR_COUNTER.c[name] for name in ("tenant_id", "day", "stream", "campaign_id", "metric")]
    value = _tally.c.value
    waiting = select(
        *(_tally.c[name] for name in ("tenant_id", "day", "stream")),
        # As wide as the column: PostgreSQL looks for what it is equal to by the index of both.
        cast(func.substr(value, 4), HOUR_COUNTER.c.campaign_id.type).label("campaign_id"),
        _tally.c.metric,
        *(case((func.substr(value, 1, 2) == name[1:], _tally.c.amount), else_=0).label(name) for name in HOURS),
    ).where(_tally.c.dimension.in_((STREAM_HOUR, CAMPAIGN_HOUR)))
    return union_all(select(*key, *(HOUR_COUNTER.c[name] for name in HOURS)), waiting).subquery("hourly")


#: Every sum of a day and what is not added to it yet: asked in one statement, nothing is seen twice or not at all.
#: The hours stand in `HOURLY`.
FACTS = _facts()
#: What happened in each hour of a day, with what is not added yet; rows without a campaign are of the whole stream.
HOURLY = _hourly()


class Mail(Protocol):
    """What of an accepted email, a row or a claimed one, says where its facts are counted."""

    @property
    def tenant_id(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def stream(self) -> str: ...
    @property
    def tags(self) -> Mapping[str, str] | None: ...
    @property
    def topic(self) -> str | None: ...
    @property
    def template(self) -> str | None: ...
    @property
    def campaign_id(self) -> str | None: ...
    @property
    def provider(self) -> str: ...
    @property
    def opens(self) -> Opens: ...


def dimensions(
    *,
    tags: Mapping[str, str] | None,
    topic: str | None,
    template: str | None,
    campaign: str | None = None,
    provider: str | None = None,
) -> list[tuple[str, str]]:
    """Return every dimension that an email counts in; `provider` is its mailbox's, once a relay was asked.

    What is sent to try it, with the tag `test=true`, is counted apart and is in no report.
    """
    if (tags or {}).get("test") == "true":
        return [TEST]
    found = [ALL]
    if provider:
        found.append(("provider", provider))
    if topic:
        found.append(("topic", topic))
    if template:
        found.append(("template", template))
    if campaign:
        found.append(("campaign", campaign))
        if provider:
            found.append((CAMPAIGN_PROVIDER, f"{campaign}{SEPARATOR}{provider}"))
    found += [("tag", f"{name}={value}"[:160]) for name, value in (tags or {}).items()]
    return found


def of_providers(dims: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return those dimensions that name a mailbox provider."""
    return [each for each in dims if each[0] in ("provider", CAMPAIGN_PROVIDER)]


def moments(dims: Iterable[tuple[str, str]], at: datetime) -> list[tuple[str, str]]:
    """Return the hours (UTC) that a fact belongs to, by what it is counted in: its stream's, and its campaign's."""
    hour, found = f"{at.astimezone(UTC).hour:02}", []
    for dimension, value in dims:
        if dimension == ALL[0]:
            found.append((STREAM_HOUR, hour))
        elif dimension == "campaign":
            found.append((CAMPAIGN_HOUR, f"{hour}{SEPARATOR}{value}"))
    return found


class Tally:
    """Counts in memory what one transaction will add to the sums."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.sums: Sums[Key] = Sums()

    def add(
        self,
        tenant_id: int,
        day: date,
        stream: str,
        metric: str,
        dims: Iterable[tuple[str, str]],
        amount: int = 1,
        *,
        at: datetime | None = None,
    ) -> None:
        """Count one fact in each of its dimensions; an amount of -1 takes one back that turned out otherwise.

        `day` is when the email was accepted, `at` when it happened or was learnt: None leaves it out of the hours.
        """
        counted = list(dims)
        for dimension, value in counted:
            self.sums[Key(tenant_id, day, stream, dimension, value, metric)] += amount
        if at is not None:
            happened = at.astimezone(UTC).date()
            for dimension, value in moments(counted, at):
                self.sums[Key(tenant_id, happened, stream, dimension, value, metric)] += amount

    def count(self, mail: Mail, metric: str, at: datetime, amount: int = 1, *, asked: bool = True) -> None:
        """Count a fact about an email, or about several like it, on the day on which it was accepted and in this hour.

        `asked`: a relay was asked, so that it counts by mailbox provider too.
        """
        dims = dimensions(
            tags=mail.tags,
            topic=mail.topic,
            template=mail.template,
            campaign=mail.campaign_id,
            provider=mail.provider if asked else None,
        )
        if metric == FOLLOWED:
            dims = of_providers(dims)
        self.add(mail.tenant_id, mail.created_at.date(), mail.stream, metric, dims, amount, at=at)

    def count_tracked(self, mail: Mail, at: datetime, *, pixels: int, links: int) -> None:
        """Count mails that arrived with a pixel and with links of ours, or take them back; rates divide by these.

        Those with a pixel whose opens tell the person's mailbox provider are counted apart as well.
        """
        if pixels:
            self.count(mail, "tracked", at, pixels)
        if pixels and mail.opens is Opens.INDIVIDUAL:
            self.count(mail, FOLLOWED, at, pixels)
        if links:
            self.count(mail, "tracked_links", at, links)

    def write(self, session: Session) -> None:
        """Note everything in the database; the clock adds it to the sums, reports show it at once."""
        if self.sums:
            rows = [{**key._asdict(), "amount": amount} for key, amount in self.sums.items()]
            session.connection().execute(_tally.insert(), rows)
            self.sums.clear()


def fold(session: Session) -> int:
    """Add waiting facts to the sums, some thousands at a time; return how many they were. One clock does it."""
    if database.on_postgresql(session):
        return int(session.execute(_ON_POSTGRESQL).scalar_one())
    oldest = select(_tally.c.id).order_by(_tally.c.id).limit(FOLDED).subquery()
    last = session.execute(select(func.max(oldest.c.id))).scalar_one()
    if last is None:
        return 0
    for adding in _ON_SQLITE:
        session.execute(adding, {"last": last})
    return len(session.execute(_tally.delete().where(_tally.c.id <= last).returning(_tally.c.id)).all())


_KEY = "stream, dimension, value, metric"
_HOURLY = f"('{STREAM_HOUR}', '{CAMPAIGN_HOUR}')"
# What waits, each sum once: it is added to the sums of days, of months, and of hours.
_SUMMED = "SELECT tenant_id, day, {key}, SUM(amount) AS amount FROM {facts} GROUP BY tenant_id, day, {key}"
_OF_DAYS = """
    INSERT INTO counter (tenant_id, day, {key}, amount)
    SELECT tenant_id, day, {key}, amount FROM {summed} WHERE dimension NOT IN {hourly}
    ON CONFLICT (tenant_id, day, {key}) DO UPDATE SET amount = counter.amount + excluded.amount
"""
_OF_MONTHS = """
    INSERT INTO month_counter (tenant_id, month, {key}, amount)
    SELECT tenant_id, {month}, {key}, SUM(amount) FROM {summed} WHERE dimension NOT IN {hourly}
    GROUP BY tenant_id, {month}, {key}
    ON CONFLICT (tenant_id, month, {key}) DO UPDATE SET amount = month_counter.amount + excluded.amount
"""
_OF_HOURS = """
    INSERT INTO hour_counter (tenant_id, day, stream, campaign_id, metric, {hours})
    SELECT tenant_id, day, stream, SUBSTR(value, 4), metric, {amounts} FROM {summed} WHERE dimension IN {hourly}
    GROUP BY tenant_id, day, stream, SUBSTR(value, 4), metric
    ON CONFLICT (tenant_id, day, stream, campaign_id, metric) DO UPDATE SET {more}
"""


def _additions(summed: str, month: str) -> tuple[str, str, str]:
    """Return the three statements; `month` is a dialect's word for the first day of a day's month."""
    words = {
        "summed": summed,
        "month": month,
        "key": _KEY,
        "hourly": _HOURLY,
        "hours": ", ".join(HOURS),
        "amounts": ", ".join(
            f"SUM(CASE WHEN SUBSTR(value, 1, 2) = '{name[1:]}' THEN amount ELSE 0 END)" for name in HOURS
        ),
        "more": ", ".join(f"{name} = hour_counter.{name} + excluded.{name}" for name in HOURS),
    }
    return _OF_DAYS.format(**words), _OF_MONTHS.format(**words), _OF_HOURS.format(**words)


_WAITING = _SUMMED.format(key=_KEY, facts="tally WHERE id <= :last")
_ON_SQLITE = tuple(map(text, _additions(f"({_WAITING})", "DATE(day, 'start of month')")))
_DAYS, _MONTHS, _HOURS = _additions("summed", "CAST(date_trunc('month', day) AS date)")
# One statement: what commits between two of them would be deleted without having been added.
_FOLDING = """
    WITH taken AS (
        DELETE FROM tally WHERE id IN (SELECT id FROM tally ORDER BY id LIMIT :most) RETURNING *
    ), summed AS ({summed}), days AS ({days}), months AS ({months}), hours AS ({hours})
    SELECT count(*) FROM taken
"""
_ON_POSTGRESQL = text(
    _FOLDING.format(summed=_SUMMED.format(key=_KEY, facts="taken"), days=_DAYS, months=_MONTHS, hours=_HOURS)
).bindparams(most=FOLDED)
