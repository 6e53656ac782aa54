"""Who wrote a mail: a mail server, an answering machine, or a person."""

import re

from mailer.feedback.inbound.parsing.mime import Part
from mailer.feedback.inbound.parsing.phrases import phrase

_DAEMON = phrase("daemon")
#: Subjects that reports begin with. People write *about* bounces, with other words before.
_SUBJECT = phrase("failure-subject")
_REPLY = re.compile(r"^\s*((re|aw|sv|antw|fwd?|wg|tr|rv|enc|vs|odp)\s*(\[\d+\])?\s*:)", re.IGNORECASE)
_AUTOMATIC = re.compile(r"auto-(replied|generated|notified)", re.IGNORECASE)


def is_daemon(mail: Part) -> bool:
    """Say whether a mail server says that it wrote this."""
    who = " ".join(mail.field(name) for name in ("from", "sender", "x-mailer-daemon"))
    nobody = re.fullmatch(r"(\"?[^\"<>]{0,80}\"?\s*)?<\s*>", mail.field("from").strip()) is not None
    return nobody or _DAEMON.search(who[:500]) is not None


def is_nobody(mail: Part) -> bool:
    """Say whether it came with the empty return path (RFC 5321 section 4.5.5), as far as it says so itself."""
    return mail.field("return-path").replace(" ", "") in {"<>", "<MAILER-DAEMON>"}


def is_automatic(mail: Part) -> bool:
    """Say whether a program says that it wrote this (RFC 3834)."""
    return _AUTOMATIC.search(mail.field("auto-submitted")) is not None


def is_failure(mail: Part) -> bool:
    """Say whether the subject is one of those that mail servers give their reports."""
    return _SUBJECT.search(mail.field("subject")[:300].strip()) is not None


def is_answer(mail: Part) -> bool:
    """Say whether it is an answer or was passed on: what it quotes is no report to us."""
    return _REPLY.match(mail.field("subject")[:300]) is not None
