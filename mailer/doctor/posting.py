"""Unsubscribing as mail programs do it: over HTTP without following anything, and by mail."""

import http.client
import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import NamedTuple
from urllib.parse import urlsplit

_PATIENCE = 15.0
_FORM = "application/x-www-form-urlencoded"
_WORD = b"List-Unsubscribe=One-Click"
_BOUNDARY = "---FormBoundaryjWmhtjORrn"
# RFC 8058 section 8.3.
_PARTS = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--{_BOUNDARY}--\r\n'
).encode()
#: Answers that are read; of a longer page no more.
_MOST_READ = 64 * 1024


class Client(NamedTuple):
    """One way in which programs post: what they send, and under which name."""

    name: str
    body: bytes
    headers: Mapping[str, str]
    #: What somebody put behind the address.
    suffix: str = ""


CLIENTS: tuple[Client, ...] = (
    Client("as Gmail does (a form of 26 bytes)", _WORD, {"Content-Type": _FORM, "User-Agent": "Google"}),
    Client(
        "as Yahoo does (multipart)",
        _PARTS,
        {"Content-Type": f"multipart/form-data; boundary={_BOUNDARY}", "User-Agent": "YahooMailProxy"},
    ),
    Client("without a body", b"", {"User-Agent": "Thunderbird"}),
    Client("as text, from a Java program", _WORD, {"Content-Type": "text/plain", "User-Agent": "Java/1.8.0_392"}),
    Client("with a broken body and no name", b"\xff\x00{", {"Content-Type": "application/json"}),
    Client("with a tracking suffix", _WORD, {"Content-Type": _FORM}, "?utm_source=newsletter"),
)


class Answered(NamedTuple):
    """What came back: a status, or why none did."""

    status: int | None
    #: Where it sends the client on, which none follows.
    location: str | None
    trouble: str | None = None

    @property
    def good(self) -> bool:
        """Return whether a mail program takes this for done."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def words(self) -> str:
        """Return what came back, for a reader."""
        if self.status is None:
            return f"no answer ({self.trouble})"
        return f"the answer {self.status}" + (f" that leads on to {self.location}" if self.location else "")


def ask(url: str, client: Client | None) -> Answered:
    """Post as a client does, or open the page where there is none; certificates are verified, nothing is followed."""
    parts = urlsplit(url)
    try:
        connection = _connection(parts.scheme, parts.hostname or "", parts.port)
        try:
            target = (parts.path or "/") + (client.suffix if client else "")
            connection.request(
                "POST" if client else "GET",
                target,
                client.body if client else None,
                dict(client.headers if client else {}),
            )
            answer = connection.getresponse()
            answer.read(_MOST_READ)
            return Answered(answer.status, answer.getheader("Location"))
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Answered(None, None, " ".join(str(why).split()))


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port, timeout=_PATIENCE)


def write_to(mailto: str, listener: tuple[str, int], *, lmtp: bool) -> Answered:
    """Send the mail that Apple Mail sends: an empty subject and some words, to the address alone (R1.13)."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "doctor@localhost.localdomain", mailto.removeprefix("mailto:"), ""
    mail.set_content("Apple Mail sent this email to unsubscribe from the message.\n")
    try:
        protocol = smtplib.LMTP if lmtp else smtplib.SMTP
        with protocol(*listener, timeout=_PATIENCE) as connection:
            connection.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        code, said = next(iter(error.recipients.values()))
        return Answered(code, None, said.decode("utf-8", "replace"))
    except (OSError, smtplib.SMTPException) as error:
        return Answered(None, None, " ".join(str(error).split()))
    return Answered(250, None)
