"""What happened: events, counters, and answers kept for repeated requests."""

from datetime import date, datetime

from sqlalchemy import BigInteger, Column, Date, Index, Integer, LargeBinary, String, Table, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json

#: The sums of all mail; a query of every tenant's says it in these words.
OF_ALL_MAIL = text("dimension = 'all'")
#: The events that say that a mail came back, or that somebody called it spam; a query of them says it in these words.
RETURNED = text("kind IN ('email.bounced', 'email.complained')")


class Event(SQLModel, table=True):
    """A thing that happened to an email, a suppression, a consent or a campaign (spec section 11).

    `email.queued` and `email.sent` are told by the email's own times.
    """

    __table_args__ = (
        Index("event_email", "email_id"),
        # The few that say that a mail came back or was called spam, as a tenant lists them.
        Index("event_returned", "tenant_id", "id", sqlite_where=RETURNED, postgresql_where=RETURNED),
    )

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int
    #: The email that it happened to; what else it is about stands in `data`.
    email_id: str | None = Field(default=None, max_length=40)
    #: Such as `email.deferred`, `email.opened`, `email.unsubscribed`.
    kind: str = Field(max_length=40)
    at: datetime
    data: dict[str, object] | None = Field(default=None, sa_type=Json)


class Counter(SQLModel, table=True):
    """A sum of what happened; with the facts of `Tally` that are not added yet, it is what a report shows."""

    tenant_id: int = Field(primary_key=True)
    day: date = Field(primary_key=True)
    stream: str = Field(primary_key=True, max_length=20)
    #: `all`, `tag`, `topic`, `template`, `campaign` …
    dimension: str = Field(primary_key=True, max_length=20)
    value: str = Field(primary_key=True, max_length=160)
    metric: str = Field(primary_key=True, max_length=40)
    amount: int = Field(default=0, sa_type=BigInteger)


class MonthCounter(SQLModel, table=True):
    """The sum of a month's counters, kept beside them: a report of a year reads twelve rows rather than 365."""

    __tablename__ = "month_counter"
    __table_args__ = (
        # Whoever watches the service asks for all tenants' together, several times a minute.
        Index("month_counter_all", "stream", "metric", sqlite_where=OF_ALL_MAIL, postgresql_where=OF_ALL_MAIL),
    )

    tenant_id: int = Field(primary_key=True)
    #: Its first day.
    month: date = Field(primary_key=True)
    stream: str = Field(primary_key=True, max_length=20)
    dimension: str = Field(primary_key=True, max_length=20)
    value: str = Field(primary_key=True, max_length=160)
    metric: str = Field(primary_key=True, max_length=40)
    amount: int = Field(default=0, sa_type=BigInteger)


#: What happened in each hour (UTC) of a day, side by side: a row tells a day, of a stream or of a campaign.
HOUR_COUNTER = Table(
    "hour_counter",
    SQLModel.metadata,
    Column("tenant_id", Integer, primary_key=True, autoincrement=False),
    Column("stream", String(20), primary_key=True),
    # Empty: everything of the stream. Days stand last, for a series is of one of them, of few metrics and many days.
    Column("campaign_id", String(40), primary_key=True),
    Column("metric", String(40), primary_key=True),
    Column("day", Date, primary_key=True),
    *(Column(f"h{hour:02}", BigInteger, nullable=False) for hour in range(24)),
)


class Tally(SQLModel, table=True):
    """Facts that wait to be added to the sums: concurrent commits only append, so that none waits for a row."""

    id: int | None = Field(
        default=None,
        primary_key=True,
        sa_type=BigInteger().with_variant(Integer(), "sqlite"),
    )
    tenant_id: int
    day: date
    stream: str = Field(max_length=20)
    dimension: str = Field(max_length=20)
    value: str = Field(max_length=160)
    metric: str = Field(max_length=40)
    amount: int


class StoredAnswer(SQLModel, table=True):
    """What we answered to a request with an `Idempotency-Key`, kept for 24 hours."""

    __tablename__ = "stored_answer"
    __table_args__ = (UniqueConstraint("tenant_id", "route", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id")
    route: str = Field(max_length=80)
    key: str = Field(max_length=256)
    digest: str = Field(max_length=64)
    #: 0 while the first request is in flight.
    status_code: int = 0
    body: bytes = Field(default=b"", sa_type=LargeBinary)
    created_at: datetime = Field(index=True)


class Halt(SQLModel, table=True):
    """Why something does not go at present: a stream that an operator paused, a relay that fails."""

    #: `stream:promotional`, or `relay:promotional:smtp://host:587`.
    key: str = Field(primary_key=True, max_length=200)
    reason: str
    since: datetime
    #: When it is tried again; None: when an operator resumes it.
    until: datetime | None = None
    #: How often it was tried in vain since.
    failures: int = 0
    #: Of a pause: `operator`, `brake` or `sender`; a sender ends no pause of the operator's.
    by: str = Field(default="operator", max_length=20)


class DayCount(SQLModel, table=True):
    """How many mails were taken from a day's allowance, in UTC."""

    __tablename__ = "day_count"

    #: The relay, or the relay and a group of domains.
    name: str = Field(primary_key=True, max_length=200)
    day: date = Field(primary_key=True)
    taken: int = 0


class Role(SQLModel, table=True):
    """Who has a role of which there is one, such as the clock."""

    name: str = Field(primary_key=True, max_length=40)
    holder: str
    until: datetime
