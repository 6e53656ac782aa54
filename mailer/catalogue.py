"""Templates and literal bodies: which version a request means, each kept once and never changed."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

from sqlalchemy import Row, bindparam, func, or_, select, update
from sqlmodel import Session, SQLModel, col

from mailer import database, resources
from mailer.compose import templates
from mailer.compose.letter import (
    OptOut,
    Order,
    PostalAddress,
    Promotional,
    Purpose,
    Recipient,
    Sender,
    TopicInfo,
    Transactional,
)
from mailer.compose.mailing import Mailing
from mailer.compose.skeleton import compile_content
from mailer.compose.templates import BASE, Parts
from mailer.compose.templates import Content as Body
from mailer.drafts import TemplateDraft
from mailer.errors import Conflict, Invalid, NotFound, Problem, UnknownTemplate
from mailer.inbox import Reading, read
from mailer.models import Content, Identity, Tenant, Topic
from mailer.people import may_leave
from suppression.rules import Stream

_content = SQLModel.metadata.tables[str(Content.__tablename__)]
_KEPT = 512
#: The id of what is not stored: a body that was only looked at.
UNSTORED = 0
_TRIES = 5
# Every single request asks one of these: building a statement costs more than running it.
_NEWEST = (
    select(_content.c.id, _content.c.version, _content.c.digest)
    .where(
        _content.c.tenant_id == bindparam("tenant"),
        _content.c.name == bindparam("named"),
        _content.c.retired_at.is_(None),
        or_(~_content.c.shipped, _content.c.digest == bindparam("shipped_digest")),
    )
    .order_by(_content.c.shipped, _content.c.version.desc())
    .limit(1)
)
_SAME = select(_content.c.id).where(
    _content.c.tenant_id == bindparam("tenant"), _content.c.digest == bindparam("wanted")
)


@dataclass(frozen=True, slots=True)
class Edition:
    """A content: its row's id (or `UNSTORED`), which version of which template it is, and what it says."""

    id: int
    name: str | None
    version: int | None
    body: Body


class Version(NamedTuple):
    """One version of a template, without its body."""

    name: str
    version: int | None
    shipped: bool
    created_at: datetime | None
    retired_at: datetime | None
    body: Body


class _Shelf:
    """Parsed bodies by their digest, which a rolled-back row cannot spoil as it could a row's id."""

    def __init__(self) -> None:
        self._bodies: OrderedDict[str, Body] = OrderedDict()
        self._lock = Lock()

    def get(self, digest: str) -> Body | None:
        with self._lock:
            if digest in self._bodies:
                self._bodies.move_to_end(digest)
            return self._bodies.get(digest)

    def put(self, digest: str, body: Body) -> Body:
        with self._lock:
            self._bodies[digest] = body
            if len(self._bodies) > _KEPT:
                self._bodies.popitem(last=False)
        return body


_shelf = _Shelf()


@lru_cache(maxsize=1)
def shipped() -> Mapping[str, tuple[str, Body]]:
    """Return the templates that travel with the program: digest and body by name."""
    folders = sorted(path for path in (resources.templates() / "email").iterdir() if (path / "template.toml").is_file())
    bodies = [templates.load_folder(path) for path in folders]
    return {str(body.name): (body.digest(), body) for body in bodies}


def resolve(session: Session, tenant_id: int, name: str, now: datetime, *, keep: bool = True) -> Edition:
    """Return the version of a template that a new email gets: the tenant's own newest, else the shipped one.

    Unless `keep`, nothing is written: a shipped one that nobody has used yet is `UNSTORED`.
    """
    digest, _ = shipped().get(name, ("", None))
    row = session.execute(_NEWEST, {"tenant": tenant_id, "named": name, "shipped_digest": digest}).first()
    if row is None:
        if not digest:
            raise UnknownTemplate(Problem("template", f"there is no template {name[:80]}"))
        if not keep:
            return Edition(UNSTORED, name, _next(session, tenant_id, name), shipped()[name][1])
        return _register(session, tenant_id, name, now)
    return Edition(row.id, name, row.version, _body(session, row.id, row.digest))


def literal(session: Session, tenant_id: int, body: Body, now: datetime, *, keep: bool = True) -> Edition:
    """Return a body that product code wrote out, stored once however often it is sent; as it is unless `keep`."""
    digest = body.digest()
    same = {"tenant": tenant_id, "wanted": digest}
    found = session.execute(_SAME, same).scalar_one_or_none()
    if found is None and not keep:
        return Edition(UNSTORED, None, None, body)
    if found is None:
        added = database.insert(session, _content).values(_row(tenant_id, body, digest, now)).on_conflict_do_nothing()
        found = session.execute(added.returning(_content.c.id)).scalar_one_or_none()
    if found is None:
        found = session.execute(_SAME, same).scalar_one()
    return Edition(found, None, None, body)


def kept(session: Session, content_id: int) -> Edition:
    """Return a stored content by its id."""
    columns = (_content.c.id, _content.c.name, _content.c.version, _content.c.digest)
    row = session.execute(select(*columns).where(_content.c.id == content_id)).one()
    return Edition(row.id, row.name, row.version, _body(session, row.id, row.digest))


def written(stream: Stream, subject: str, html: str | None, text: str | None, *, locale: str = "en") -> Body:
    """Return the content of a literal body: printed as it is, never evaluated."""
    return templates.literal(stream, Parts(subject, html or None, text or None), locale=locale)


def drafted(draft: TemplateDraft) -> Body:
    """Return the content that a draft describes, or raise `ContentError`; nothing of it was rendered yet."""
    return Body.from_dict(
        {
            **draft.model_dump(mode="json", exclude={"parts"}),
            "parts": {locale: parts.model_dump() for locale, parts in draft.parts.items()},
            "base": _base(),
            "default_locale": draft.default_locale if draft.default_locale in draft.parts else min(draft.parts),
        }
    )


def save(session: Session, tenant_id: int, body: Body, now: datetime) -> Version:
    """Keep a new version of the tenant's own template; what equals the newest one makes none.

    The caller has rendered it in a child process, outside of any transaction (`templates.try_in_child`).
    """
    name = body.name
    if name is None:
        raise Invalid(Problem("name", "is required"))
    digest = body.digest()
    for _ in range(_TRIES):
        kept = versions(session, tenant_id, name)
        newest = next((each for each in kept if not each.shipped and each.retired_at is None), None)
        if newest is not None and newest.body == body:
            return newest
        number = _next(session, tenant_id, name)
        # A digest is unique, yet an earlier version may come back: then its number is part of the digest.
        taken = session.execute(
            select(_content.c.id).where(_content.c.tenant_id == tenant_id, _content.c.digest == digest)
        ).first()
        own = hashlib.sha256(f"{digest} {number}".encode()).hexdigest() if taken else digest
        row = {**_row(tenant_id, body, own, now), "version": number}
        statement = database.insert(session, _content).values(row).on_conflict_do_nothing().returning(_content.c.id)
        if session.execute(statement).first() is not None:
            return Version(name, number, False, now, None, body)
    raise Conflict(f"others are saving versions of {name} at this moment: try again")


def versions(session: Session, tenant_id: int, name: str) -> list[Version]:
    """Return every stored version of a template, the newest first."""
    return _versions(session, tenant_id, name)


def version(session: Session, tenant_id: int, name: str, number: int) -> Version:
    """Return one version of a template."""
    found = _versions(session, tenant_id, name, number)
    if not found:
        raise NotFound(f"there is no version {number} of {name}")
    return found[0]


def current(session: Session, tenant_id: int, name: str) -> Version:
    """Return the version that a new email would get, stored or not; nothing is written."""
    mine = (_content.c.tenant_id == tenant_id, _content.c.name == name, ~_content.c.shipped)
    newest = select(_content).where(*mine, _content.c.retired_at.is_(None)).order_by(_content.c.version.desc()).limit(1)
    if (own := session.execute(newest).first()) is not None:
        return _version(own)
    if name not in shipped():
        raise NotFound(f"there is no template {name}")
    digest, body = shipped()[name]
    row = session.execute(
        select(_content.c.version, _content.c.created_at).where(
            _content.c.tenant_id == tenant_id, _content.c.digest == digest
        )
    ).first()
    return Version(name, row.version if row else None, True, row.created_at if row else None, None, body)


def listing(session: Session, tenant_id: int) -> list[Version]:
    """Return every template of a tenant in the version that a new email would get, by name."""
    own = session.execute(
        select(_content.c.name).where(
            _content.c.tenant_id == tenant_id,
            _content.c.name.is_not(None),
            ~_content.c.shipped,
            _content.c.retired_at.is_(None),
        )
    ).scalars()
    return [current(session, tenant_id, name) for name in sorted({*shipped(), *own})]


def retire(session: Session, tenant_id: int, name: str, now: datetime) -> int:
    """Retire the tenant's own versions, so that the shipped template, if there is one, is used again."""
    own = (
        _content.c.tenant_id == tenant_id,
        _content.c.name == name,
        ~_content.c.shipped,
        _content.c.retired_at.is_(None),
    )
    retired = session.execute(update(_content).where(*own).values(retired_at=now).returning(_content.c.id)).all()
    if not retired:
        raise NotFound(f"there is no template {name} of your own")
    return len(retired)


def _register(session: Session, tenant_id: int, name: str, now: datetime) -> Edition:
    """Store the shipped template for a tenant that uses it for the first time, or after the program was updated."""
    digest, body = shipped()[name]
    same = select(_content.c.id, _content.c.version).where(
        _content.c.tenant_id == tenant_id, _content.c.digest == digest
    )
    for _ in range(_TRIES):
        row = {
            **_row(tenant_id, body, digest, now),
            "version": _next(session, tenant_id, name),
            "shipped": True,
        }
        session.execute(database.insert(session, _content).values(row).on_conflict_do_nothing())
        if found := session.execute(same).first():
            return Edition(found.id, name, found.version, _shelf.put(digest, body))
    raise Conflict(f"others are saving versions of {name} at this moment: try again")


def _row(tenant_id: int, body: Body, digest: str, now: datetime) -> dict[str, object]:
    return {
        "tenant_id": tenant_id,
        "digest": digest,
        "name": body.name,
        "version": None,
        "shipped": False,
        "data": body.to_dict(),
        "created_at": now,
        "retired_at": None,
    }


def _next(session: Session, tenant_id: int, name: str) -> int:
    highest = select(func.max(_content.c.version)).where(_content.c.tenant_id == tenant_id, _content.c.name == name)
    return int(session.execute(highest).scalar_one_or_none() or 0) + 1


def _versions(session: Session, tenant_id: int, name: str, number: int | None = None) -> list[Version]:
    statement = select(_content).where(_content.c.tenant_id == tenant_id, _content.c.name == name)
    if number is not None:
        statement = statement.where(_content.c.version == number)
    rows = session.execute(statement.order_by(_content.c.version.desc()).limit(200))
    return [_version(row) for row in rows]


def _version(row: Row[tuple[object, ...]]) -> Version:
    body = _shelf.get(row.digest) or _shelf.put(row.digest, Body.from_dict(row.data))
    return Version(row.name, row.version, row.shipped, row.created_at, row.retired_at, body)


def _body(session: Session, identifier: int, digest: str) -> Body:
    """Return the parsed body of a row, read once a process."""
    if (kept := _shelf.get(digest)) is not None:
        return kept
    data = session.execute(select(_content.c.data).where(_content.c.id == identifier)).scalar_one()
    return _shelf.put(digest, Body.from_dict(data))


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """For whom a content is looked at."""

    sender: Sender
    locale: str
    variables: Mapping[str, object]
    #: The topic that its mail belongs to, where that may be left.
    topic: TopicInfo | None = None


def look_of(
    session: Session,
    tenant_id: int,
    body: Body,
    variables: Mapping[str, object],
    *,
    locale: str | None = None,
    topic: str | None = None,
) -> Look:
    """Return how a tenant's mail of a content is looked at; `topic` is another than the content's own.

    Raises `Invalid` where the tenant has no such topic, or it is of the other stream.
    """
    tenant, key = session.get_one(Tenant, tenant_id), topic or body.topic
    mine = (col(Identity.tenant_id) == tenant_id, col(Identity.stream) == body.stream)
    identity = session.execute(select(Identity).where(*mine)).scalars().first()
    named = select(Topic).where(col(Topic.tenant_id) == tenant_id, col(Topic.key) == key)
    found = session.execute(named).scalars().one_or_none() if key else None
    if topic and found is None:
        raise Invalid(Problem("topic", f"there is no topic {topic}"))
    if topic and found is not None and found.stream is not body.stream:
        raise Invalid(Problem("topic", f"the topic {topic} is {found.stream}, the email is {body.stream}"))
    return Look(
        sender=Sender(
            identity.address if identity else "sender@preview.invalid",
            identity.name if identity else tenant.name,
            tenant.postal_address or None,
        ),
        locale=locale or tenant.locale,
        variables=variables,
        topic=TopicInfo(found.key, found.names) if found is not None and may_leave(found) else None,
    )


def preview(body: Body, look: Look, now: datetime) -> Reading:
    """Return a mail as its reader would see it, with links that lead nowhere; raises `Invalid` or `ContentError`."""
    if problems := body.schema.check(look.variables):
        raise Invalid(*(Problem(f"variables.{path}", message) for path, message in problems))
    domain = look.sender.address.rpartition("@")[2]
    postal = look.sender.postal_address or "(the postal address of the sender)"
    purpose: Purpose = Transactional(look.topic, domain) if look.topic else Transactional()
    if body.stream is Stream.PROMOTIONAL:
        purpose = Promotional(look.topic or TopicInfo(body.topic or "topic"), PostalAddress(postal), domain)
    feedback_id = ("preview", "preview-topic", body.stream.value, "preview-sender")
    mailing = Mailing(compile_content(body, look.locale), look.sender, purpose, feedback_id=feedback_id)
    nowhere = "https://preview.invalid/"
    order = Order(
        recipient=Recipient("recipient@preview.invalid"),
        message_id=f"preview@{domain}",
        dated_at=now,
        values=look.variables,
        opt_out=OptOut(nowhere, nowhere, view_url=nowhere) if mailing.leavable else None,
    )
    return read(mailing.compose(order).to_bytes())


@lru_cache(maxsize=1)
def _base() -> Mapping[str, str]:
    """Return the frames that every template may extend, kept with each version so that it needs no file."""
    folder = resources.templates() / "email" / BASE
    return {f"{BASE}/{path.name}": path.read_text("utf-8") for path in sorted(folder.iterdir()) if path.is_file()}
