"""Who gets mail: what people permitted, what they chose, and who was asked or invited."""

from datetime import date, datetime

from sqlalchemy import Index, LargeBinary
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json


class Consent(SQLModel, table=True):
    """A recorded yes or no; the newest of a person and purpose holds."""

    __table_args__ = (Index("consent_person", "tenant_id", "fingerprint", "purpose"),)

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id")
    fingerprint: bytes = Field(sa_type=LargeBinary(16))
    #: The suppression key that made the fingerprint.
    key_id: str = Field(max_length=8)
    #: `tracking`, or `topic:<key>`.
    purpose: str = Field(max_length=60)
    granted: bool
    source: str
    #: Which version of the words the person read.
    wording: str | None = Field(default=None, max_length=40)
    #: Where the answer came from, where the tenant may keep that.
    ip: str | None = Field(default=None, max_length=45)
    #: The email whose link was used.
    email_id: str | None = Field(default=None, max_length=40)
    #: What else shows that it happened.
    evidence: dict[str, object] | None = Field(default=None, sa_type=Json)
    at: datetime
    #: None: until the person says otherwise.
    expires_at: datetime | None = None


class Person(SQLModel, table=True):
    """What a person chose that no entry of the suppression list says."""

    tenant_id: int = Field(foreign_key="tenant.id", primary_key=True)
    fingerprint: bytes = Field(sa_type=LargeBinary(16), primary_key=True)
    #: The suppression key that made the fingerprint.
    key_id: str = Field(max_length=8)
    #: As it was written last, until erasure.
    address: str | None = None
    #: The language that the person wants.
    locale: str | None = Field(default=None, max_length=10)
    #: The day on which they opened a mail last, where the tenant keeps nothing else of that.
    last_open: date | None = None
    changed_at: datetime


class OptIn(SQLModel, table=True):
    """A request to get mail that waits for the yes from the mailbox itself (double opt-in)."""

    __tablename__ = "opt_in"
    __table_args__ = (
        Index("opt_in_person", "tenant_id", "fingerprint", "created_at"),
        Index("opt_in_network", "network", "created_at"),
    )

    id: str = Field(primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id")
    fingerprint: bytes = Field(sa_type=LargeBinary(16))
    #: The suppression key that made the fingerprint.
    key_id: str = Field(max_length=8)
    #: Null after erasure.
    address: str | None = None
    name: str = Field(default="", max_length=200)
    locale: str = Field(max_length=10)
    #: Keys of the topics that are asked for.
    topics: list[str] = Field(sa_type=Json)
    #: The form or program that asked.
    source: str
    #: Which version of the words the person read.
    wording: str = Field(max_length=40)
    #: Where the request came from, where the tenant may keep that.
    ip: str | None = Field(default=None, max_length=45)
    #: A keyed hash of the network it came from, by which requests are counted.
    network: bytes = Field(sa_type=LargeBinary(16))
    created_at: datetime
    expires_at: datetime
    #: None until somebody with the mailbox said yes; that happens once.
    confirmed_at: datetime | None = None
    #: The mail that asks for the yes.
    email_id: str | None = Field(default=None, max_length=40)


class Invitation(SQLModel, table=True):
    """That a person was invited to something, so that nobody is invited to it twice."""

    tenant_id: int = Field(foreign_key="tenant.id", primary_key=True)
    fingerprint: bytes = Field(sa_type=LargeBinary(16), primary_key=True)
    #: What to: the workspace, in the words of product code.
    occasion: str = Field(primary_key=True, max_length=64)
    email_id: str = Field(max_length=40)
    at: datetime
