"""What stands beside the suppression list: imports, lists that wait for one, opt-outs that a scanner may have made."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json, choice


class SuppressionImport(SQLModel, table=True):
    """How far a list was read, so that a broken import goes on where it stopped."""

    __tablename__ = "suppression_import"
    __table_args__ = (UniqueConstraint("tenant_id", "digest", "form"),)

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id")
    #: SHA-256 of the list, by which it is known again.
    digest: str = Field(max_length=64)
    #: Whose export it is, such as `sendgrid-bounces`.
    form: str = Field(max_length=40)
    #: The first byte that is not read yet.
    position: int = Field(default=0, sa_type=BigInteger)
    #: What became of the lines so far.
    counts: dict[str, int] = Field(default_factory=dict, sa_type=Json)
    created_at: datetime
    ended_at: datetime | None = None


class ListUpload(SQLModel, table=True):
    """A suppression list that somebody uploaded to look at first; gone once it is brought in, and after a day."""

    __tablename__ = "list_upload"

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id")
    #: Who uploaded it, and alone may bring it in.
    user_id: str = Field(max_length=40)
    #: How it is read: form, reason, scope, topics.
    options: dict[str, object] = Field(sa_type=Json)
    #: The list, compressed with zlib.
    data: bytes = Field(sa_type=LargeBinary)
    created_at: datetime = Field(index=True)


class OptOutMark(SQLModel, table=True):
    """An opt-out soon after its mail was sent: many of one domain or network look like a scanner's."""

    __tablename__ = "opt_out_mark"
    __table_args__ = (
        Index("opt_out_mark_at", "at"),
        Index("opt_out_mark_domain", "tenant_id", "campaign_id", "domain"),
        Index("opt_out_mark_network", "tenant_id", "campaign_id", "network"),
    )

    id: int | None = Field(default=None, primary_key=True, sa_type=BigInteger().with_variant(Integer(), "sqlite"))
    #: Of `tenant`; a foreign key would cost every opt-out a look and a lock.
    tenant_id: int
    campaign_id: str | None = Field(default=None, max_length=40)
    email_id: str | None = Field(default=None, max_length=40)
    #: The entry that the opt-out made.
    suppression_id: str = Field(max_length=40)
    #: Of the mailbox.
    domain: str = Field(max_length=255)
    #: Where the request came from, as `192.0.2.0/24`.
    network: str = Field(max_length=50)
    #: Seconds between the sending and the opt-out.
    after: int
    at: datetime


class AlarmKind(StrEnum):
    """What many opt-outs have in common."""

    DOMAIN = "domain"
    NETWORK = "network"


class Alarm(SQLModel, table=True):
    """Many opt-outs of one domain or network soon after delivery: they hold, and an operator may undo them."""

    __table_args__ = (UniqueConstraint("tenant_id", "campaign_id", "kind", "value"),)

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id")
    #: Empty where the mail belongs to none: NULLs would be distinct.
    campaign_id: str = Field(default="", max_length=40)
    kind: AlarmKind = Field(sa_type=choice(AlarmKind))
    #: The domain or the network.
    value: str = Field(max_length=255)
    #: How many opt-outs it is about.
    count: int
    first_at: datetime
    last_at: datetime
    undone_at: datetime | None = None
    #: Why it was undone, and by whom.
    note: str | None = None
