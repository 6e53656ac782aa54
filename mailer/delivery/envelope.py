"""What MAIL and RCPT say, and how reports are asked for where the relay offers DSN (RFC 3461)."""

import re
from typing import NamedTuple

# RFC 3461 section 4: of printable ASCII, "+" and "=" are written in hexadecimal.
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")
# RFC 6533 section 3: the form that every server can carry, where a backslash begins a code point.
_NOT_PLAIN = re.compile(r"[^!-*,-<>-\[\]-~]")


class Envelope(NamedTuple):
    """What MAIL and RCPT say."""

    sender: str
    recipient: str
    size: int
    smtputf8: bool
    #: ENVID, ASCII, which reports about the mail repeat; empty: nothing is said about reports.
    envelope_id: str = ""


def reports_asked(envelope: Envelope, *, successes: bool) -> tuple[str, str]:
    """Return what MAIL and RCPT say besides, so that failures and delays are reported, and without the whole mail.

    `successes`: of mail that arrives too, which costs a mail for each.
    """
    when = "SUCCESS,FAILURE,DELAY" if successes else "FAILURE,DELAY"
    return (
        f" RET=HDRS ENVID={_xtext(envelope.envelope_id)}",
        f" NOTIFY={when} ORCPT={original_recipient(envelope.recipient)}",
    )


def original_recipient(address: str) -> str:
    """Return an address as ORCPT says it: `rfc822;…`, or `utf-8;…` (RFC 6533 section 3)."""
    if address.isascii():
        return f"rfc822;{_xtext(address)}"
    return "utf-8;" + _NOT_PLAIN.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", address)


def _xtext(text: str) -> str:
    return _NOT_XTEXT.sub(lambda found: f"+{ord(found[0]):02X}", text)
