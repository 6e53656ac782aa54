"""What is kept of a person beside their mail: choices, consents, requests, and answers to repeated requests."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlmodel import Session, SQLModel, col

from mailer import answers, ids
from mailer.erasure.mails import Theirs
from mailer.erasure.words import Known
from mailer.feedback import hearing
from mailer.models import Consent, OptIn, Person, StoredAnswer, Told, ToldState
from mailer.people import EventKind, News, tell

_CONSENT, _PERSON, _OPT_IN, _ANSWER, _TOLD = (
    SQLModel.metadata.tables[str(model.__tablename__)] for model in (Consent, Person, OptIn, StoredAnswer, Told)
)
_CHUNK = 400
#: A request may work for so long before its mail is accepted, and an answer is stored this soon after.
_WORKING, _SOON = timedelta(hours=1), timedelta(minutes=1)
SOURCE = "erasure"


def forget_person(session: Session, tenant_id: int, fingerprint: bytes, now: datetime) -> None:
    """Forget what a person chose, end what they permitted, and let no request to opt in be confirmed any more."""
    for table in (_PERSON, _OPT_IN, _CONSENT):
        same = (table.c.tenant_id == tenant_id, table.c.fingerprint == fingerprint)
        if table is _PERSON:
            session.execute(table.delete().where(*same))
        elif table is _OPT_IN:
            waiting = (table.c.confirmed_at.is_(None), table.c.expires_at > now)
            session.execute(update(table).where(*same, *waiting).values(expires_at=now))
            session.execute(update(table).where(*same).values(address=None, name="", ip=None))
        else:
            session.execute(update(table).where(*same).values(ip=None, evidence=None))
    _withdraw(session, tenant_id, fingerprint, now)


def _withdraw(session: Session, tenant_id: int, fingerprint: bytes, now: datetime) -> None:
    """Record a no to every purpose that the person said yes to last; the earlier answers stay as proof."""
    given = (
        select(_CONSENT.c.purpose, _CONSENT.c.granted, _CONSENT.c.key_id)
        .where(_CONSENT.c.tenant_id == tenant_id, _CONSENT.c.fingerprint == fingerprint)
        .order_by(_CONSENT.c.at, _CONSENT.c.id)
    )
    newest = {purpose: (granted, key_id) for purpose, granted, key_id in session.execute(given)}
    news = []
    for purpose, (granted, key_id) in newest.items():
        if not granted:
            continue
        row = {"id": ids.new("co", now), "tenant_id": tenant_id, "fingerprint": fingerprint, "key_id": key_id}
        said: dict[str, object] = {"purpose": purpose, "granted": False, "source": SOURCE}
        session.execute(_CONSENT.insert().values(**row, **said, at=now))
        news.append(News(tenant_id, EventKind.CONSENT_CHANGED, {"consent_id": row["id"], **said}))
    tell(session, news, now)


def forget_reports(session: Session, tenant_id: int, theirs: Sequence[Theirs], addresses: Collection[str]) -> None:
    """Take the person out of what others told about their mail, and out of reports that name no mail but them."""
    gone = {"recipient": None, "message_id": None, "envelope_id": None, "diagnostic": None, "fingerprint": None}
    own = [each.id for each in theirs]
    for start in range(0, len(own), _CHUNK):
        some = (_TOLD.c.tenant_id == tenant_id, _TOLD.c.email_id.in_(own[start : start + _CHUNK]))
        session.execute(update(_TOLD).where(*some).values(gone))
    lost = (
        hearing.in_state(ToldState.UNMATCHED),
        func.lower(_TOLD.c.recipient).in_({each.lower() for each in addresses}),
    )
    session.execute(update(_TOLD).where(*lost).values(gone))


def forget_answers(session: Session, tenant_id: int, theirs: Sequence[Theirs], known: Known, now: datetime) -> None:
    """Take the person out of the answers that are kept for requests which come again (24 hours)."""
    recent = [each.created_at for each in theirs if each.created_at > now - answers.KEPT - _WORKING]
    if not recent:
        return
    when = col(StoredAnswer.created_at).between(min(recent) - _WORKING, max(recent) + _SOON)
    kept = select(_ANSWER.c.id, _ANSWER.c.body).where(_ANSWER.c.tenant_id == tenant_id, when)
    for identifier, body in session.execute(kept).all():
        told = body.decode("utf-8", "surrogateescape")
        if known.stand_in(told):
            changed = str(known.without(told)).encode("utf-8", "surrogateescape")
            session.execute(update(_ANSWER).where(_ANSWER.c.id == identifier).values(body=changed))
