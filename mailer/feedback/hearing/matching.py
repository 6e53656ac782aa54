"""Which mail a report is about: a token of ours wins, then what names one mail and its recipient."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, select
from sqlmodel import Session, SQLModel

from mailer import database, ids
from mailer.feedback.hearing.policy import RETURN_PATH, TRIED
from mailer.feedback.inbound.report import Proof, Report
from mailer.models import Email
from suppression.address import AddressError, parse

_EMAIL = SQLModel.metadata.tables[str(Email.__tablename__)]
#: An id of ours, as Message-ID and ENVID have it; some servers fold its letters.
_ID = re.compile(r"em_[0-9a-hjkmnp-tv-z]{26}")
_MESSAGE_ID = re.compile(r"<?(em_[0-9a-hjkmnp-tv-z]{26})@[^@\s<>]+>?")
#: Ids tell milliseconds, and times are rounded to them.
_ABOUT = timedelta(milliseconds=2)
#: Recipients of one request (spec section 3).
_MOST_PARTIES = 50


class Match(NamedTuple):
    """The mail that a report is about, or why there is none."""

    email_id: str | None
    why: str | None = None


class _Mail(NamedTuple):
    """What of a mail tells whether a report is about it."""

    id: str
    address: str | None
    #: The Message-ID's key that several recipients of one request share; None where the mail has its own id.
    message_key: object
    #: A relay may have seen it: of one that never left nobody can tell anything.
    tried: bool


class _Named(NamedTuple):
    """What a report names a mail by, strongest first."""

    token: str | None = None
    envelope: str | None = None
    message: str | None = None


def vouched(read: Callable[[str], str | None], report: Report, proof: Proof) -> Proof:
    """Return the proof with the email that a token of ours in the report names; a proof that names one stands.

    `read` is `Links.read_return_path`.
    """
    if proof.email_id is not None:
        return proof
    for text in (report.return_path, report.envelope_id):
        if text and (email_id := read(text)) is not None:
            return Proof(proof.by or RETURN_PATH, email_id)
    return proof


def match(session: Session, heard: Sequence[tuple[Report, Proof]]) -> list[Match]:
    """Return which mail each report that is believed is about, in their order; never by its recipient alone.

    What they name is looked up together: one statement, and one more for each Message-ID that several mails share.
    """
    named = [_named(report, proof) for report, proof in heard]
    mails = _mails(session, {each for names in named for each in names if each is not None})
    shared = {
        names.message
        for names in named
        if names.message is not None
        and names.token is None
        and (names.message not in mails or mails[names.message].message_key)
    }
    sharing = {key: _sharing(session, key) for key in sorted(shared)}
    return [
        _sent(_found(report, proof, names, mails, sharing)) for (report, proof), names in zip(heard, named, strict=True)
    ]


def _named(report: Report, proof: Proof) -> _Named:
    if proof.email_id is not None:
        return _Named(token=proof.email_id)
    envelope = (report.envelope_id or "").strip().lower()
    message = _MESSAGE_ID.fullmatch((report.message_id or "").strip().lower())
    return _Named(None, envelope if _ID.fullmatch(envelope) else None, message[1] if message else None)


def _sent(found: _Mail | str) -> Match:
    if isinstance(found, str):
        return Match(None, found)
    return Match(found.id) if found.tried else Match(None, "the mail that it names was never sent")


def _found(
    report: Report, proof: Proof, names: _Named, mails: Mapping[str, _Mail], sharing: Mapping[str, Sequence[_Mail]]
) -> _Mail | str:
    """Return the mail, or why there is none."""
    if names.token is not None:
        return mails.get(names.token) or "the mail that its token names is gone"
    if names.envelope is not None and names.envelope in mails:
        return _for_recipient([mails[names.envelope]], report, proof)
    if names.message is None:
        return "it names no mail of ours"
    found = sharing[names.message] if names.message in sharing else [mails[names.message]]
    if not found:
        return "the mail that it names is gone or another system's"
    return _for_recipient(found, report, proof)


_COLUMNS = tuple(
    _EMAIL.c[name] for name in ("id", "address", "details", "attempts", "maybe_duplicate", "intent_at", "status")
)


def _mails(session: Session, wanted: Collection[str]) -> dict[str, _Mail]:
    if not wanted:
        return {}
    statement = select(*_COLUMNS).where(database.among(session, _EMAIL.c.id, sorted(wanted)))
    return {mail.id: mail for mail in map(_mail, session.execute(statement))}


def _mail(row: Row[Any]) -> _Mail:
    tried = bool(row.attempts or row.maybe_duplicate or row.intent_at) or row.status in TRIED
    return _Mail(row.id, row.address, (row.details or {}).get("message_key"), tried)


def _sharing(session: Session, key: str) -> list[_Mail]:
    """Return every email with a Message-ID: several recipients of one request share it."""
    try:
        made = ids.made_at(key)
    except ValueError:
        return []
    # Emails of one request have ids of the same millisecond, one after the other.
    around = (_EMAIL.c.id >= key, _EMAIL.c.id < ids.first("em", made + _ABOUT), _EMAIL.c.details.is_not(None))
    statement = select(*_COLUMNS).where(*around).order_by(_EMAIL.c.id).limit(_MOST_PARTIES)
    return [mail for mail in map(_mail, session.execute(statement)) if mail.message_key == key]


def _for_recipient(mails: Sequence[_Mail], report: Report, proof: Proof) -> _Mail | str:
    """Return the one mail whose recipient is the report's.

    A provider names the recipient that we gave it. A server that forwarded the mail, or a report that was redacted,
    names another (R5.2, R5.3): where the mail had one recipient, its Message-ID says enough.
    """
    wanted = _canonical(report.recipient)
    same = [mail for mail in mails if wanted is not None and _canonical(mail.address) == wanted]
    if len(same) == 1:
        return same[0]
    lone = mails[0] if len(mails) == 1 else None
    if lone is not None and (lone.address is None or not proof.by.startswith("provider:")):
        return lone
    return "it names another recipient than the mail had"


def _canonical(text: str | None) -> str | None:
    try:
        return parse(text).canonical if text else None
    except AddressError:
        return None
