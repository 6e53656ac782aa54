"""What a relay's answer means for an email and for the address: policy as a table (standards section 4)."""

import re
from enum import StrEnum
from typing import NamedTuple

from mailer.delivery.envelope import Envelope
from mailer.delivery.offers import Offers
from mailer.delivery.wire import Answer
from mailer.status import Status


class Stage(StrEnum):
    """Which command was answered."""

    #: MAIL: our sender was judged, nobody else.
    SENDER = "sender"
    #: RCPT.
    ENVELOPE = "envelope"
    DATA = "data"


class Verdict(NamedTuple):
    """What follows from an answer."""

    status: Status
    category: str
    #: The address is the cause and will stay so: no stream may use it again.
    hard: bool = False


class _Row(NamedTuple):
    #: Pattern of the enhanced code (RFC 3463), "" where the text alone decides.
    enhanced: str
    #: Pattern found in the text, "" for any.
    text: str
    verdict: Verdict


_HARD = Verdict(Status.BOUNCED, "invalid_recipient", hard=True)

#: Codes that say no more than "permanent" (X.Y.0 is "other", and 5.5.x is what servers say who have no better one),
#: so that a clear text goes before them (R4.4). Not 5.6.0 and 5.7.0: content and policy are never the address's fault.
_VAGUE = re.compile(r"5\.(0|5)\.\d+|5\.[1-4]\.0")

#: Read downwards; the first row that fits decides a 5xx. 4xx is always tried again: the reply code governs the
#: retry, the enhanced code only the reason (Gmail answers `421 5.7.32`).
_PERMANENT: tuple[_Row, ...] = (
    _Row(r"5\.1\.(1|3|6|10)", "", _HARD),
    _Row(r"5\.1\.2", "", Verdict(Status.BOUNCED, "bad_domain", hard=True)),
    # Gmail uses 5.2.1 both for a disabled mailbox and for one that gets too much mail at once.
    _Row(r"5\.2\.1", r"\brate\b|too (many|quickly|fast)|receiving mail", Verdict(Status.BOUNCED, "transient")),
    _Row(
        r"5\.2\.1",
        r"inactive|disabled|suspended|deactivated",
        Verdict(Status.BOUNCED, "inactive_mailbox", hard=True),
    ),
    _Row(r"5\.2\.1", "", Verdict(Status.BOUNCED, "inactive_mailbox")),
    _Row(r"5\.2\.2", "", Verdict(Status.BOUNCED, "mailbox_full")),
    _Row(r"5\.1\.[78]", "", Verdict(Status.FAILED, "sender_invalid")),
    _Row(r"5\.7\.\d+", "", Verdict(Status.FAILED, "policy")),
    _Row(r"5\.(3\.4|2\.3)", "", Verdict(Status.FAILED, "too_large")),
    _Row(r"5\.6\.\d+", "", Verdict(Status.FAILED, "content")),
    _Row(r"5\.5\.\d+", "", Verdict(Status.FAILED, "protocol")),
    _Row(r"5\.4\.\d+", "", Verdict(Status.BOUNCED, "routing")),
    _Row("", r"spam|blocked|blacklist|blocklist|listed|reputation|dmarc|policy", Verdict(Status.FAILED, "spam_block")),
    _Row("", r"relay(ing)? (access )?(denied|not permitted)", Verdict(Status.FAILED, "relay_denied")),
    _Row("", r"mailbox (is )?full|over quota|quota exceeded", Verdict(Status.BOUNCED, "mailbox_full")),
    # Servers that judge our side at RCPT speak of unknown addresses too: of our sender's and our machine's.
    _Row("", r"\bsender\b|\bmail from\b|return.path", Verdict(Status.FAILED, "sender_invalid")),
    _Row("", r"\b(ip|ptr|r?dns|helo|ehlo|host ?name|client)\b|reverse", Verdict(Status.FAILED, "policy")),
    _Row(
        "",
        r"(user|recipient|mailbox|address|account)\b.{0,40}(unknown|not found|does not exist|doesn't exist|no longer)"
        r"|no such (user|recipient|mailbox|address)|unknown (user|recipient)",
        _HARD,
    ),
    _Row("", r"message (is )?too (large|big)|exceeds.{0,30}size", Verdict(Status.FAILED, "too_large")),
)
_BY_CODE = {
    530: Verdict(Status.DEFERRED, "auth"),
    535: Verdict(Status.DEFERRED, "auth"),
    556: Verdict(Status.BOUNCED, "bad_domain", hard=True),
}
#: Four numbers are an IP address (`198.5.1.1 is listed`), which convicts nobody.
_ENHANCED = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?!\d|\.\d)")


_ADDRESS = re.compile(r"<[^<>]*@[^<>]*>|[^\s<>()\"]+@[^\s<>()\"']+")


def enhanced_code(answer: Answer) -> str:
    """Return the enhanced status code of an answer, empty where it has none."""
    found = _ENHANCED.search(answer.text)
    return found[1] if found else ""


def decide(answer: Answer, stage: Stage) -> Verdict:
    """Return what an answer to MAIL, RCPT or the final dot means."""
    if answer.positive:
        return Verdict(Status.SENT, "")
    enhanced = enhanced_code(answer)
    if answer.code < 500 or (answer.code in (452, 552) and "too many recipients" in answer.text.lower()):
        return Verdict(Status.DEFERRED, "mailbox_full" if enhanced.endswith(".2.2") else "transient")
    if answer.code in _BY_CODE:
        return _BY_CODE[answer.code]
    # An echoed address may hold any word.
    text = _ADDRESS.sub("<>", answer.text.lower())
    exact = None if _VAGUE.fullmatch(enhanced) else _by_code(enhanced, text)
    verdict = exact or _by_text(text) or _by_code(enhanced, text)
    if stage is Stage.SENDER:
        # "Sender address rejected: unknown" is about our From, and would else suppress a whole campaign's recipients.
        return verdict if verdict and verdict.status is Status.FAILED else Verdict(Status.FAILED, "sender_invalid")
    if verdict:
        # A relay that names the address after it has taken the whole mail may mean anything: only RCPT convicts.
        return verdict if stage is Stage.ENVELOPE or exact else verdict._replace(hard=False)
    return Verdict(Status.BOUNCED, "unknown")


def _by_code(enhanced: str, text: str) -> Verdict | None:
    for row in _PERMANENT:
        if row.enhanced and re.fullmatch(row.enhanced, enhanced) and re.search(row.text, text):
            return row.verdict
    return None


def _by_text(text: str) -> Verdict | None:
    return next((row.verdict for row in _PERMANENT if not row.enhanced and re.search(row.text, text)), None)


class Unfit(NamedTuple):
    """Why a mail is not even offered to a relay."""

    verdict: Verdict
    #: As it may be stored: a sentence without an address.
    told: str


def unfit(envelope: Envelope, offers: Offers) -> Unfit | None:
    """Return why a relay that offers this cannot take the mail, None where it can; another relay may offer more."""
    if offers.size_limit is not None and envelope.size > offers.size_limit:
        sentence = f"the mail has {envelope.size} octets, and the relay takes {offers.size_limit} at most"
        return Unfit(Verdict(Status.FAILED, "too_large"), sentence)
    if envelope.smtputf8 and "smtputf8" not in offers.extensions:
        # RFC 6531 section 3.2: must not be sent; the relay is the cause, not the address.
        return Unfit(Verdict(Status.FAILED, "protocol"), "the relay does not offer SMTPUTF8")
    return None


def told(answer: Answer) -> str:
    """Return the answer as it may be stored: without the addresses that servers like to echo."""
    said = f"{answer.code} {answer.text}"
    return (_ADDRESS.sub("<address>", said) if "@" in said else said)[:500]
