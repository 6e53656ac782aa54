"""Events as the providers' documents print them, shortened, about mail of ours."""

from tests.providers.signing import Json

EMAIL = "em_01h2xcejqtf2nbrexx3vqjhp41"
MESSAGE_ID = f"{EMAIL}@news.example"
ANN = "ann@example.org"
AT = "2026-05-04T11:58:00.250Z"
SECONDS = 1777895880


def ses_mail(*to: str, **more: object) -> Json:
    """Return the `mail` object of an event of SES."""
    return {
        "timestamp": "2026-05-04T11:57:00.000Z",
        "source": "Ringwise <b+token@bounce.example>",
        "sourceArn": "arn:aws:ses:eu-west-1:123456789012:identity/news.example",
        "messageId": "0102018f-7c191be45",
        "destination": list(to or (ANN,)),
        "headersTruncated": False,
        "headers": [
            {"name": "From", "value": "Ringwise <news@news.example>"},
            {"name": "Message-ID", "value": f"<{MESSAGE_ID}>"},
        ],
        "commonHeaders": {"messageId": "0102018f-7c191be45", "subject": "News"},
        **more,
    }


def ses_bounce(kind: str, subtype: str, *recipients: Json, name: str = "eventType") -> Json:
    """Return a bounce of SES."""
    row: Json = {
        "emailAddress": ANN,
        "action": "failed",
        "status": "5.1.1",
        "diagnosticCode": "smtp; 550 5.1.1 unknown",
    }
    about = {
        "bounceType": kind,
        "bounceSubType": subtype,
        "bouncedRecipients": list(recipients) or [row],
        "timestamp": AT,
        "feedbackId": "0102018f-feedback",
        "reportingMTA": "dns; mx.example.org",
    }
    return {name: "Bounce", "bounce": about, "mail": ses_mail()}


def ses(kind: str, **about: object) -> Json:
    """Return another published event of SES; its object is named like the kind."""
    name = kind[:1].lower() + kind[1:]
    return {"eventType": kind, name: {"timestamp": AT, **about}, "mail": ses_mail()}


def sendgrid(event: str, **more: object) -> Json:
    """Return an event of SendGrid."""
    return {
        "email": ANN,
        "timestamp": SECONDS,
        "smtp-id": f"<{MESSAGE_ID}>",
        "event": event,
        "category": ["news"],
        "sg_event_id": "c2dfZXZlbnQ",
        "sg_message_id": "14c5d75ce93.dfd.64b469.filter0001.16648.5515E0B88.0",
        **more,
    }


def mailgun(event: str, **more: object) -> Json:
    """Return the `event-data` of Mailgun."""
    return {
        "event": event,
        "id": "hTWCTD81RtiDN-abc",
        "timestamp": SECONDS + 0.25,
        "log-level": "info",
        "recipient": ANN,
        "envelope": {"sender": "b+token@bounce.example", "transport": "smtp", "targets": ANN},
        "message": {"headers": {"message-id": MESSAGE_ID, "from": "news@news.example", "to": ANN}, "size": 809},
        **more,
    }


def mailgun_failed(severity: str, reason: str, said: str = "", **status: object) -> Json:
    """Return a failure of Mailgun's."""
    delivery = {"mx-host": "mx.example.org", "attempt-no": 1, "message": said, "description": "", **status}
    return mailgun("failed", severity=severity, reason=reason, **{"delivery-status": delivery})


def postmark(kind: str = "HardBounce", **more: object) -> Json:
    """Return a bounce of Postmark."""
    return {
        "RecordType": "Bounce",
        "ID": 692560173,
        "Type": kind,
        "TypeCode": 1,
        "Name": "Hard bounce",
        "Metadata": {"mailer-email-id": EMAIL},
        "MessageID": "2c1b63fe-43f2-4db5-91b0-8bdfa44a9316",
        "Details": "",
        "Email": ANN,
        "From": "news@news.example",
        "BouncedAt": "2026-05-04T11:58:00.2500000Z",
        "Inactive": True,
        "CanActivate": True,
        **more,
    }


def postmark_other(record: str, **more: object) -> Json:
    """Return another event of Postmark."""
    return {
        "RecordType": record,
        "MessageID": "2c1b63fe-43f2-4db5-91b0-8bdfa44a9316",
        "Recipient": ANN,
        "Metadata": {"mailer-email-id": EMAIL},
        **more,
    }
