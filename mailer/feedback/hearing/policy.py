"""What follows from which report: policy as tables (spec section 4, standards section 4)."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from mailer.feedback.inbound.report import Category, Kind, Proof
from mailer.status import TRANSITIONS, Status


class Fate(StrEnum):
    """What became of a report."""

    #: What follows from it has followed.
    DONE = "done"
    #: It was heard before, or says what is known; nothing changed.
    REPEATED = "repeated"
    #: It is believed, but names no mail of ours; it is kept and shown.
    UNMATCHED = "unmatched"
    #: Its mail has no outcome of ours yet; the clock looks again.
    EARLY = "early"
    #: Nobody vouches for it: it changed nothing, and only that it came is kept.
    REFUSED = "refused"


class Heard(NamedTuple):
    """What became of one report."""

    fate: Fate
    #: Of the kept report (`/v1/inbound/reports`); of a repeated one the first's.
    report_id: str
    #: The email that it is about.
    email_id: str | None = None
    #: Why nothing followed from it.
    why: str | None = None


#: What a kind of report makes of its email, where the table of transitions allows it; the others leave it as it is.
BECOMES: Mapping[Kind, Status] = {Kind.BOUNCED: Status.BOUNCED, Kind.DELIVERED: Status.DELIVERED}

#: Soft bounces that say something of the mailbox, so that many of them end promotional mail for a while. The others
#: are about us, our words, or a server between: no address has to answer for them.
COUNTS_SOFTLY = frozenset(
    {
        Category.INVALID_RECIPIENT,
        Category.BAD_DOMAIN,
        Category.INACTIVE_MAILBOX,
        Category.MAILBOX_FULL,
        Category.TRANSIENT,
        Category.EXPIRED,
        Category.UNKNOWN,
    }
)

#: What no email becomes before a relay was asked.
TRIED = frozenset({Status.SENT, Status.DELIVERED, Status.BOUNCED, Status.UNCERTAIN})
#: What has no outcome yet, or will be tried again.
UNSETTLED = frozenset({Status.SCHEDULED, Status.HELD, Status.QUEUED, Status.DEFERRED, Status.SENDING})

#: Words of R5.5 behind which somebody stands; the email's own token is the strongest.
_VOUCHERS = ("provider:", "dkim:", "operator")
RETURN_PATH = "return_path"


def believed(proof: Proof) -> bool:
    """Return whether somebody vouches for a report: a token of ours, or who signed it (R5.5, RFC 9477 section 3.5)."""
    return proof.email_id is not None or proof.by.startswith(_VOUCHERS)


def too_early(kind: Kind, status: Status) -> bool:
    """Return whether a report waits for our own outcome: what it changes would be overwritten by it."""
    return kind in BECOMES and status in UNSETTLED


def moves(kind: Kind, status: Status, happened: datetime | None, known: datetime | None) -> bool:
    """Return whether a report changes the status of its mail; of two that contradict each other the later holds.

    `happened` is when the source says that it happened, `known` the time of what is known already; None: not said, so
    that the order of arrival decides.
    """
    target = BECOMES.get(kind)
    if target is None or target not in TRANSITIONS[status]:
        return False
    contradicts = status in BECOMES.values()
    return not (contradicts and happened is not None and known is not None and happened < known)
