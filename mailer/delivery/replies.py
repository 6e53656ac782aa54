"""What a relay's answer means for an email; why it refuses is told by `causes` (standards section 4)."""

from enum import StrEnum
from typing import NamedTuple

from mailer.causes import Category, Command, Said, enhanced_of, judge, without_addresses
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


#: Whose fault a refusal is: the status says `failed` where it is ours, the relay's view of us, or the content's.
_OURS = frozenset(
    {
        *(Category.SENDER_INVALID, Category.POLICY, Category.SPAM_BLOCK, Category.RELAY_DENIED),
        *(Category.CONTENT, Category.TOO_LARGE, Category.VIRUS, Category.PROTOCOL),
    }
)
_COMMANDS = {Stage.SENDER: Command.SENDER, Stage.ENVELOPE: Command.RECIPIENT, Stage.DATA: Command.CONTENT}


def enhanced_code(answer: Answer) -> str:
    """Return the enhanced status code of an answer, empty where it has none."""
    return enhanced_of(answer.text)


def decide(answer: Answer, stage: Stage) -> Verdict:
    """Return what an answer to MAIL, RCPT or the final dot means."""
    if answer.positive:
        return Verdict(Status.SENT, "")
    enhanced = enhanced_code(answer)
    # 4xx is tried again whatever else it says: the reply code governs the retry, the enhanced code only the reason
    # (R4.4; Gmail answers `421 5.7.32`).
    if answer.code < 500 or (answer.code in (452, 552) and "too many recipients" in answer.text.lower()):
        return Verdict(Status.DEFERRED, "mailbox_full" if enhanced.endswith(".2.2") else "transient")
    cause = judge(Said(answer.text, answer.code, enhanced, _COMMANDS[stage]))
    if cause.category is Category.AUTH and answer.code in (530, 535):
        return Verdict(Status.DEFERRED, cause.category)
    if cause.category in _OURS:
        return Verdict(Status.FAILED, cause.category)
    # Whatever is said to MAIL is said of us.
    return (
        Verdict(Status.FAILED, Category.SENDER_INVALID)
        if stage is Stage.SENDER
        else Verdict(Status.BOUNCED, cause.category, cause.hard)
    )


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
    return without_addresses(f"{answer.code} {answer.text}", "<address>")[:500]
