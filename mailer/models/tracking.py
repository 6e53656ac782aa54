"""What recipients do with a mail: marks of what was counted, what verdicts are worked out from, names of links."""

from datetime import date

from sqlalchemy import LargeBinary
from sqlmodel import Field, SQLModel


class SeenHit(SQLModel, table=True):
    """A hash of an aggregate pixel's random number, so that a picture loaded twice counts once."""

    __tablename__ = "seen_hit"

    tenant_id: int = Field(foreign_key="tenant.id", primary_key=True)
    mark: bytes = Field(sa_type=LargeBinary(16), primary_key=True)
    day: date = Field(index=True)


class HitTrace(SQLModel, table=True):
    """What the class of a hit was worked out from, kept for 30 days so that it can be worked out again."""

    __tablename__ = "hit_trace"

    #: No foreign keys: a trace is deleted with its person's mail, else after its 30 days.
    tenant_id: int = Field(primary_key=True)
    email_id: str = Field(primary_key=True, max_length=40)
    event_id: str = Field(primary_key=True, max_length=40)
    day: date = Field(index=True)
    method: str = Field(max_length=10)
    agent: str = Field(max_length=300)
    #: The rule of the network list that held the address.
    network: str = Field(max_length=40)


class LinkLabel(SQLModel, table=True):
    """How reports call a link: the href as the template wrote it."""

    __tablename__ = "link"

    tenant_id: int = Field(foreign_key="tenant.id", primary_key=True)
    #: The value of the dimension `link` of counters.
    value: str = Field(primary_key=True, max_length=160)
    label: str
