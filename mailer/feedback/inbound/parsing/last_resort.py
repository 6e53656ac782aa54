"""What flufl.bounce finds where our own rules know nothing. It finds addresses; its "permanent" is not our "hard"."""

import email
import email.policy

from flufl.bounce import all_failures

from mailer.causes import Category
from mailer.feedback.inbound.report import Kind, Report

#: It reads with the standard library's parser, which must not be given more.
_LONGEST = 64 * 1024


def read(raw: bytes) -> tuple[Report, ...]:
    """Return the recipients that flufl.bounce finds in a mail, as soft bounces of unknown cause."""
    try:
        mail = email.message_from_bytes(raw[:_LONGEST], policy=email.policy.compat32)
        temporary, permanent = all_failures(mail)
    except Exception:  # noqa: BLE001 - it and the parser below it raise what they like at mails that are broken
        return ()
    told = [(Kind.BOUNCED, address) for address in sorted(permanent)]
    told += [(Kind.DEFERRED, address) for address in sorted(temporary - permanent)]
    return tuple(
        Report(kind, Category.UNKNOWN, recipient=_text(address), source="text", rule="flufl")
        for kind, address in told
        if b"@" in address
    )


def _text(address: bytes) -> str:
    return address.decode("utf-8", "replace")[:320]
