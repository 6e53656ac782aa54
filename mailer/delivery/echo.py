"""Our id in a header that a provider echoes in its events, where those name the mail by an id of its own alone.

SendGrid's complaints and unsubscribes, and all that Postmark tells, carry no Message-ID of ours. Both take these
headers away before the mail leaves them. They stand before what is signed, so that a signature stays good.
"""

from collections.abc import Mapping

from mailer.feedback.inbound.providers import postmark, sendgrid

#: Provider -> the header's name in lower case, as octets, and the line.
_LINES: Mapping[str, tuple[bytes, str]] = {
    "sendgrid": (b"x-smtpapi:", 'X-SMTPAPI: {{"unique_args": {{"' + sendgrid.ECHO + '": "{id}"}}}}\r\n'),
    "postmark": (b"x-pm-metadata-" + postmark.ECHO.encode() + b":", f"X-PM-Metadata-{postmark.ECHO}: {{id}}\r\n"),
}
#: The providers for which a mail gets such a header.
ECHOING = frozenset(_LINES)


def echoed(data: bytes, email_id: str, provider: str) -> bytes:
    """Return a mail as it goes to a relay of this provider; one that says such a thing itself stays as it is."""
    name, line = _LINES[provider]
    return data if _named(data, name) else line.format(id=email_id).encode() + data


def _named(data: bytes, name: bytes) -> bool:
    """Return whether a mail has a header of this name."""
    head = data[: data.find(b"\r\n\r\n") + 2].lower()
    return head.startswith(name) or b"\r\n" + name in head
