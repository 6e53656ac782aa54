"""Our id in a header that SendGrid and Postmark echo; a signature stays good, and other providers see nothing."""

import json
from datetime import UTC, datetime

import pytest

from mailer.database import Database
from mailer.delivery.echo import ECHOING, echoed
from mailer.relays import Provider
from tests.delivery import mails
from tests.delivery.mails import T
from tests.servers import Relay

ID = "em_01h2xcejqtf2nbrexx3vqjhp41"
MAIL = b"DKIM-Signature: v=1; h=From:To\r\nFrom: a@b.example\r\nTo: c@d.example\r\n\r\nX-SMTPAPI: in the body\r\n"


def test_sendgrid_gets_a_unique_argument() -> None:
    line, rest = echoed(MAIL, ID, "sendgrid").split(b"\r\n", 1)
    name, value = line.split(b": ", 1)
    assert (name, rest) == (b"X-SMTPAPI", MAIL)
    assert json.loads(value) == {"unique_args": {"mailer_email_id": ID}}


def test_postmark_gets_metadata() -> None:
    assert echoed(MAIL, ID, "postmark") == b"X-PM-Metadata-mailer-email-id: " + ID.encode() + b"\r\n" + MAIL


@pytest.mark.parametrize("line", [b"X-SMTPAPI: {}\r\n", b"x-smtpapi: {}\r\n"])
@pytest.mark.parametrize("first", [True, False])
def test_a_mail_that_says_such_a_thing_itself_stays_as_it_is(line: bytes, first: bool) -> None:
    data = line + MAIL if first else MAIL.replace(b"To: ", line + b"To: ")
    assert echoed(data, ID, "sendgrid") == data


def test_no_other_provider_gets_one() -> None:
    assert frozenset({"sendgrid", "postmark"}) == ECHOING


@pytest.mark.parametrize(
    ("provider", "start"),
    [
        ("sendgrid", b'X-SMTPAPI: {"unique_args": {"mailer_email_id": "OUR"}}\r\nMessage-ID: <OUR@'),
        ("postmark", b"X-PM-Metadata-mailer-email-id: OUR\r\nMessage-ID: <OUR@"),
        ("ses", b"Message-ID: <OUR@"),
        ("mailgun", b"Message-ID: <OUR@"),
        (None, b"Message-ID: <OUR@"),
    ],
)
async def test_each_mail_brings_its_own_id_to_the_relay(
    sqlite: Database, relay: Relay, provider: Provider | None, start: bytes
) -> None:
    own = await sqlite.run(lambda session: mails.add(session, 3, T, datetime.now(UTC)))
    pipeline = mails.pipeline(sqlite, relay.port, T, provider=provider)
    await pipeline.ring()
    await pipeline.stop()
    by_recipient = {mail.recipient: mail for mail in relay.mails}
    for place, identifier in enumerate(own):
        mail = by_recipient[f"t{place}@example.org"]
        assert mail.data.startswith(start.replace(b"OUR", identifier.encode()))
        # What was announced as its size is what came (RFC 1870).
        assert f"SIZE={len(mail.data)}" in mail.options
