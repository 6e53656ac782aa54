"""What a relay's answer means: the table of standards section 4, row by row."""

import pytest

from mailer.delivery import replies
from mailer.delivery.envelope import Envelope
from mailer.delivery.offers import Offers
from mailer.delivery.replies import Stage, decide, enhanced_code, told
from mailer.delivery.wire import Answer
from mailer.status import Status

SENT, DEFERRED, BOUNCED, FAILED = Status.SENT, Status.DEFERRED, Status.BOUNCED, Status.FAILED

#: Answer -> status, category, hard.
TABLE = [
    ("250 2.0.0 ok", SENT, "", False),
    # 4xx is tried again, whatever else it says.
    ("421 4.7.28 too much unsolicited mail", DEFERRED, "transient", False),
    ("421 5.7.32 our policy", DEFERRED, "transient", False),
    ("450 4.2.1 the user receives mail too quickly", DEFERRED, "transient", False),
    ("451 4.7.1 greylisted, come again in 5 minutes", DEFERRED, "transient", False),
    ("451 4.4.1 no answer from host", DEFERRED, "transient", False),
    ("452 4.2.2 mailbox full", DEFERRED, "mailbox_full", False),
    ("450 5.1.1 user unknown", DEFERRED, "transient", False),
    ("452 too many recipients", DEFERRED, "transient", False),
    ("552 too many recipients", DEFERRED, "transient", False),
    # The address is the cause and will stay so.
    ("550 5.1.1 no such user", BOUNCED, "invalid_recipient", True),
    ("550 5.1.1 The account that you tried to reach does not exist.\n5.1.1 Try", BOUNCED, "invalid_recipient", True),
    ("550 5.1.2 bad destination host", BOUNCED, "bad_domain", True),
    ("553 5.1.3 bad syntax", BOUNCED, "invalid_recipient", True),
    ("550 5.1.6 mailbox has moved", BOUNCED, "invalid_recipient", True),
    ("550 5.1.10 RESOLVER.ADR.RecipientNotFound", BOUNCED, "invalid_recipient", True),
    ("556 5.1.10 null MX", BOUNCED, "bad_domain", True),
    ("556 the domain takes no mail", BOUNCED, "bad_domain", True),
    ("550 User unknown", BOUNCED, "invalid_recipient", True),
    ("550 No such user here", BOUNCED, "invalid_recipient", True),
    ("550 unknown recipient", BOUNCED, "invalid_recipient", True),
    ("551 mailbox does not exist", BOUNCED, "invalid_recipient", True),
    # 5.2.1: the text decides.
    ("550 5.2.1 The email account that you tried to reach is disabled", BOUNCED, "inactive_mailbox", True),
    ("550 5.2.1 account inactive", BOUNCED, "inactive_mailbox", True),
    ("550 5.2.1 disabled at corporate.example", BOUNCED, "inactive_mailbox", True),
    ("550 5.2.1 The user you are trying to contact is receiving mail at a rate", BOUNCED, "transient", False),
    ("550 5.2.1 no mail here", BOUNCED, "inactive_mailbox", False),
    # Full, not gone.
    ("552 5.2.2 mailbox full", BOUNCED, "mailbox_full", False),
    ("552 mailbox is full", BOUNCED, "mailbox_full", False),
    ("552 user over quota", BOUNCED, "mailbox_full", False),
    # Policy: the message fails, the address is not to blame.
    ("550 5.7.1 refused by policy, user unknown to our lists", FAILED, "policy", False),
    ("550 5.7.26 unauthenticated mail", FAILED, "policy", False),
    ("550 5.7.27 SPF", FAILED, "policy", False),
    ("550 5.7.30 DKIM", FAILED, "policy", False),
    ("550 5.7.40 DMARC", FAILED, "policy", False),
    ("550 5.7.515 access denied, sending domain does not pass", FAILED, "policy", False),
    ("554 your address is on a blocklist", FAILED, "spam_block", False),
    ("554 message looks like spam", FAILED, "spam_block", False),
    ("550 DMARC check failed", FAILED, "spam_block", False),
    ("554 relay access denied", FAILED, "relay_denied", False),
    # Our own bugs.
    ("552 5.3.4 message too big", FAILED, "too_large", False),
    ("550 5.2.3 message too long for this mailbox", FAILED, "too_large", False),
    ("552 message size exceeds fixed maximum message size", FAILED, "too_large", False),
    ("550 5.6.0 lone CR or LF", FAILED, "content", False),
    ("501 5.5.2 syntax", FAILED, "protocol", False),
    ("503 5.5.1 bad sequence", FAILED, "protocol", False),
    ("550 5.1.7 bad sender", FAILED, "sender_invalid", False),
    ("550 5.1.8 sender domain not found", FAILED, "sender_invalid", False),
    # Our account with the relay.
    ("530 5.7.0 authentication required", DEFERRED, "auth", False),
    ("535 5.7.8 bad credentials", DEFERRED, "auth", False),
    # A vague code does not hide a clear text, and makes no vague text clear.
    ("550 5.0.0 User unknown", BOUNCED, "invalid_recipient", True),
    ("550 5.0.0 <spam@example.org>... User unknown", BOUNCED, "invalid_recipient", True),
    ("553 5.3.0 <ann@example.org>... User unknown", BOUNCED, "invalid_recipient", True),
    ("550 5.5.1 No such user here", BOUNCED, "invalid_recipient", True),
    ("550 5.1.0 Address unknown", BOUNCED, "invalid_recipient", True),
    ("550 5.2.0 mailbox does not exist", BOUNCED, "invalid_recipient", True),
    ("550 5.9.9 unknown recipient", BOUNCED, "invalid_recipient", True),
    ("552 5.0.0 mailbox full", BOUNCED, "mailbox_full", False),
    ("554 5.0.0 message looks like spam", FAILED, "spam_block", False),
    ("552 5.5.0 message too large", FAILED, "too_large", False),
    ("550 5.5.0 Requested action not taken: mailbox unavailable", FAILED, "protocol", False),
    ("550 5.0.0 rejected", BOUNCED, "unknown", False),
    ("550 5.7.0 user unknown", FAILED, "policy", False),
    ("550 5.6.0 user unknown", FAILED, "content", False),
    # Our side is unknown, not the recipient.
    ("550 5.0.0 Sender address does not exist", FAILED, "sender_invalid", False),
    ("550 Sender verify failed: no such user", FAILED, "sender_invalid", False),
    ("550 5.0.0 your IP address has an unknown name", FAILED, "policy", False),
    ("550 5.5.0 Client host rejected: address not found", FAILED, "policy", False),
    # What nobody listed: the class decides, and the address is not convicted.
    ("550 5.4.4 no route", BOUNCED, "routing", False),
    ("550 5.9.9 something new", BOUNCED, "unknown", False),
    ("550", BOUNCED, "unknown", False),
]  # fmt: skip


def answer(text: str) -> Answer:
    return Answer(int(text[:3]), text[4:])


@pytest.mark.parametrize(("text", "status", "category", "hard"), TABLE)
def test_an_answer_to_rcpt(text: str, status: Status, category: str, hard: bool) -> None:
    assert decide(answer(text), Stage.ENVELOPE) == (status, category, hard)


@pytest.mark.parametrize(("text", "status", "category", "hard"), TABLE)
def test_after_the_mail_only_an_enhanced_code_convicts_the_address(
    text: str, status: Status, category: str, hard: bool
) -> None:
    vague = enhanced_code(answer(text)) in {"", "5.0.0", "5.1.0", "5.2.0", "5.3.0", "5.5.1", "5.9.9"}
    convicted = hard and (not vague or text.startswith("556"))
    assert decide(answer(text), Stage.DATA) == (status, category, convicted)


@pytest.mark.parametrize(
    "text",
    [
        "550 5.0.0 user unknown",
        "550 <us@x.example>: Sender address rejected: Domain not found",
        "550 Sender address does not exist",
        "550 5.1.1 unknown sender",
        "553 5.1.2 bad sender domain",
        "550 unknown user us@x.example",
        "550 5.4.0 something",
        "550 no",
    ],
)
def test_whoever_refuses_our_sender_does_not_convict_the_recipient(text: str) -> None:
    assert decide(answer(text), Stage.SENDER) == (FAILED, "sender_invalid", False)


def test_what_is_too_big_is_too_big_already_at_mail() -> None:
    assert decide(answer("552 5.3.4 too big"), Stage.SENDER) == (FAILED, "too_large", False)
    assert decide(answer("451 4.3.0 later"), Stage.SENDER).status is DEFERRED
    assert decide(answer("530 5.7.0 sign in first"), Stage.SENDER) == (DEFERRED, "auth", False)


def test_what_a_relay_cannot_take_is_not_offered_to_it() -> None:
    envelope = Envelope("us@x.example", "ann@example.org", 5000, False)
    plain, wide = Offers(), Offers(frozenset({"size", "smtputf8"}), 5000)
    assert replies.unfit(envelope, plain) is None
    assert replies.unfit(envelope, wide) is None
    assert replies.unfit(envelope._replace(smtputf8=True), wide) is None
    assert replies.unfit(envelope._replace(size=5001), wide) == (
        (FAILED, "too_large", False),
        "the mail has 5001 octets, and the relay takes 5000 at most",
    )
    assert replies.unfit(envelope._replace(smtputf8=True), plain) == (
        (FAILED, "protocol", False),
        "the relay does not offer SMTPUTF8",
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [("5.1.1 no", "5.1.1"), ("no 4.2.2 full", "4.2.2"), ("from 10.5.1.1 refused", ""), ("no", ""), ("12.34.56", "")],
)
def test_the_enhanced_code_is_found_and_an_ip_address_is_none(text: str, code: str) -> None:
    assert enhanced_code(Answer(550, text)) == code


def test_what_is_stored_holds_no_address() -> None:
    stored = told(
        Answer(550, "5.1.1 <ann.o'hara+x@example.org>: Recipient bob@example.org rejected\nsee (c@d.example)")
    )
    assert "@" not in stored
    assert stored.startswith("550 5.1.1 <address>: Recipient <address> rejected")
    assert len(told(Answer(550, "x" * 5000))) == 500
