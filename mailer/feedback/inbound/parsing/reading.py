"""One mail that came back, understood: bytes in, a `Reading` out. Pure, bounded, and nothing is raised."""

from mailer.feedback.inbound.parsing import complaint, delivery, last_resort, ordinary, plain, prose, sender
from mailer.feedback.inbound.parsing.addresses import domain, first
from mailer.feedback.inbound.parsing.mime import Part, parse
from mailer.feedback.inbound.parsing.original import Original, named_in, original
from mailer.feedback.inbound.report import Reading, Report


def read(raw: bytes) -> Reading:
    """Return what a mail reports, or why it reports nothing.

    Sources: RFC 3464 and 6533 (delivery status), RFC 5965 (feedback), and rules kept as data for everything else
    (standards R5.2 to R5.7). Only the first megabyte is looked at. What a mail says is claimed, not proven.
    """
    mail = parse(raw)
    text, copy = plain.said(mail)
    feedback = complaint.read(mail)
    if feedback is not None:
        return _reading(mail, feedback.reports, f"feedback_{feedback.other}" if feedback.other else None)
    dropped = ordinary.other_report(mail)
    if dropped is not None:
        return Reading(dropped=dropped)
    ours = original(mail, copy)
    by_server = sender.is_daemon(mail) or sender.is_nobody(mail)
    wrapped = _wrapped(mail) if by_server and not prose.says_failed(text) else None
    if wrapped is not None:
        mail, (text, copy) = wrapped, plain.said(wrapped)
        ours = original(wrapped, copy)
    if by_server and ours.report:
        return Reading(dropped="bounce_of_bounce")
    return _delivery(mail, text, ours) or _rest(raw, mail, text, ours)


def _delivery(mail: Part, text: str, ours: Original) -> Reading | None:
    """Return what a delivery status says, None where there is none that counts."""
    standing = sender.is_daemon(mail) or sender.is_nobody(mail)
    passed_on = sender.is_answer(mail) and not standing
    meant = mail.kind == "multipart/report" or standing or (sender.is_failure(mail) and sender.is_automatic(mail))
    body = delivery.status_part(mail) if meant and not passed_on else None
    if body is None:
        return None
    status = delivery.read(body, text, delayed=prose.says_delayed(f"{mail.field('subject')}\n{text}"))
    if status.passed_on:
        return Reading(dropped="passed_on")
    reports = tuple(_known(report, ours, text) for report in status.reports)
    if not any(report.recipient for report in reports) and (words := prose.read(mail, text, ours)):
        reports = tuple(_known(report, ours, text) for report in words)
    return _reading(mail, reports, None) if reports else None


def _wrapped(mail: Part) -> Part | None:
    """Return the report that a gateway wrapped into a mail that says nothing of its own."""
    if delivery.status_part(mail) is not None:
        return None
    for part in mail.walk():
        if part.kind == "message/rfc822" and part.parts and part.parts[0].kind == "multipart/report":
            return part.parts[0]
    return None


def _rest(raw: bytes, mail: Part, text: str, ours: Original) -> Reading:
    dropped = ordinary.command(mail, text)
    if dropped is not None:
        return Reading(dropped=dropped)
    reports = prose.read(mail, text, ours)
    if reports:
        return _reading(mail, tuple(_known(report, ours, text) for report in reports), None)
    dropped = ordinary.automatic(mail, text)
    if dropped is not None:
        return Reading(dropped=dropped)
    standing = sender.is_daemon(mail) or sender.is_nobody(mail)
    if standing and sender.is_failure(mail) and not sender.is_answer(mail):
        found = last_resort.read(raw)
        # A server reports something here; what it is, nobody knows: it is kept and shown.
        return _reading(mail, tuple(_known(report, ours, text) for report in found), None if found else "unreadable")
    return Reading(dropped="ordinary")


def _known(report: Report, ours: Original, text: str) -> Report:
    """Return a report with what the copy of our mail says of itself."""
    return report._replace(
        recipient=report.recipient or ours.recipient,
        message_id=ours.message_id or named_in(text),
        return_path=ours.return_path,
        list_unsubscribe=ours.list_unsubscribe,
    )


def _reading(mail: Part, reports: tuple[Report, ...], dropped: str | None) -> Reading:
    own = mail.field("message-id").strip()[:300]
    reporter = domain(first(mail.field("from")) or "") or None
    return Reading(
        tuple(
            report._replace(
                event_id=(f"{own}#{number}" if number else own) or None,
                reporter=report.reporter or reporter,
            )
            for number, report in enumerate(reports)
        ),
        dropped if dropped or reports else "ordinary",
    )
