"""Tenants: their identities, topics and keys."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from sqlalchemy import bindparam, delete, update
from sqlalchemy import select as core_select
from sqlmodel import Session, SQLModel, col, select

from mailer import database, ids
from mailer.compose import headers
from mailer.drafts import TenantChange, TopicChange, TopicDraft
from mailer.drafts.topics import YES_NEEDS_A_NO
from mailer.errors import ConfigurationError, Conflict, Invalid, MailerError, NotFound, Problem, Unauthorized
from mailer.models import ApiKey, Identity, LeaveRule, Scope, Tenant, Topic, TopicDefault, Visibility
from mailer.settings import Settings
from suppression import address
from suppression.rules import Stream, valid_topic_key

#: The tenant to which identity settings belong.
DEFAULT = "default"
#: From while no setting names one; the inbox takes it, a real relay would not.
MADE_UP = "Mailer <hello@mailer.example>"
KEY_PREFIX = "mk_"
UNKNOWN_KEY = "the key is unknown or revoked"

_Row = TypeVar("_Row", Tenant, Topic)
_NAMED = re.compile(r'\s*"?(?P<name>[^"<>]*?)"?\s*<(?P<address>[^<>]+)>\s*')

# Every request asks these: building a statement costs more than running it.
_OF_DIGEST = select(ApiKey).where(col(ApiKey.digest) == bindparam("digest"))
_key = SQLModel.metadata.tables[str(ApiKey.__tablename__)]
_HELD = core_select(_key.c.digest, _key.c.tenant_id, _key.c.scopes, _key.c.captures).where(
    _key.c.digest.in_(bindparam("digests", expanding=True)), _key.c.revoked_at.is_(None)
)

#: What customers' mail without a topic belongs to, so that it can be left (spec section 3).
NOTIFICATIONS = "notifications"
#: What people can leave from the first day: key, stream, name in English and in Ukrainian.
DEFAULT_TOPICS = (
    ("newsletter", Stream.PROMOTIONAL, "Newsletter", "Розсилка новин"),
    ("product-updates", Stream.PROMOTIONAL, "Product updates", "Оновлення продукту"),
    ("surveys", Stream.PROMOTIONAL, "Surveys", "Опитування"),
    ("events", Stream.PROMOTIONAL, "Events", "Події"),
    ("promotions", Stream.PROMOTIONAL, "Offers and contests", "Пропозиції та конкурси"),
    (NOTIFICATIONS, Stream.TRANSACTIONAL, "Notifications", "Сповіщення"),
)


class From(NamedTuple):
    """An address to send from, and the name beside it."""

    address: str
    name: str = ""

    @property
    def called(self) -> str:
        """Return what recipients may read: its name, else the domain of its address."""
        return self.name or self.address.rpartition("@")[2]


class Held(NamedTuple):
    """What the holder of a key may, as it stands in this transaction."""

    tenant_id: int
    scopes: frozenset[str]
    captures: bool


class Issued(NamedTuple):
    """A new key, and the text that is shown this once."""

    key: ApiKey
    plain: str


def parse_from(text: str) -> From:
    """Return what a text such as `Ringwise <hello@ringwise.example>` names, or raise `Invalid`."""
    named = _NAMED.fullmatch(text)
    bare, name = (named["address"], named["name"]) if named else (text, "")
    if why := headers.forbidden(name):
        raise Invalid(Problem("from", f"the name {why}"))
    try:
        return From(address.parse(bare).envelope, name)
    except address.AddressError as error:
        raise Invalid(Problem("from", f"{error}; write it as Name <name@example.org>")) from None


def prepare(session: Session, settings: Settings, now: datetime) -> Tenant:
    """Make the tenant `default` with its topics where it is missing, and give it what the settings say."""
    tenant = _find(session, DEFAULT)
    if tenant is None:
        # Several processes may meet a fresh database at the same moment.
        table = SQLModel.metadata.tables["tenant"]
        fresh = Tenant(key=DEFAULT, name="Default", created_at=now).model_dump(exclude={"id"})
        session.execute(database.insert(session, table).values(fresh).on_conflict_do_nothing(index_elements=["key"]))
        tenant = session.exec(select(Tenant).where(Tenant.key == DEFAULT)).one()
        _add_topics(session, _id(tenant))
    if settings.postal_address and tenant.postal_address != settings.postal_address:
        tenant.postal_address = settings.postal_address
        session.add(tenant)
        session.flush()
    for stream in Stream:
        _sync_identity(session, _id(tenant), stream, settings.sender(stream))
    # What recipients read on their pages: whom the mail that they can leave is from.
    sender = settings.sender(Stream.PROMOTIONAL) or settings.sender(Stream.TRANSACTIONAL)
    if sender and tenant.name != (name := parse_from(sender).called):
        tenant.name = name
        session.add(tenant)
        session.flush()
    return tenant


def create_tenant(
    session: Session, key: str, *, sender: str, postal_address: str = "", name: str = "", now: datetime
) -> Tenant:
    """Make a customer: every mail of theirs carries an opt-out unless its kind must not."""
    if not valid_topic_key(key):
        raise Invalid(Problem("key", "must be 1 to 40 lower-case letters, digits and hyphens"))
    who = parse_from(sender)
    if _find(session, key) is not None:
        raise Conflict(f"there is a tenant {key} already")
    tenant = Tenant(
        key=key,
        name=name or who.called,
        postal_address=postal_address.strip(),
        opt_out_in_every_mail=True,
        created_at=now,
    )
    session.add(tenant)
    session.flush()
    for stream in Stream:
        session.add(Identity(tenant_id=_id(tenant), address=who.address, name=who.name, stream=stream))
    _add_topics(session, _id(tenant))
    return tenant


def tenants(session: Session) -> Sequence[Tenant]:
    """Return every tenant by its key."""
    return session.exec(select(Tenant).order_by(Tenant.key)).all()


def only_tenant(session: Session, key: str | None) -> Tenant:
    """Return the tenant of this key; without a key, the only one there is."""
    if key is not None:
        if (tenant := _find(session, key)) is None:
            raise NotFound(f"there is no tenant {key}")
        return tenant
    found = tenants(session)
    if len(found) != 1:
        names = ", ".join(tenant.key for tenant in found)
        raise Invalid(Problem("tenant", f"say which one: {names}" if found else "there is none yet"))
    return found[0]


def is_operator(session: Session, tenant_id: int) -> bool:
    """Return whether this tenant is the operator's own, to whom everybody's relays and streams are known."""
    tenant = session.get(Tenant, tenant_id)
    return tenant is not None and tenant.key == DEFAULT


def topics(session: Session, tenant_id: int) -> Sequence[Topic]:
    """Return a tenant's topics by their keys."""
    return session.exec(select(Topic).where(Topic.tenant_id == tenant_id).order_by(Topic.key)).all()


def create_topic(session: Session, tenant_id: int, draft: TopicDraft) -> Topic:
    """Add a topic that people can leave, or may not."""
    values = {"tenant_id": tenant_id, **draft.model_dump(), "retired": False}
    table = SQLModel.metadata.tables["topic"]
    statement = database.insert(session, table).values(values)
    made = session.execute(
        statement.on_conflict_do_nothing(index_elements=["tenant_id", "key"]).returning(table.c.id)
    ).scalar_one_or_none()
    if made is None:
        raise Conflict(f"there is a topic {draft.key} already")
    return session.get_one(Topic, made)


def change_topic(session: Session, tenant_id: int, key: str, change: TopicChange) -> Topic:
    """Change what is given of a topic; mail that waits keeps what it was accepted with."""
    topic = session.exec(select(Topic).where(Topic.tenant_id == tenant_id, Topic.key == key)).one_or_none()
    if topic is None:
        raise NotFound(f"there is no topic {key[:80]}")
    if topic.stream is Stream.PROMOTIONAL and change.opt_out is LeaveRule.NEVER:
        raise Invalid(Problem("opt_out", "a promotional topic can always be left"))
    if (change.default or topic.default, change.opt_out or topic.opt_out) == (TopicDefault.OPT_OUT, LeaveRule.NEVER):
        raise Invalid(Problem("opt_out", YES_NEEDS_A_NO))
    if change.retired and key == NOTIFICATIONS:
        raise Invalid(Problem("retired", f"{key} stays: transactional mail without a topic may belong to it"))
    return _changed(session, topic, change)


def change_tenant(session: Session, tenant: Tenant, change: TenantChange) -> Tenant:
    """Change what is given of a tenant; it holds for what is accepted and answered from the commit on."""
    return _changed(session, tenant, change)


def _changed(session: Session, row: _Row, change: TenantChange | TopicChange) -> _Row:
    for name in change.model_fields_set:
        setattr(row, name, getattr(change, name))
    session.add(row)
    session.flush()
    return row


def create_key(
    session: Session, tenant_id: int, name: str, *, scopes: Iterable[str], captures: bool = False, now: datetime
) -> Issued:
    """Make a key of 256 random bits; only its SHA-256 is kept."""
    wanted = list(dict.fromkeys(scopes))
    known = {scope.value for scope in Scope}
    if unknown := [scope for scope in wanted if scope not in known]:
        raise Invalid(Problem("scope", f"{', '.join(unknown)} is unknown: choose from {', '.join(sorted(known))}"))
    if not wanted:
        raise Invalid(Problem("scope", f"a key needs at least one: {', '.join(sorted(known))}"))
    if not name.strip():
        raise Invalid(Problem("name", "is empty"))
    plain = KEY_PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(
        id=ids.new("key", now),
        tenant_id=tenant_id,
        name=name.strip(),
        digest=digest_of(plain),
        scopes=[str(scope) for scope in wanted],
        captures=captures,
        created_at=now,
    )
    session.add(key)
    session.flush()
    return Issued(key, plain)


def authenticate(session: Session, plain: str) -> ApiKey:
    """Return the key that this text is; raises `Unauthorized` where it is unknown or revoked."""
    digest = digest_of(plain)
    # The index finds a digest, not a secret, so the time it takes tells nothing about any key.
    key = session.exec(_OF_DIGEST, params={"digest": digest}).one_or_none()
    if key is None or not hmac.compare_digest(key.digest, digest) or key.revoked_at is not None:
        raise Unauthorized(UNKNOWN_KEY)
    return key


def held(session: Session, digests: Collection[str]) -> Mapping[str, Held]:
    """Return what each of these keys may, by its digest; what is unknown or revoked by now is not among them."""
    rows = session.execute(_HELD, {"digests": list(digests)})
    return {row.digest: Held(row.tenant_id, frozenset(row.scopes), row.captures) for row in rows}


def keys(session: Session, tenant_id: int) -> Sequence[ApiKey]:
    """Return a tenant's keys, the oldest first."""
    return session.exec(select(ApiKey).where(ApiKey.tenant_id == tenant_id).order_by(ApiKey.id)).all()


def revoke(session: Session, tenant_id: int, identifier: str, now: datetime) -> ApiKey:
    """End a key, named by its id or its name; from the commit on it opens nothing."""
    mine = select(ApiKey).where(ApiKey.tenant_id == tenant_id)
    named = mine.where((ApiKey.id == identifier) | (ApiKey.name == identifier))
    found = session.exec(named.where(col(ApiKey.revoked_at).is_(None))).all()
    if not found:
        raise NotFound(f"there is no key {identifier}")
    if len(found) > 1:
        raise Conflict(f"several keys are named {identifier}: say its id, one of {', '.join(key.id for key in found)}")
    session.execute(update(ApiKey).where(col(ApiKey.id) == found[0].id).values(revoked_at=now))
    session.refresh(found[0])
    return found[0]


def digest_of(plain: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def _find(session: Session, key: str) -> Tenant | None:
    return session.exec(select(Tenant).where(Tenant.key == key)).one_or_none()


def _id(tenant: Tenant) -> int:
    if tenant.id is None:
        raise MailerError("the tenant is not stored yet")
    return tenant.id


def _add_topics(session: Session, tenant_id: int) -> None:
    table = SQLModel.metadata.tables["topic"]
    rows: list[dict[str, object]] = [
        {
            "tenant_id": tenant_id,
            "key": key,
            "stream": stream,
            "opt_out": LeaveRule.ALLOWED,
            "default": TopicDefault.OPT_IN,
            "visibility": Visibility.PUBLIC,
            "names": {"en": english, "uk": ukrainian},
            "descriptions": {},
            "retired": False,
        }
        for key, stream, english, ukrainian in DEFAULT_TOPICS
    ]
    statement = database.insert(session, table)
    session.execute(statement.on_conflict_do_nothing(index_elements=["tenant_id", "key"]), rows)


def _sync_identity(session: Session, tenant_id: int, stream: Stream, setting: str) -> None:
    """Make the setting the stream's only identity; without a setting, keep what is there."""
    of_stream = (col(Identity.tenant_id) == tenant_id, col(Identity.stream) == stream)
    if not setting:
        if session.exec(select(Identity).where(*of_stream)).first() is not None:
            return
        setting = MADE_UP
    try:
        who = parse_from(setting)
    except Invalid as error:
        why = "; ".join(problem.message for problem in error.problems)
        raise ConfigurationError(f"MAILER_FROM or MAILER_{stream.upper()}_FROM: {why}") from error
    session.execute(delete(Identity).where(*of_stream, col(Identity.address) != who.address))
    table = SQLModel.metadata.tables["identity"]
    statement = database.insert(session, table).values(
        tenant_id=tenant_id, address=who.address, name=who.name, stream=stream
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "address", "stream"], set_={"name": statement.excluded.name}
        )
    )
