"""What a provider sends us, and what we make of it: the nouns that all of them share."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from mailer.errors import MailerError
from mailer.feedback.inbound.report import Proof, Report


class Unreadable(MailerError, ValueError):
    """The body is not what this provider sends; nothing of it was recorded."""


class Arrival(NamedTuple):
    """One request as it came: nothing in it is believed yet."""

    #: By lower-case name; of several with one name the last.
    headers: Mapping[str, str]
    #: The raw octets: signatures cover these and no re-written JSON.
    body: bytes
    #: What followed the provider's name in the path, where its account takes a secret there.
    secret: str = ""


#: A report and why it is believed, as `hearing.hear` takes them.
Told = tuple[Report, Proof]


class Batch(NamedTuple):
    """What one verified request says."""

    told: tuple[Told, ...] = ()
    #: Events that say nothing which we record: opens, clicks, what is unknown.
    ignored: int = 0
    #: A sentence for each event that cannot be read; the others count none the less.
    flaws: tuple[str, ...] = ()
    #: What may be heard once only, where the signature covers nothing else (Mailgun).
    token: bytes | None = None


#: Verifies a request and reads it. Raises `Unreadable` (400), `Forbidden` (403: the signature is not theirs, or old)
#: or `Unauthorized` (401: the secret is missing or wrong); whatever it raises, nothing is recorded.
Read = Callable[[Arrival, datetime], Batch]

#: More events than any provider puts into one request.
MOST_EVENTS = 5000
