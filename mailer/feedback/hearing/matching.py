"""Which mail a report is about: a token of ours wins, then what names one mail and its recipient."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer import ids
from mailer.feedback.hearing.policy import RETURN_PATH, TRIED
from mailer.feedback.inbound.report import Proof, Report
from mailer.models import Email
from suppression.address import AddressError, parse

#: An id of ours, as Message-ID and ENVID have it; some servers fold its letters.
_ID = re.compile(r"em_[0-9a-hjkmnp-tv-z]{26}")
_MESSAGE_ID = re.compile(r"<?(em_[0-9a-hjkmnp-tv-z]{26})@[^@\s<>]+>?")
#: Ids tell milliseconds, and times are rounded to them.
_ABOUT = timedelta(milliseconds=2)
#: Recipients of one request (spec section 3).
_MOST_PARTIES = 50


class Match(NamedTuple):
    """The mail that a report is about, or why there is none."""

    email: Email | None
    why: str | None = None


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


def match(session: Session, report: Report, proof: Proof) -> Match:
    """Return which mail a report that is believed is about; never by its recipient alone."""
    found = _found(session, report, proof)
    if found.email is None or _tried(found.email):
        return found
    return Match(None, "the mail that it names was never sent")


def _tried(email: Email) -> bool:
    """Return whether a relay may have seen a mail: of one that never left nobody can tell anything."""
    return bool(email.attempts or email.maybe_duplicate or email.intent_at) or email.status in TRIED


def _found(session: Session, report: Report, proof: Proof) -> Match:
    if proof.email_id is not None:
        email = session.get(Email, proof.email_id)
        return Match(email, None if email else "the mail that its token names is gone")
    envelope = (report.envelope_id or "").strip().lower()
    if _ID.fullmatch(envelope) and (email := session.get(Email, envelope)) is not None:
        return _for_recipient([email], report, proof)
    named = _MESSAGE_ID.fullmatch((report.message_id or "").strip().lower())
    if named is None:
        return Match(None, "it names no mail of ours")
    if not (emails := _of_message(session, named[1])):
        return Match(None, "the mail that it names is gone or another system's")
    return _for_recipient(emails, report, proof)


def _of_message(session: Session, key: str) -> list[Email]:
    """Return every email with a Message-ID: several recipients of one request share it."""
    try:
        made = ids.made_at(key)
    except ValueError:
        return []
    email = session.get(Email, key)
    if email is not None and not (email.details or {}).get("message_key"):
        return [email]
    # Emails of one request have ids of the same millisecond, one after the other.
    around = (col(Email.id) >= key, col(Email.id) < ids.first("em", made + _ABOUT), col(Email.details).is_not(None))
    found = session.exec(select(Email).where(*around).order_by(col(Email.id)).limit(_MOST_PARTIES)).all()
    return [email for email in found if (email.details or {}).get("message_key") == key]


def _for_recipient(emails: list[Email], report: Report, proof: Proof) -> Match:
    """Return the one email whose recipient is the report's.

    A provider names the recipient that we gave it. A server that forwarded the mail, or a report that was redacted,
    names another (R5.2, R5.3): where the mail had one recipient, its Message-ID says enough.
    """
    wanted = _canonical(report.recipient)
    same = [email for email in emails if wanted is not None and _canonical(email.address) == wanted]
    if len(same) == 1:
        return Match(same[0])
    lone = emails[0] if len(emails) == 1 else None
    if lone is not None and (lone.address is None or not proof.by.startswith("provider:")):
        return Match(lone)
    return Match(None, "it names another recipient than the mail had")


def _canonical(text: str | None) -> str | None:
    try:
        return parse(text).canonical if text else None
    except AddressError:
        return None
