"""Every mail that the demo sends is one that any mail program reads."""

import email
import email.policy
import json
import re
from pathlib import Path

import pytest

from mailer.inbox import Store
from tests import commands
from tests.stories.served import environment

Mails = list[tuple[bytes, email.message.EmailMessage]]
STRUCTURED = ("List-Unsubscribe", "List-Unsubscribe-Post", "List-Id", "Message-ID", "Feedback-ID", "From", "To", "Date")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], Mails]:
    folder = tmp_path_factory.mktemp("demo")
    done = commands.run("demo", "--once", "--json", env=environment(folder), cwd=folder)
    assert done.returncode == 0, done.stderr
    store = Store(folder / "demo" / "inbox.db")
    raw = [mail.raw for one in store.list(200) if (mail := store.get(one.id)) is not None]
    store.close()
    return (
        json.loads(done.stdout)["emails"],
        [(each, email.message_from_bytes(each, policy=email.policy.default)) for each in raw],
    )


def test_every_template_is_sent_and_somebody_was_suppressed(demo: tuple[list[dict[str, str]], Mails]) -> None:
    samples, mails = demo
    folders = {path.parent.name for path in Path("templates/email").glob("*/template.toml")}
    assert {sample["template"] for sample in samples} == folders
    assert {sample["status"] for sample in samples} == {"sent", "suppressed"}
    assert [sample["reason"] for sample in samples if sample["status"] == "suppressed"] == ["unsubscribe"]
    assert len(mails) == sum(sample["status"] == "sent" for sample in samples)


def test_every_mail_parses_without_defects(demo: tuple[list[dict[str, str]], Mails]) -> None:
    for raw, mail in demo[1]:
        assert not mail.defects, mail["Subject"]
        for part in mail.walk():
            assert not part.defects, mail["Subject"]
            if not part.is_multipart():
                part.get_content()
        lines = raw.split(b"\r\n")
        assert max(map(len, lines)) <= 998
        assert all(byte < 128 for byte in raw)
        assert b"\n" not in raw.replace(b"\r\n", b"")
        assert b"\r" not in raw.replace(b"\r\n", b"")
        assert next(part.get_content_type() for part in mail.walk() if not part.is_multipart()) == "text/plain"


def test_structured_headers_hold_no_encoded_words_but_in_names(demo: tuple[list[dict[str, str]], Mails]) -> None:
    identifiers = []
    for raw, mail in demo[1]:
        head = raw.partition(b"\r\n\r\n")[0].decode()
        for name in STRUCTURED:
            for value in re.findall(rf"(?m)^{name}: (.*(?:\r\n[ \t].*)*)", head):
                assert "=?" not in value.partition("<")[2] if name in {"From", "To"} else "=?" not in value
        for name in ("From", "To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "List-Unsubscribe-Post"):
            assert len(mail.get_all(name, [])) <= 1
        identifiers.append(mail["Message-ID"])
    assert len(set(identifiers)) == len(identifiers)


def test_promotional_mail_has_its_way_out_and_transactional_mail_no_pixel(
    demo: tuple[list[dict[str, str]], Mails],
) -> None:
    seen = set()
    for raw, mail in demo[1]:
        html = mail.get_body(("html",))
        page = html.get_content() if html is not None else ""
        promotional = mail["Precedence"] == "bulk"
        seen.add(promotional)
        assert ("/o/" in page) == promotional
        if not promotional:
            continue
        # RFC 2369 section 2 and RFC 8058 section 3.1, byte for byte.
        assert re.search(rb"(?m)^List-Unsubscribe: <http://[!-;=?-~]+>\r$", raw)
        assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in raw
        url = str(mail["List-Unsubscribe"]).strip("<>")
        assert url in page.replace("&amp;", "&")
        text = mail.get_body(("plain",))
        assert text is not None
        assert url in text.get_content()
        assert "12 Bell Lane" in text.get_content()
        assert "12 Bell Lane" in page
    assert seen == {True, False}


def test_each_notification_of_the_sample_company_is_left_for_itself(demo: tuple[list[dict[str, str]], Mails]) -> None:
    named = [str(mail["List-Id"]) for _raw, mail in demo[1] if mail["List-Id"] and mail["Precedence"] != "bulk"]
    topics = [each.partition("<")[2].partition(".")[0] for each in named]
    assert {"new-lead", "lead-reassigned", "event-reminders"} <= set(topics), named
