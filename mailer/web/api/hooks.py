"""Where providers call us: the table of addresses, which the routes and the OpenAPI document are made of."""

from dataclasses import dataclass
from http import HTTPStatus

_KB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One address that a provider calls; its signature, not a key of ours, says who it is."""

    provider: str
    path: str
    #: What must be set for it.
    setting: str
    #: Octets of the largest body: more than the provider sends, and little enough to be read before it is believed.
    most: int
    #: What it takes, in one sentence.
    summary: str


HOOKS: tuple[Hook, ...] = (
    Hook(
        provider="ses",
        path="/v1/inbound/ses",
        setting="MAILER_SES_TOPICS",
        # SNS: 256 KB, of which each character may be escaped.
        most=1024 * _KB,
        summary="Take events of Amazon SES, which come as signed messages of Amazon SNS.",
    ),
    Hook(
        provider="sendgrid",
        path="/v1/inbound/sendgrid",
        setting="MAILER_SENDGRID_PUBLIC_KEY",
        most=4096 * _KB,
        summary="Take events of Twilio SendGrid's Signed Event Webhook.",
    ),
    Hook(
        provider="mailgun",
        path="/v1/inbound/mailgun",
        setting="MAILER_MAILGUN_SIGNING_KEY",
        most=512 * _KB,
        summary="Take an event of Mailgun's webhooks.",
    ),
    Hook(
        provider="postmark",
        path="/v1/inbound/postmark",
        setting="MAILER_POSTMARK_SECRET",
        # A bounce may hold the whole mail.
        most=4096 * _KB,
        summary="Take an event of Postmark, which signs in with the secret as its password.",
    ),
    Hook(
        provider="postmark",
        path="/v1/inbound/postmark/{secret}",
        setting="MAILER_POSTMARK_SECRET",
        most=4096 * _KB,
        summary="Take an event of Postmark, which knows the secret of this address.",
    ),
    Hook(
        provider="generic",
        path="/v1/inbound/generic",
        setting="MAILER_INBOUND_SECRET",
        most=1024 * _KB,
        summary="Take events of any other provider, told by a program that signs as Standard Webhooks say.",
    ),
)
#: Errors that each of them may answer, beside those of every endpoint.
ERRORS = {
    HTTPStatus.BAD_REQUEST: "The body is not what this provider sends.",
    HTTPStatus.UNAUTHORIZED: "The secret is missing or wrong.",
    HTTPStatus.FORBIDDEN: "The signature is not the provider's, or it is too old; nothing was recorded.",
    HTTPStatus.NOT_FOUND: "This provider is not set up here.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than any that this provider sends.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The database, or a certificate, cannot be reached; send it again.",
    HTTPStatus.INSUFFICIENT_STORAGE: "The disk of the database is full; nothing was done.",
}
