"""Who sends: tenants, their identities, topics and keys."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import LargeBinary, UniqueConstraint
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json, choice
from suppression.rules import Stream


class Opens(StrEnum):
    """How opens, or clicks, are measured; the order is from least to most."""

    OFF = "off"
    AGGREGATE = "aggregate"
    INDIVIDUAL = "individual"


class ConsentRule(StrEnum):
    """When a person may be measured individually."""

    REQUIRED = "required"
    NOT_REFUSED = "not_refused"


class OptOutScope(StrEnum):
    """What a click on the unsubscribe link leaves."""

    STREAM = "stream"
    TOPIC = "topic"


class LeaveRule(StrEnum):
    """Whether people may leave a topic."""

    ALLOWED = "allowed"
    NEVER = "never"


class TopicDefault(StrEnum):
    """Who gets a topic's mail."""

    #: Everybody, until they leave.
    OPT_IN = "opt_in"
    #: Only who said yes: a recorded consent whose purpose is the topic.
    OPT_OUT = "opt_out"


class Visibility(StrEnum):
    """Whom a topic is shown to."""

    #: Everybody, on the preference page.
    PUBLIC = "public"
    #: Only who gets it.
    PRIVATE = "private"


class Scope(StrEnum):
    """What an API key may do."""

    SEND_TRANSACTIONAL = "send:transactional"
    SEND_PROMOTIONAL = "send:promotional"
    READ = "read"
    SUPPRESSIONS = "suppressions"
    PEOPLE = "people"
    CAMPAIGNS = "campaigns"
    WEBHOOKS = "webhooks"
    ADMIN = "admin"


class Tenant(SQLModel, table=True):
    """A sender with its own keys, identities, topics, people and suppression list."""

    id: int | None = Field(default=None, primary_key=True)
    key: str = Field(unique=True, max_length=40)
    name: str
    postal_address: str = ""
    opt_out_scope: OptOutScope = Field(default=OptOutScope.STREAM, sa_type=choice(OptOutScope))
    opt_out_in_every_mail: bool = False
    transactional_opens: Opens = Field(default=Opens.OFF, sa_type=choice(Opens))
    promotional_opens: Opens = Field(default=Opens.AGGREGATE, sa_type=choice(Opens))
    transactional_clicks: Opens = Field(default=Opens.OFF, sa_type=choice(Opens))
    promotional_clicks: Opens = Field(default=Opens.AGGREGATE, sa_type=choice(Opens))
    #: What tracked links say of themselves, {"source": "newsletter"}, where a campaign does not say otherwise.
    utm: dict[str, str] | None = Field(default=None, sa_type=Json)
    #: Hosts whose links are never rewritten, those below them included.
    untracked_hosts: list[str] | None = Field(default=None, sa_type=Json)
    consent: ConsentRule = Field(default=ConsentRule.REQUIRED, sa_type=choice(ConsentRule))
    #: Of mail that is measured individually only the day of a person's last open is kept.
    last_open_only: bool = False
    locale: str = Field(default="en", max_length=10)
    #: Whether who complained gets no transactional mail either (spec section 4).
    complaints_block: bool = False
    #: Whether the network address of an act is kept as evidence.
    keep_ip: bool = True
    #: After so many soft bounces ...
    soft_bounces: int = 5
    #: ... within so many days an address gets no promotional mail for as many days.
    soft_bounce_days: int = 14
    created_at: datetime


class Identity(SQLModel, table=True):
    """An address that a tenant may send from."""

    __table_args__ = (UniqueConstraint("tenant_id", "address", "stream"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id")
    address: str
    name: str = ""
    #: The stream whose default it is.
    stream: Stream = Field(sa_type=choice(Stream))


class Topic(SQLModel, table=True):
    """What a person can leave."""

    __table_args__ = (UniqueConstraint("tenant_id", "key"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id")
    key: str = Field(max_length=40)
    stream: Stream = Field(sa_type=choice(Stream))
    opt_out: LeaveRule = Field(default=LeaveRule.ALLOWED, sa_type=choice(LeaveRule))
    default: TopicDefault = Field(default=TopicDefault.OPT_IN, sa_type=choice(TopicDefault))
    visibility: Visibility = Field(default=Visibility.PUBLIC, sa_type=choice(Visibility))
    names: dict[str, str] = Field(default_factory=dict, sa_type=Json)
    descriptions: dict[str, str] = Field(default_factory=dict, sa_type=Json)
    #: No new mail is accepted for it and nobody is shown it; what was left stays left, and links go on working.
    retired: bool = False

    def name_in(self, locale: str) -> str:
        """Return the topic's name in a language, else in English, else its key."""
        return self.names.get(locale) or self.names.get("en") or self.key


class DkimAlgorithm(StrEnum):
    """How a mail is signed (RFC 8301, RFC 8463)."""

    RSA = "rsa-sha256"
    ED25519 = "ed25519-sha256"


class DkimKey(SQLModel, table=True):
    """A pair of which the public half stands in the DNS."""

    __tablename__ = "dkim_key"
    __table_args__ = (UniqueConstraint("domain", "selector"),)

    id: int | None = Field(default=None, primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id", index=True)
    #: The stream whose mail it signs; None for both.
    stream: Stream | None = Field(default=None, sa_type=choice(Stream))
    domain: str
    selector: str = Field(max_length=63)
    algorithm: DkimAlgorithm = Field(sa_type=choice(DkimAlgorithm))
    #: Sealed with the ring of `MAILER_SECRET_KEYS`.
    private_key: bytes = Field(sa_type=LargeBinary)
    created_at: datetime
    #: Signs from then on: its record was seen in the DNS, or an operator vouched for it.
    active_at: datetime | None = None
    retired_at: datetime | None = None


class ApiKey(SQLModel, table=True):
    """A key of product code. Only its SHA-256 is kept."""

    __tablename__ = "api_key"

    id: str = Field(primary_key=True)
    tenant_id: int = Field(foreign_key="tenant.id", index=True)
    name: str
    digest: str = Field(unique=True, max_length=64)
    scopes: list[str] = Field(sa_type=Json)
    #: Mail sent with this key is captured, never sent.
    captures: bool = False
    created_at: datetime
    revoked_at: datetime | None = None
