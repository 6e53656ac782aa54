"""The status of an email and the one table of its transitions."""

from enum import StrEnum


class Status(StrEnum):
    """Where the delivery of one email stands."""

    #: Waits for its time.
    SCHEDULED = "scheduled"
    #: Its campaign is not running.
    HELD = "held"
    #: Waits for a free connection.
    QUEUED = "queued"
    #: A worker has it.
    SENDING = "sending"
    #: The relay said 2xx.
    SENT = "sent"
    #: The relay said 4xx or could not be reached; tried again later.
    DEFERRED = "deferred"
    #: Somebody told us that it arrived.
    DELIVERED = "delivered"
    #: The recipient's side refused it, or retries ran out.
    BOUNCED = "bounced"
    #: Our fault or the content's.
    FAILED = "failed"
    #: A suppression forbids it.
    SUPPRESSED = "suppressed"
    #: Taken back by its sender.
    CANCELLED = "cancelled"
    #: ``expires_at`` passed before it could be sent.
    EXPIRED = "expired"
    #: A worker died between intent and outcome; nobody knows.
    UNCERTAIN = "uncertain"


#: Status -> what it may become. Every guarded bulk update takes its WHERE from here (`before`).
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.SCHEDULED: frozenset({Status.QUEUED, Status.SENDING, Status.SUPPRESSED, Status.CANCELLED, Status.EXPIRED}),
    Status.HELD: frozenset({Status.QUEUED, Status.SENDING, Status.SUPPRESSED, Status.CANCELLED, Status.EXPIRED}),
    Status.QUEUED: frozenset(
        {
            Status.HELD,
            Status.SCHEDULED,
            Status.SENDING,
            Status.SUPPRESSED,
            Status.CANCELLED,
            Status.EXPIRED,
            Status.FAILED,
        }
    ),
    Status.DEFERRED: frozenset(
        {Status.SENDING, Status.SUPPRESSED, Status.CANCELLED, Status.EXPIRED, Status.BOUNCED, Status.FAILED}
    ),
    Status.SENDING: frozenset(
        {
            Status.QUEUED,
            Status.HELD,
            Status.DEFERRED,
            Status.SENT,
            Status.BOUNCED,
            Status.FAILED,
            Status.SUPPRESSED,
            Status.CANCELLED,
            Status.EXPIRED,
            Status.UNCERTAIN,
        }
    ),
    Status.SENT: frozenset({Status.DELIVERED, Status.BOUNCED}),
    Status.UNCERTAIN: frozenset({Status.QUEUED, Status.SENT, Status.DELIVERED, Status.BOUNCED, Status.FAILED}),
    # A bounce can follow a success report (an alias that forwards on), and a late report can follow a bounce.
    Status.DELIVERED: frozenset({Status.BOUNCED}),
    Status.BOUNCED: frozenset({Status.DELIVERED}),
    Status.FAILED: frozenset(),
    Status.SUPPRESSED: frozenset(),
    Status.CANCELLED: frozenset(),
    Status.EXPIRED: frozenset(),
}

#: What a claim may take.
CLAIMABLE = (Status.QUEUED, Status.DEFERRED, Status.SCHEDULED)
#: What has not been handed to a relay yet. ``sending`` belongs here only while no intent is written.
WAITING = (*CLAIMABLE, Status.HELD)


def before(after: Status) -> tuple[Status, ...]:
    """Return every status from which an email may become ``after``."""
    return tuple(status for status, targets in TRANSITIONS.items() if after in targets)
