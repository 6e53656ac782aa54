"""What somebody tells us about a mail of ours, in the words that every source is brought to."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mailer.causes import Category

__all__ = ["Category", "Kind", "Proof", "Reading", "Report"]


class Kind(StrEnum):
    """What is told."""

    #: It did not arrive and is tried no more.
    BOUNCED = "bounced"
    #: It has not arrived yet; whoever has it goes on trying.
    DEFERRED = "deferred"
    #: It arrived.
    DELIVERED = "delivered"
    #: Somebody calls it spam.
    COMPLAINED = "complained"
    #: Somebody left by a way of the provider's.
    UNSUBSCRIBED = "unsubscribed"


class Report(NamedTuple):
    """One thing told about one mail to one recipient; nothing in it is believed before somebody vouches for it."""

    kind: Kind
    category: Category = Category.UNKNOWN
    #: The address is the cause and will stay so: no stream may use it again.
    hard: bool = False
    #: Whom the mail was for, as the report spells them; a forwarder's report may name another (R5.2).
    recipient: str | None = None
    #: Enhanced status code (RFC 3463), such as "5.1.1".
    status: str | None = None
    #: What the receiver's server said, 500 characters at most; it may hold the address.
    diagnostic: str | None = None
    #: When it happened, aware, as far as the source says.
    at: datetime | None = None
    #: Who tells it: "dsn", "arf", "text", "ses", "sendgrid", "mailgun", "postmark", "generic".
    source: str = ""
    #: Id of the rule that decided kind, category and `hard`.
    rule: str = ""
    #: What names the mail that it is about: its return path (RFC 3464 calls it nothing; part 3 may hold it), ...
    return_path: str | None = None
    #: ... its Message-ID with angle brackets, ...
    message_id: str | None = None
    #: ... the ENVID that we gave it (RFC 3461 section 4.4).
    envelope_id: str | None = None
    #: ... and the List-Unsubscribe of the copy, whose token names the person where all else was blackened.
    list_unsubscribe: str | None = None
    #: The source's own id of this event, by which a repeated one is known.
    event_id: str | None = None
    #: Who reports: a server's or provider's domain.
    reporter: str | None = None


class Reading(NamedTuple):
    """What a parser made of what came."""

    reports: tuple[Report, ...] = ()
    #: Why there is none: "auto_reply", "challenge", "ordinary", "unreadable", "not_ours" …; None where there are some.
    dropped: str | None = None


class Proof(NamedTuple):
    """Why a report is believed (R5.5): anybody can write one."""

    #: Who vouches: "return_path" (a token of ours), "provider:ses", "dkim:arf.mail.yahoo.com", "operator".
    by: str
    #: The email that a token of ours names, "em_…"; None where only the report itself says which.
    email_id: str | None = None
