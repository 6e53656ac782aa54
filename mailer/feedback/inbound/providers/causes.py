"""Why a receiver refused, from what a provider passes on of its answer: policy as a table (standards section 4)."""

import re
from typing import NamedTuple

from mailer.feedback.inbound.report import Category


class Cause(NamedTuple):
    """Why, and whether the address itself is the cause and will stay so."""

    category: Category
    hard: bool = False


class _Row(NamedTuple):
    #: Pattern of the enhanced code (RFC 3463), "" where the text alone decides.
    code: str
    #: Pattern found in the text, "" for any.
    text: str
    cause: Cause


_UNKNOWN_USER = Cause(Category.INVALID_RECIPIENT, hard=True)
_BLOCKED = r"spam|block|blacklist|\blisted|reputation|dmarc|polic(y|ies)"

#: Read downwards; the first row that fits.
_ROWS: tuple[_Row, ...] = (
    _Row("", r"gr[ea]y.?list", Cause(Category.TRANSIENT)),
    # A receiver that calls its block "5.1.1" means the sender (R5.6): the address is not convicted.
    _Row(r"5\.1\.\d+", r"spamhaus|blacklist|blocklist|block list|reputation", Cause(Category.SPAM_BLOCK)),
    _Row(r"5\.1\.(1|3|6|10)", "", _UNKNOWN_USER),
    _Row(r"5\.1\.2", "", Cause(Category.BAD_DOMAIN, hard=True)),
    _Row(r"[45]\.1\.[78]", "", Cause(Category.SENDER_INVALID)),
    _Row(r"5\.2\.1", r"\brate\b|too (many|quickly|fast)|receiving mail", Cause(Category.TRANSIENT)),
    _Row(r"5\.2\.1", r"inactive|disabled|suspended|deactivated", Cause(Category.INACTIVE_MAILBOX, hard=True)),
    _Row(r"5\.2\.1", "", Cause(Category.INACTIVE_MAILBOX)),
    _Row(r"[45]\.2\.2", "", Cause(Category.MAILBOX_FULL)),
    _Row(r"[45]\.(3\.4|2\.3)", "", Cause(Category.TOO_LARGE)),
    _Row(r"[45]\.7\.(2[0-9]|30|40|515)", "", Cause(Category.AUTH)),
    _Row(r"[45]\.7\.\d+", _BLOCKED, Cause(Category.SPAM_BLOCK)),
    _Row(r"[45]\.7\.\d+", "", Cause(Category.POLICY)),
    _Row(r"[45]\.6\.\d+", "", Cause(Category.CONTENT)),
    _Row(r"[45]\.4\.7", "", Cause(Category.EXPIRED)),
    _Row(r"[45]\.4\.[34]", "", Cause(Category.DNS)),
    _Row(r"[45]\.4\.[1-9]\d*", "", Cause(Category.ROUTING)),
    _Row("", _BLOCKED, Cause(Category.SPAM_BLOCK)),
    _Row("", r"relay(ing)? (access )?(denied|not permitted)", Cause(Category.RELAY_DENIED)),
    _Row("", r"mailbox (is )?full|over ?quota|quota exceeded", Cause(Category.MAILBOX_FULL)),
    _Row("", r"\bsender\b|\bmail from\b|return.path", Cause(Category.SENDER_INVALID)),
    _Row("", r"message (is )?too (large|big)|exceeds.{0,30}size", Cause(Category.TOO_LARGE)),
    _Row(r"4\.\d+\.\d+", "", Cause(Category.TRANSIENT)),
    _Row(
        "",
        r"(user|recipient|mailbox|address|account)\b.{0,40}(unknown|not found|does not exist|doesn't exist|no longer)"
        r"|no such (user|recipient|mailbox|address)|unknown (user|recipient)",
        _UNKNOWN_USER,
    ),
    _Row(r"5\.5\.\d+", "", Cause(Category.PROTOCOL)),
)
#: Four numbers are an IP address, which convicts nobody.
_CODE = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)")
_ADDRESS = re.compile(r"<[^<>]*@[^<>]*>|[^\s<>()\"]+@[^\s<>()\"']+")


def code_in(*texts: str | None) -> str | None:
    """Return the first enhanced status code (RFC 3463) of some texts, None where there is none."""
    return next((found[1] for text in texts if text and (found := _CODE.search(text))), None)


def cause(status: str | None, said: str | None) -> Cause | None:
    """Return what an enhanced code and the receiver's words mean together, None where they say nothing."""
    # An echoed address may hold any word.
    words = _ADDRESS.sub("<>", (said or "").lower())
    code = status or ""
    return next(
        (
            row.cause
            for row in _ROWS
            if (not row.code or re.fullmatch(row.code, code)) and (not row.text or re.search(row.text, words))
        ),
        None,
    )
