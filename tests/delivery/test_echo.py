"""Our id in a header that SendGrid and Postmark echo; a signature stays good, and other providers see nothing."""

import json

import pytest

from mailer.delivery.echo import ECHOING, echoed

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
