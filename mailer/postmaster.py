"""Mail to `postmaster@` the return-path domain: taken (RFC 5321 section 4.5.1), kept a while, read by an operator."""

import email.policy
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.header import decode_header, make_header
from email.parser import BytesHeaderParser
from typing import NamedTuple

from sqlalchemy import LargeBinary, func, select
from sqlmodel import Session, SQLModel

from mailer import ids
from mailer.errors import NotFound
from mailer.models import PostmasterMail
from mailer.storable import printable

#: How long a mail is kept, and how many at most: whoever floods this address drives out nothing else.
KEPT = timedelta(days=30)
MOST = 500
#: Bytes of a mail that are kept.
LARGEST = 256 * 1024
_HEAD = 16 * 1024
_LONGEST = 320
_mail = SQLModel.metadata.tables[str(PostmasterMail.__tablename__)]


class Shown(NamedTuple):
    """A mail as a list shows it; what it says of itself, nobody has verified."""

    id: str
    at: datetime
    sender: str
    subject: str


def keep(session: Session, sender: str, raw: bytes, now: datetime) -> str:
    """Keep the beginning of a mail, and return its id; the oldest goes where there are too many."""
    mail = PostmasterMail(id=ids.new("pm", now), sender=printable(sender, _LONGEST), raw=raw[:LARGEST], at=now)
    session.add(mail)
    session.flush()
    newest = select(_mail.c.id).order_by(_mail.c.id.desc()).limit(MOST)
    session.execute(_mail.delete().where(_mail.c.id.not_in(newest)))
    return mail.id


def listing(session: Session, limit: int) -> Sequence[Shown]:
    """Return the mails that are kept, the newest first."""
    # Not the mails themselves: 500 may have 125 MB.
    head = func.substr(_mail.c.raw, 1, _HEAD, type_=LargeBinary)
    found = session.execute(
        select(_mail.c.id, _mail.c.at, _mail.c.sender, head).order_by(_mail.c.id.desc()).limit(limit)
    )
    return [Shown(identifier, at, sender, _subject(raw)) for identifier, at, sender, raw in found]


def read(session: Session, identifier: str) -> bytes:
    """Return what is kept of a mail, as it arrived."""
    mail = session.get(PostmasterMail, identifier)
    if mail is None:
        raise NotFound(f"there is no mail {identifier[:80]}: it may be older than {KEPT.days} days")
    return mail.raw


def forget(session: Session, now: datetime) -> None:
    """Drop what was kept long enough."""
    session.execute(_mail.delete().where(_mail.c.at < now - KEPT))


def _subject(head: bytes) -> str:
    try:
        said = BytesHeaderParser(policy=email.policy.compat32).parsebytes(head).get("Subject", "")
        return printable(str(make_header(decode_header(str(said)))), _LONGEST)
    except Exception:  # noqa: BLE001 - the standard library's parser raises what it likes; a list needs no subject
        return ""
