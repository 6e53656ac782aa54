"""Who asks, by what it is decided, and what is answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from sqlalchemy import bindparam, select
from sqlmodel import Session, SQLModel

from mailer import models
from mailer.drafts import Draft
from mailer.errors import Forbidden, Invalid, NotFound
from mailer.links import Links
from mailer.models import ApiKey, LeaveRule, Opens, Scope, TopicDefault
from mailer.people import Barred
from mailer.settings import Settings
from mailer.status import Status
from suppression import address
from suppression.address import Fingerprints
from suppression.entries import Entry
from suppression.rules import Stream, Topic

_tenant, _identity, _topic = (
    SQLModel.metadata.tables[str(model.__tablename__)] for model in (models.Tenant, models.Identity, models.Topic)
)
# Every single request asks these three: building a statement costs more than running it.
_TENANT = select(_tenant).where(_tenant.c.id == bindparam("tenant"))
_IDENTITIES = select(_identity).where(_identity.c.tenant_id == bindparam("tenant")).order_by(_identity.c.id)
_TOPICS = select(_topic).where(_topic.c.tenant_id == bindparam("tenant"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What submission needs to know of the process."""

    settings: Settings
    fingerprints: Fingerprints
    links: Links


@dataclass(frozen=True, slots=True)
class Submitter:
    """Who asks: a tenant, and what it may."""

    tenant_id: int
    scopes: frozenset[str]
    #: Everything is captured, nothing sent.
    captures: bool = False

    @classmethod
    def of(cls, key: ApiKey) -> "Submitter":
        """Return who holds this key."""
        return cls(key.tenant_id, frozenset(key.scopes), key.captures)

    @classmethod
    def trusted(cls, tenant_id: int) -> "Submitter":
        """Return a tenant's own program, which needs no key."""
        return cls(tenant_id, frozenset({Scope.SEND_TRANSACTIONAL, Scope.SEND_PROMOTIONAL}))

    def may_send(self, stream: Stream) -> bool:
        """Return whether mail of this stream may be asked for."""
        return f"send:{stream}" in self.scopes or Scope.ADMIN in self.scopes


class Asking(NamedTuple):
    """One draft, and who asks for it."""

    sender: Submitter
    draft: Draft


class Placed(NamedTuple):
    """One accepted email, and what forbids it, if anything does."""

    id: str
    to: str
    status: Status
    bar: Barred | None = None

    @property
    def suppression(self) -> Entry | None:
        """Return the entry that forbids it."""
        return self.bar.entry if self.bar else None


class Accepted(NamedTuple):
    """What one draft became: an email for each recipient."""

    stream: Stream
    emails: tuple[Placed, ...]

    @property
    def id(self) -> str:
        """Return the id of the first email."""
        return self.emails[0].id

    @property
    def status(self) -> Status:
        """Return the status of the first email."""
        return self.emails[0].status


Refused: TypeAlias = Invalid | Forbidden


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a tenant's mail is decided by."""

    tenant_id: int
    postal_address: str
    own_setting: bool
    opt_out_in_every_mail: bool
    opens: Mapping[Stream, Opens]
    clicks: Mapping[Stream, Opens]
    locale: str
    #: Canonical address -> address and name.
    identities: Mapping[str, tuple[str, str]]
    defaults: Mapping[Stream, tuple[str, str]]
    topics: Mapping[str, Topic]
    #: The topics that go only to those who said yes.
    asking: frozenset[str]
    #: The topics for which no new mail is accepted.
    retired: frozenset[str]


def house_of(session: Session, tenant_id: int) -> House:
    """Return what a tenant's mail is decided by, as it stands in this transaction."""
    tenant = session.execute(_TENANT, {"tenant": tenant_id}).first()
    if tenant is None:
        raise NotFound("there is no such tenant")
    senders = session.execute(_IDENTITIES, {"tenant": tenant_id}).all()
    topics = session.execute(_TOPICS, {"tenant": tenant_id}).all()
    return House(
        tenant_id=tenant_id,
        postal_address=tenant.postal_address,
        own_setting=tenant.key == "default",
        opt_out_in_every_mail=tenant.opt_out_in_every_mail,
        opens={Stream.TRANSACTIONAL: tenant.transactional_opens, Stream.PROMOTIONAL: tenant.promotional_opens},
        clicks={Stream.TRANSACTIONAL: tenant.transactional_clicks, Stream.PROMOTIONAL: tenant.promotional_clicks},
        locale=tenant.locale,
        identities={address.parse(row.address).canonical: (row.address, row.name) for row in senders},
        defaults={row.stream: (row.address, row.name) for row in reversed(senders)},
        topics={
            row.key: Topic(row.key, row.stream, row.stream is Stream.PROMOTIONAL or row.opt_out is LeaveRule.ALLOWED)
            for row in topics
        },
        asking=frozenset(row.key for row in topics if row.default is TopicDefault.OPT_OUT),
        retired=frozenset(row.key for row in topics if row.retired),
    )
