"""What others told us about our mail, and what too much of it stopped."""

from datetime import date, datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary, text
from sqlmodel import Field, SQLModel

from mailer.models.columns import choice


class ToldState(StrEnum):
    """What became of a report."""

    #: What follows from it has followed.
    DONE = "done"
    #: It names no mail of ours, or nobody vouches for it.
    UNMATCHED = "unmatched"
    #: Its mail has no outcome of ours yet; the clock looks again.
    EARLY = "early"


_OPEN = text("state <> 'done'")
_COUNTED = text("fingerprint IS NOT NULL")


class Told(SQLModel, table=True):
    """A report, kept for 30 days so that a repeated one is known, soft bounces are counted, and lost ones are seen."""

    __table_args__ = (
        Index("told_email", "email_id"),
        Index("told_heard", "heard_at"),
        Index("told_open", "state", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("told_soft", "tenant_id", "fingerprint", "at", sqlite_where=_COUNTED, postgresql_where=_COUNTED),
    )

    id: str = Field(primary_key=True, max_length=40)
    #: What makes a repeated report the same one.
    digest: bytes = Field(sa_type=LargeBinary(16), unique=True)
    state: ToldState = Field(sa_type=choice(ToldState))
    #: Why it is not done.
    why: str | None = None
    #: Of its mail, where that is known.
    tenant_id: int | None = None
    email_id: str | None = Field(default=None, max_length=40)
    #: The mailbox, only where this bounce counts as one of "so many soft ones"; a delivery ends the count.
    fingerprint: bytes | None = Field(default=None, sa_type=LargeBinary(16))

    kind: str = Field(max_length=20)
    category: str = Field(max_length=20)
    hard: bool = False
    #: Enhanced status code (RFC 3463).
    code: str | None = Field(default=None, max_length=20)
    #: The other server's words, without addresses.
    diagnostic: str | None = None
    #: When it happened, as far as the source says; else when we heard it.
    at: datetime
    heard_at: datetime
    source: str = Field(max_length=20)
    #: Id of the parser's rule that decided.
    rule: str = Field(default="", max_length=80)
    reporter: str | None = Field(default=None, max_length=255)
    #: Who vouches for it, "" where nobody does.
    proof: str = Field(default="", max_length=80)

    #: What names the mail, kept only until the report is done: the recipient is personal, ...
    recipient: str | None = Field(default=None, max_length=320)
    #: ... and a Message-ID is all that an operator can look for.
    message_id: str | None = Field(default=None, max_length=255)
    envelope_id: str | None = Field(default=None, max_length=255)


class BrakeState(StrEnum):
    """How far it went."""

    #: Above the rate at which somebody should look.
    WARNED = "warned"
    #: Above the rate at which it stops; somebody has to let it go on.
    PAUSED = "paused"
    #: Somebody let it go on: what was known then does not stop it again.
    RESUMED = "resumed"


class Brake(SQLModel, table=True):
    """Too many complaints or bounces of one campaign, or of one tenant's stream."""

    #: The campaign's id, or `1:promotional`.
    subject: str = Field(primary_key=True, max_length=60)
    #: What is measured: `complaints`, `bounces`.
    measure: str = Field(primary_key=True, max_length=20)
    tenant_id: int
    stream: str = Field(max_length=20)
    campaign_id: str | None = Field(default=None, max_length=40)
    state: BrakeState = Field(sa_type=choice(BrakeState))
    #: In words, with the numbers.
    reason: str
    at: datetime
    #: What was known when it was let go on: so much of the mail, and of the facts, is not judged again.
    day: date
    known_facts: int = Field(default=0, sa_type=BigInteger)
    known_mails: int = Field(default=0, sa_type=BigInteger)
