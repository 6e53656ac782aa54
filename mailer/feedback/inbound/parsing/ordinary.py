"""What is no report: automatic answers, challenges, commands, other kinds of reports, mails of people (R5.4)."""

import re

from mailer.feedback.inbound.parsing import sender
from mailer.feedback.inbound.parsing.mime import Part
from mailer.feedback.inbound.parsing.phrases import phrase

#: Fields that only answering machines write.
_FIELDS = (
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-auto-reply",
    "x-vacation",
    "x-autoreply-from",
    "x-mail-autoreply",
)
_PRECEDENCE = re.compile(r"auto[-_]?reply|auto[-_]?respon", re.IGNORECASE)
_AUTO_REPLY = phrase("auto-reply-subject")
_CHALLENGE = phrase("challenge")
_COMMAND = re.compile(
    r"^\W{0,3}(un-?subscribe|subscribe|signoff|remove(\ me)?|abmelden|désabonner|desabonner|отписаться|stop)\W{0,3}$",
    re.IGNORECASE,
)
_LEAVING = re.compile(r"^\W{0,3}(subscribe)", re.IGNORECASE)
_OTHER_REPORTS = {"disposition-notification": "receipt", "tlsrpt": "tls_report"}
_AGGREGATE = re.compile(r"report domain:.{0,200}submitter:", re.IGNORECASE)


def other_report(mail: Part) -> str | None:
    """Return which other kind of report a mail is: a receipt (RFC 8098), TLS (RFC 8460) or DMARC statistics."""
    kinds = {part.kind for part in mail.walk()}
    report = mail.parameters.get("report-type", "").lower()
    if report in _OTHER_REPORTS and "message/delivery-status" not in kinds:
        return _OTHER_REPORTS[report]
    if "message/disposition-notification" in kinds:
        return "receipt"
    if mail.has("tls-report-domain") or any(kind.startswith("application/tlsrpt") for kind in kinds):
        return "tls_report"
    return "dmarc_report" if _AGGREGATE.search(mail.field("subject")[:400]) else None


def automatic(mail: Part, text: str) -> str | None:
    """Return why a mail is nothing that anybody wrote to us: "auto_reply", "challenge"; None where somebody did."""
    subject = mail.field("subject")[:300]
    if _CHALLENGE.search(subject) and not sender.is_failure(mail):
        return "challenge"
    replied = (
        "auto-replied" in mail.field("auto-submitted").lower()
        or _PRECEDENCE.search(mail.field("precedence")) is not None
    )
    if replied or any(mail.has(name) for name in _FIELDS) or _AUTO_REPLY.search(subject):
        return "challenge" if _CHALLENGE.search(text[:1000]) else "auto_reply"
    return None


def command(mail: Part, text: str) -> str | None:
    """Return "unsubscribe" or "subscribe" where that is all that a mail says."""
    lines = [line.strip() for line in (mail.field("subject")[:200], *text.strip().split("\n")[:2]) if line.strip()]
    said = next((line for line in lines[:2] if _COMMAND.match(line)), None)
    if said is None or sender.is_daemon(mail):
        return None
    return "subscribe" if _LEAVING.match(said) else "unsubscribe"
