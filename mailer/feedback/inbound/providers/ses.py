"""Amazon SES: feedback notifications (`notificationType`) and published events (`eventType`) -> Reports.

What the fields mean: "Amazon SNS notification contents for Amazon SES" and "Contents of event data that Amazon SES
publishes to Amazon SNS" in its developer guide. Several recipients an event, in any order, with unknown fields.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from mailer.causes import Cause
from mailer.feedback.inbound.providers import plain
from mailer.feedback.inbound.providers.arriving import MOST_EVENTS, Batch, Unreadable
from mailer.feedback.inbound.providers.causes import cause, code_in
from mailer.feedback.inbound.providers.plain import Json
from mailer.feedback.inbound.report import Category, Kind, Proof, Report

PROOF = Proof("provider:ses")

#: (bounceType, bounceSubType) -> why; None: what the receiver said decides. A subtype that is not here counts as
#: `General`. What SES itself refuses from a list of its own says nothing of what made it list the address.
BOUNCES: Mapping[tuple[str, str], Cause | None] = {
    ("Permanent", "General"): None,
    ("Permanent", "NoEmail"): Cause(Category.INVALID_RECIPIENT, hard=True),
    ("Permanent", "Suppressed"): Cause(Category.INVALID_RECIPIENT),
    ("Permanent", "OnAccountSuppressionList"): Cause(Category.POLICY),
    ("Permanent", "UnsubscribedRecipient"): Cause(Category.UNSUBSCRIBE),
    ("Transient", "General"): None,
    ("Transient", "MailboxFull"): Cause(Category.MAILBOX_FULL),
    ("Transient", "MessageTooLarge"): Cause(Category.TOO_LARGE),
    ("Transient", "ContentRejected"): Cause(Category.CONTENT),
    ("Transient", "AttachmentRejected"): Cause(Category.CONTENT),
    ("Transient", "CustomTimeoutExceeded"): Cause(Category.EXPIRED),
    ("Undetermined", "Undetermined"): None,
}
#: What a bounce is whose receiver said nothing that we understand.
_UNCLEAR = {
    "Permanent": Cause(Category.UNKNOWN),
    "Transient": Cause(Category.TRANSIENT),
    "Undetermined": Cause(Category.UNKNOWN),
}
#: complaintFeedbackType (RFC 5965 section 7.3, "other" and none too) -> whether a person complains (R5.3).
COMPLAINTS: Mapping[str, bool] = {
    "abuse": True,
    "fraud": True,
    "other": True,
    "": True,
    "virus": False,
    "not-spam": False,
    "auth-failure": False,
}
#: delayType -> why it has not arrived yet.
DELAYS: Mapping[str, Category] = {
    "InternalFailure": Category.TRANSIENT,
    "General": Category.TRANSIENT,
    "MailboxFull": Category.MAILBOX_FULL,
    "SpamDetected": Category.SPAM_BLOCK,
    "RecipientServerError": Category.TRANSIENT,
    "IPFailure": Category.SPAM_BLOCK,
    "TransientCommunicationFailure": Category.ROUTING,
    "BYOIPHostNameLookupUnavailable": Category.DNS,
    "Undetermined": Category.TRANSIENT,
    "SendingDeferral": Category.TRANSIENT,
}


def read(message: str) -> Batch:
    """Return what one verified message says; raises `Unreadable` where it is nothing of SES's."""
    event = plain.table(plain.load(message.encode("utf-8", "replace")))
    kind = event.get("eventType", event.get("notificationType"))
    if not isinstance(kind, str):
        # SNS greets with "Successfully validated SNS topic for Amazon SES event publishing." and such.
        raise Unreadable("the message is no event of Amazon SES: it has neither eventType nor notificationType")
    reader = _READERS.get(kind)
    reports = islice(reader(event), MOST_EVENTS) if reader else ()
    told = tuple((report, PROOF) for report in reports)
    return Batch(told, ignored=0 if told else 1)


def _report(event: Json, about: Json, recipient: object, kind: Kind, place: int) -> Report:
    """Return what all reports of an event share; `about` is its own object, `place` the recipient's in its list."""
    mail = plain.table(event, "mail")
    name = str(event.get("eventType", event.get("notificationType")))
    own = plain.identifier(about.get("feedbackId")) or plain.identifier(
        mail.get("messageId"), name, about.get("timestamp", "-")
    )
    return Report(
        kind,
        recipient=plain.address(recipient),
        at=plain.moment(about.get("timestamp")) or plain.moment(mail.get("timestamp")),
        source="ses",
        return_path=plain.address(mail.get("source")),
        message_id=_message_id(mail),
        event_id=plain.identifier(own, place),
        reporter=_reporter(about.get("reportingMTA")),
    )


def _message_id(mail: Json) -> str | None:
    """Return our own Message-ID: SES sends another one, and keeps ours among the headers that it saw."""
    for header in plain.rows(mail.get("headers"))[:200]:
        found = plain.table(header)
        if str(found.get("name", "")).lower() == "message-id":
            return plain.message_id(found.get("value"))
    return plain.message_id(plain.table(mail, "commonHeaders").get("messageId"))


def _reporter(value: object) -> str | None:
    """Return a server's name, which comes as `dns; mx.example.org` from some receivers."""
    return (plain.text(value, 255) or "").rpartition(";")[2].strip() or None


def _bounced(event: Json) -> Iterator[Report]:
    bounce = plain.table(event, "bounce")
    kind, subtype = (plain.text(bounce.get(name), 40) or "-" for name in ("bounceType", "bounceSubType"))
    listed = (kind, subtype) if (kind, subtype) in BOUNCES else (kind, "General")
    for place, each in enumerate(plain.rows(bounce.get("bouncedRecipients"))):
        row = plain.table(each)
        said, status = plain.text(row.get("diagnosticCode")), code_in(plain.text(row.get("status"), 40))
        if listed == ("Transient", "General") and not row.get("action") and not row.get("status"):
            # "You might receive this if the recipient has an automatic response": no DSN came, so nothing bounced.
            continue
        status = status or code_in(said)
        why = BOUNCES.get(listed) or cause(status, said) or _UNCLEAR.get(kind, Cause(Category.UNKNOWN))
        report = _report(event, bounce, row.get("emailAddress"), Kind.BOUNCED, place)._replace(
            category=why.category,
            # Only what SES itself calls permanent can be for ever.
            hard=why.hard and kind == "Permanent",
            status=status,
            diagnostic=said,
            rule=f"ses:{listed[0]}/{listed[1]}",
        )
        yield report
        if subtype == "UnsubscribedRecipient":
            yield report._replace(kind=Kind.UNSUBSCRIBED)


def _complained(event: Json) -> Iterator[Report]:
    complaint = plain.table(event, "complaint")
    feedback = plain.text(complaint.get("complaintFeedbackType"), 40) or ""
    if not COMPLAINTS.get(feedback.lower(), False):
        return
    for place, each in enumerate(plain.rows(complaint.get("complainedRecipients"))):
        report = _report(event, complaint, plain.table(each).get("emailAddress"), Kind.COMPLAINED, place)
        yield report._replace(category=Category.COMPLAINT, rule=f"ses:complaint/{feedback or '-'}")


def _delivered(event: Json) -> Iterator[Report]:
    delivery = plain.table(event, "delivery")
    for place, each in enumerate(plain.rows(delivery.get("recipients"))):
        said = plain.text(delivery.get("smtpResponse"))
        report = _report(event, delivery, each, Kind.DELIVERED, place)
        yield report._replace(diagnostic=said, status=code_in(said), rule="ses:delivery")


def _delayed(event: Json) -> Iterator[Report]:
    delay = plain.table(event, "deliveryDelay")
    kind = plain.text(delay.get("delayType"), 60) or "Undetermined"
    for place, each in enumerate(plain.rows(delay.get("delayedRecipients"))):
        row = plain.table(each)
        said = plain.text(row.get("diagnosticCode"))
        yield _report(event, delay, row.get("emailAddress"), Kind.DEFERRED, place)._replace(
            category=DELAYS.get(kind, Category.TRANSIENT),
            status=code_in(plain.text(row.get("status"), 40), said),
            diagnostic=said,
            rule=f"ses:delay/{kind}",
        )


def _rejected(event: Json) -> Iterator[Report]:
    """SES took the mail, found a virus in it ("Bad content"), and did not send it."""
    reject = plain.table(event, "reject")
    for place, each in enumerate(plain.rows(plain.table(event, "mail").get("destination"))):
        yield _report(event, reject, each, Kind.BOUNCED, place)._replace(
            category=Category.VIRUS, diagnostic=plain.text(reject.get("reason")), rule="ses:reject"
        )


def _left(event: Json) -> Iterator[Report]:
    """A person used the subscription page of SES; whatever they left there counts, what they joined does not."""
    subscription = plain.table(event, "subscription")
    new, old = (plain.table(subscription, f"{age}TopicPreferences") for age in ("new", "old"))
    left = _topics(new) - _topics(old)
    if new.get("unsubscribeAll") is not True and not left:
        return
    for place, each in enumerate(plain.rows(plain.table(event, "mail").get("destination"))):
        report = _report(event, subscription, each, Kind.UNSUBSCRIBED, place)
        yield report._replace(category=Category.UNSUBSCRIBE, rule="ses:subscription")


def _topics(preferences: Json) -> set[str]:
    statuses = [plain.table(each) for each in plain.rows(preferences.get("topicSubscriptionStatus"))]
    return {str(each.get("topicName")) for each in statuses if each.get("subscriptionStatus") == "OptOut"}


#: What says something that we record; `Send`, `Open`, `Click`, `Rendering Failure` and what is unknown do not.
_READERS: Mapping[str, Callable[[Json], Iterator[Report]]] = {
    "Bounce": _bounced,
    "Complaint": _complained,
    "Delivery": _delivered,
    "DeliveryDelay": _delayed,
    "Reject": _rejected,
    "Subscription": _left,
}
