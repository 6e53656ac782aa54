"""One captured mail: its envelope, its bytes, and the headers that a list shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from mailer.inbox.reading import clean, first, headers_of, moment
from suppression.rules import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What the list of captured mail shows of one mail."""

    #: Given by the store; later mail has a higher one, and none is used twice.
    id: int = 0
    received_at: datetime
    mail_from: str
    rcpt_to: tuple[str, ...]
    subject: str
    sender: str
    date: datetime | None
    stream: Stream
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured(Summary):
    """A captured mail, whole."""

    raw: bytes


def capture(mail_from: str, rcpt_to: Sequence[str], raw: bytes, now: datetime) -> Captured:
    """Return the mail that these bytes and this envelope are, ready to be stored."""
    headers = headers_of(raw)
    # Only promotional mail says `Precedence: bulk` (RFC 2076 section 3.9), whoever composed it.
    bulk = first(headers, "Precedence").lower() in {"bulk", "list", "junk"}
    return Captured(
        received_at=now,
        mail_from=clean(mail_from),
        rcpt_to=tuple(clean(address) for address in rcpt_to),
        subject=first(headers, "Subject"),
        sender=first(headers, "From"),
        date=moment(first(headers, "Date")),
        stream=Stream.PROMOTIONAL if bulk else Stream.TRANSACTIONAL,
        size=len(raw),
        raw=raw,
    )
