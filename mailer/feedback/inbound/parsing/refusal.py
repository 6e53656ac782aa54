"""From what a server said, as a report quotes it, to why: which command it was, which codes, which words."""

import re

from mailer.causes import Category, Cause, Command, Said, code_of, enhanced_of, judge
from mailer.feedback.inbound.parsing.phrases import phrase

_SESSION = re.compile(
    r"^\W{0,8}(MAIL|RCPT|DATA)\b[^\n]{0,400}\n(?:\W{0,8}[23]\d\d[^\n]{0,400}\n){0,5}(Received )?\W{0,8}[45]\d\d",
    re.IGNORECASE | re.MULTILINE,
)
#: What we said in a session, and what was granted: no reason for anything.
_GRANTED = re.compile(r"^\W{0,8}(EHLO|HELO|MAIL FROM:|QUIT|[23]\d\d[ -])[^\n]{0,500}$", re.IGNORECASE | re.MULTILINE)
#: Which command was refused, in the words of those who report it; the first that is found decides.
_COMMANDS = (
    (Command.SENDER, phrase("at-sender")),
    (Command.RECIPIENT, phrase("at-recipient")),
    (Command.CONTENT, phrase("at-content")),
)
_OF_THE_ADDRESS = {Category.INVALID_RECIPIENT, Category.BAD_DOMAIN, Category.INACTIVE_MAILBOX, Category.UNKNOWN}
_VERBS = {"mail": Command.SENDER, "rcpt": Command.RECIPIENT, "data": Command.CONTENT}
_VAGUE = re.compile(r"[245]\.\d{1,3}\.0|[45]\.(5|4)\.\d+|[45]\.0\.\d+|")
_CODED = re.compile(r"(?<![\d.])[45]\d\d[ \-]#?([45]\.\d{1,3}\.\d{1,3})(?![\d.]*\.\d)")


def command_of(text: str) -> Command | None:
    """Return which command was refused, None where the text does not say."""
    for command, pattern in _COMMANDS:
        if pattern.search(text):
            return command
    found = _SESSION.search(text)
    return _VERBS.get(found[1].lower()) if found else None


def why(text: str, *, status: str = "", near: str = "", provider: str = "") -> tuple[Cause, Said]:
    """Return why, and what it was told from: `text` by the receiver, `status` by who reports, `near` around both."""
    command = command_of(text) or command_of(near)
    text = _GRANTED.sub("", text)
    told = Said(text, code_of(text), _enhanced(text, status), command, provider)
    cause = judge(told)
    if told.code and told.enhanced == status and not enhanced_of(text):
        # The code is the reporter's own, for a receiver that gave none: `550 Sender verify failed` becomes 5.1.1.
        by_words = judge(told._replace(enhanced=""))
        if by_words.category not in _OF_THE_ADDRESS:
            return by_words, told
    return cause, told


def given_up(cause: Cause, said: Said) -> Cause:
    """Return why a mail was given up that met nothing but temporary refusals (RFC 3464 section 2.3.3)."""
    temporary = said.enhanced.startswith("4") or 400 <= said.code < 500
    vague = cause.category in {Category.UNKNOWN, Category.PROTOCOL, Category.ROUTING}
    return Cause(Category.EXPIRED, rule="given-up") if temporary and vague else cause


def _enhanced(text: str, status: str) -> str:
    """Return the more telling code: the receiver's own, unless it says less than the reporter's."""
    coded = _CODED.search(text)
    own = coded[1] if coded else enhanced_of(text)
    if own and not (_VAGUE.fullmatch(own) and not _VAGUE.fullmatch(status)):
        return own
    # A reporter's code for a receiver that gave none says nothing of what the receiver meant: 5.5.0, 5.3.0 ...
    return "" if code_of(text) and _VAGUE.fullmatch(status) and not status.startswith("4") else status
