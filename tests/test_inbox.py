"""The capture mailbox: what comes in over real SMTP is kept, found again, and read however broken it is."""

import asyncio
import multiprocessing
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from multiprocessing.synchronize import Barrier
from pathlib import Path

import aiosmtplib
import pytest

from mailer import inbox, resources
from mailer.errors import ConfigurationError, WrongVersion
from mailer.inbox import Defect, Listener, Store, capture, read
from suppression.rules import Stream

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PNG = b"\x89PNG\r\n\x1a\n"


def letter(subject: str = "Hello", to: str = "ann@example.org", body: str = "Good morning") -> EmailMessage:
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "Acme <news@acme.example>"
    message["To"] = to
    message["Subject"] = subject
    message["Date"] = "Sun, 01 Mar 2026 14:00:00 +0200"
    message["Message-ID"] = "<1@acme.example>"
    message.set_content(body)
    return message


def captured(subject: str = "Hello", to: str = "ann@example.org", now: datetime = NOW) -> inbox.Captured:
    return capture("bounce@acme.example", [to], letter(subject, to).as_bytes(), now)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data" / "inbox.db")
    yield store
    store.close()


@pytest.fixture
async def listener(store: Store) -> AsyncIterator[tuple[Listener, int]]:
    listener = Listener(store)
    port = await listener.start()
    yield listener, port
    await listener.stop()


# --- capture and the store


def test_a_captured_mail_knows_its_headers() -> None:
    mail = captured("Привіт, світе")
    assert (mail.subject, mail.sender, mail.stream) == (
        "Привіт, світе",
        "Acme <news@acme.example>",
        Stream.TRANSACTIONAL,
    )
    assert mail.date == datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert mail.size == len(mail.raw)


def test_bulk_mail_is_promotional() -> None:
    message = letter()
    message["Precedence"] = "bulk"
    assert capture("", ["a@b.example"], message.as_bytes(), NOW).stream is Stream.PROMOTIONAL


def test_what_is_added_comes_back_whole(store: Store) -> None:
    mail = captured()
    number = store.add(mail)
    found = store.get(number)
    assert found is not None
    assert (found.raw, found.rcpt_to, found.mail_from, found.received_at, found.date) == (
        mail.raw,
        mail.rcpt_to,
        mail.mail_from,
        NOW,
        mail.date,
    )


def test_the_list_is_newest_first_and_goes_on_below_an_id(store: Store) -> None:
    ids = store.add_many([captured(f"mail {n}", now=NOW + timedelta(seconds=n)) for n in range(7)])
    first = store.list(3)
    assert [summary.id for summary in first] == list(reversed(ids))[:3]
    assert [summary.subject for summary in store.list(3, before=first[-1].id)] == ["mail 3", "mail 2", "mail 1"]
    assert store.list(3, before=ids[0]) == []


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("РАХУНОК", ["Ваш рахунок"]),
        ("ann@", ["Reset", "Ваш рахунок"]),
        ("bob@example.net", ["100% off_"]),
        ("100% off_", ["100% off_"]),
        ("100x", []),
        ("  ", ["100% off_", "Reset", "Ваш рахунок"]),
        ("'; DROP TABLE mail", []),
    ],
)
def test_a_search_finds_parts_of_recipients_and_subjects(store: Store, query: str, subjects: list[str]) -> None:
    store.add_many([captured("Ваш рахунок"), captured("Reset"), captured("100% off_", "bob@example.net")])
    assert [summary.subject for summary in store.list(10, query=query)] == subjects


def test_mail_of_an_address_is_what_was_delivered_to_it_alone(store: Store) -> None:
    store.add(captured("one", "Ann@example.org"))
    store.add(captured("two", "joann@example.org"))
    store.add(captured("ann@example.org", "bob@example.org"))
    assert [mail.subject for mail in store.of("ann@EXAMPLE.org")] == ["one"]
    assert store.of("nobody@example.org") == []


def test_only_the_newest_mails_are_kept(tmp_path: Path) -> None:
    store = Store(tmp_path / "inbox.db", keep=10)
    for start in range(0, 60, 6):
        store.add_many([captured(f"mail {n}") for n in range(start, start + 6)])
        assert store.count() <= 10
    assert [summary.subject for summary in store.list(20)] == [f"mail {n}" for n in range(59, 49, -1)]
    assert store.get(1) is None
    store.close()


def test_cleared_mail_is_gone_and_its_ids_are_not_used_again(store: Store, tmp_path: Path) -> None:
    old = store.add_many([captured() for _ in range(200)])
    size = (tmp_path / "data" / "inbox.db").stat().st_size
    store.clear()
    assert (store.count(), store.list(), store.get(old[0])) == (0, [], None)
    assert (tmp_path / "data" / "inbox.db").stat().st_size < max(size, 100_000)
    assert store.add(captured()) > old[-1]


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, 2**200])
def test_an_id_that_cannot_be_finds_nothing(store: Store, number: int) -> None:
    assert store.get(number) is None
    assert store.list(1, before=number or 1) == []


def test_a_mail_is_readable_by_its_owner_alone(store: Store, tmp_path: Path) -> None:
    store.add(captured())
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "data").iterdir()} == {0}


def test_a_file_of_another_version_is_refused_with_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(WrongVersion, match=r"its format is 7, ours is 1.*move it away"):
        Store(path)


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE theirs (id INTEGER)")
    other.close()
    with pytest.raises(WrongVersion, match="another version"):
        Store(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "inbox.db"
    path.write_bytes(b"Dear Sir or Madam, " * 100)
    with pytest.raises(WrongVersion, match="is no inbox"):
        Store(path)


def test_threads_share_a_store(store: Store) -> None:
    threads = [threading.Thread(target=lambda: [store.add(captured()) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 160


def _fill(path: Path) -> None:
    store = Store(path)
    for _ in range(20):
        store.add(captured())
    store.close()


def test_processes_share_a_file_even_while_they_make_it(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_fill, args=(tmp_path / "inbox.db",)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    store = Store(tmp_path / "inbox.db")
    assert store.count() == 80
    store.close()


def _make(path: Path, together: Barrier) -> None:
    together.wait()
    Store(path).close()


def test_processes_that_start_together_make_one_file(tmp_path: Path) -> None:
    """As all processes of the Procfile do in a fresh data folder."""
    spawn = multiprocessing.get_context("spawn")
    together = spawn.Barrier(6)
    processes = [spawn.Process(target=_make, args=(tmp_path / "inbox.db", together)) for _ in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6


# --- reading


def rich() -> EmailMessage:
    message = letter("Тема: 42 відгуки", "Іван <ivan@example.com.ua>")
    message["List-Unsubscribe"] = "<mailto:out@acme.example>, <https://m.example/u/tok>"
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.add_alternative('<p>Добрий день <img src="cid:logo%40acme"></p>', subtype="html")
    page = message.get_payload()
    assert isinstance(page, list)
    assert isinstance(page[1], EmailMessage)
    page[1].add_related(PNG, "image", "png", cid="<logo@acme>", filename="logo.png")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="рахунок.pdf")
    message.add_attachment(letter("inner"))
    return message


def test_a_mail_is_read_in_all_its_parts() -> None:
    reading = read(rich().as_bytes())
    assert (reading.subject, reading.sender) == ("Тема: 42 відгуки", "Acme <news@acme.example>")
    assert reading.to == "Іван <ivan@example.com.ua>"
    assert reading.text == "Good morning\n"
    assert reading.html is not None
    assert "Добрий день" in reading.html
    assert [(file.name, file.type, file.inline) for file in reading.attachments] == [
        ("logo.png", "image/png", True),
        ("рахунок.pdf", "application/pdf", False),
        ("part-5.eml", "message/rfc822", False),
    ]
    assert reading.attachments[1].content == b"%PDF"
    assert reading.attachments[1].size == 4
    assert b"Subject: inner" in reading.attachments[2].content
    assert reading.defects == []


def test_pictures_of_the_html_travel_in_it() -> None:
    html = read(rich().as_bytes()).html or ""
    assert 'src="data:image/png;base64,iVBORw0KGgo="' in html
    assert "cid:" not in html


def test_a_picture_with_a_hostile_type_is_not_put_into_the_html() -> None:
    raw = (
        b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<img src=cid:x>\r\n"
        b'--b\r\nContent-Type: image/"><script>\r\nContent-ID: <x>\r\n\r\nx\r\n--b--\r\n'
    )
    reading = read(raw)
    assert reading.html == "<img src=cid:x>"
    assert "<" not in reading.attachments[0].type


def test_the_one_click_address_is_found() -> None:
    reading = read(rich().as_bytes())
    assert (reading.unsubscribe_url, reading.one_click) == ("https://m.example/u/tok", True)


@pytest.mark.parametrize(
    ("headers", "url", "one_click"),
    [
        (b"List-Unsubscribe: <https://m.example/u/a\r\n bc>\r\n", "https://m.example/u/abc", False),
        (
            b"List-Unsubscribe: <mailto:x@y.example>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            None,
            False,
        ),
        (b"List-Unsubscribe: <javascript:alert(1)>\r\n", None, False),
        (b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", None, False),
    ],
)
def test_an_unsubscribe_header_is_read_as_it_stands(headers: bytes, url: str | None, one_click: bool) -> None:
    reading = read(headers + b"\r\nbody")
    assert (reading.unsubscribe_url, reading.one_click) == (url, one_click)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"=?utf-8?b?0J8=?= =?utf-8?q?=D1=80?= x", "Пр x"),
        (b"=?utf-8?q?=D0?=\r\n =?utf-8?q?=9F?=", "П"),
        (b"=?iso-8859-1*en?q?caf=E9_au?= lait", "café au lait"),
        (b"=?nonsense?q?caf=C3=A9?=", "café"),
        (b"=?unicode_escape?q?=5Cd?=", "\\d"),
        (b"=?utf-8?b?!?=", ""),
        ("прямо".encode(), "прямо"),
        (b"caf\xe9", "caf\ufffd"),
        (b"a\x00b\x1bc", "a\ufffdb\ufffdc"),
        (b"=?utf-8?q?a=0D=0ABcc:_x?=", "a\ufffd\ufffdBcc: x"),
    ],
)
def test_a_header_is_decoded_for_people_and_kept_as_sent(raw: bytes, value: str) -> None:
    header = read(b"Subject: " + raw + b"\r\n\r\n").headers[0]
    assert (header.name, header.value) == ("Subject", value)
    assert header.raw.encode().isascii() == (raw.isascii() and b"\x00" not in raw)


def test_headers_stand_in_their_order() -> None:
    reading = read(b"Received: b\r\nReceived: a\r\nX: 1\r\n\r\n")
    assert [(header.name, header.value) for header in reading.headers] == [
        ("Received", "b"),
        ("Received", "a"),
        ("X", "1"),
    ]


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Sun, 01 Mar 2026 14:00:00 +0200", NOW),
        ("Sun, 01 Mar 2026 12:00:00 -0000", NOW),
        ("yesterday", None),
        ("Sun, 99 Mar 99999 14:00:00 +9999", None),
        ("", None),
    ],
)
def test_a_date_is_a_moment_or_none(text: str, date: datetime | None) -> None:
    assert read(f"Date: {text}\r\n\r\n".encode()).date == date


@pytest.mark.parametrize(
    ("raw", "defect"),
    [
        (b"Subject: x\r\n\r\n", Defect.NO_FROM),
        (b"From: a@b.example\r\n\r\n", Defect.NO_DATE),
        (b"From: a@b.example\r\n\r\n", Defect.NO_MESSAGE_ID),
        (b"From: a@b.example\r\n\r\n" + b"x" * 999 + b"\r\n", Defect.LONG_LINE),
        (b"From: a@b.example\n\nhello\n", Defect.BARE_NEWLINE),
        (b"From: a@b.example\r\n\r\nhello\rthere\r\n", Defect.BARE_NEWLINE),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nhello", Defect.MIME),
        (b"Content-Transfer-Encoding: base64\r\n\r\nabc!=\r\n", Defect.MIME),
    ],
)
def test_a_defect_is_named(raw: bytes, defect: Defect) -> None:
    assert defect in read(raw).defects


def test_nesting_without_end_is_shown_as_source_only() -> None:
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(3000))
    reading = read(b"Subject: deep\r\n" + raw)
    assert reading.subject == "deep"
    assert (reading.html, reading.text) == (None, None)
    assert Defect.UNREADABLE in reading.defects


def test_no_mail_is_too_broken_to_be_read() -> None:
    pieces = (
        b"\r\n", b"\n", b"=?utf-8?b?", b"?=", b"Content-Type: ", b"multipart/mixed; boundary=", b"\x00", b"\xff", b";",
        b"charset=unicode_escape", b'charset="x\x00y"', b"charset*=utf-8''x", b"message/rfc822",
        b"filename*0*=utf-8''%ff",
        b"message/delivery-status", b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 666 x\r\n",
    )  # fmt: skip
    dice = random.Random(7)
    whole = rich().as_bytes()
    for _ in range(2000):
        raw = bytearray(whole)
        for _ in range(dice.randint(1, 10)):
            place = dice.randrange(len(raw))
            if dice.random() < 0.6:
                raw[place:place] = dice.choice(pieces)
            else:
                del raw[place : place + dice.randint(1, 80)]
        reading = read(bytes(raw))
        mail = capture("a@b.example", ["c@d.example"], bytes(raw), NOW)
        shown = [reading.html or "", reading.text or "", mail.subject, *(file.name for file in reading.attachments)]
        "".join(shown).encode()
        assert "\n" not in mail.subject + mail.sender


# --- the listener


async def test_a_mail_is_stored_before_it_is_taken(store: Store, listener: tuple[Listener, int]) -> None:
    raw = letter("Над SMTP").as_bytes()
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=listener[1], start_tls=False) as client:
        refused, answer = await client.sendmail("b+em_1@acme.example", ["ann@example.org", "bob@example.org"], raw)
        assert answer.startswith("2.0.0 Captured, not sent")
        assert refused == {}
        (mail,) = store.of("bob@example.org")
    assert (mail.raw, mail.mail_from, mail.subject) == (raw, "b+em_1@acme.example", "Над SMTP")
    assert mail.rcpt_to == ("ann@example.org", "bob@example.org")


async def test_the_listener_announces_what_it_can(listener: tuple[Listener, int]) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=listener[1], start_tls=False) as client:
        await client.ehlo()
        extensions = set(client.esmtp_extensions)
        assert extensions >= {"size", "8bitmime", "smtputf8", "pipelining"}
        assert client.esmtp_extensions["size"] == "36700160"
        assert not extensions & {"starttls", "auth", "chunking"}


async def test_addresses_and_headers_may_be_in_utf_8(store: Store, listener: tuple[Listener, int]) -> None:
    raw = "Subject: прямо\r\n\r\nтіло\r\n".encode()
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=listener[1], start_tls=False) as client:
        await client.sendmail("від@приклад.укр", ["іван@приклад.укр"], raw, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
    (mail,) = store.of("іван@приклад.укр")
    assert (mail.mail_from, mail.subject, mail.raw) == ("від@приклад.укр", "прямо", raw)


async def test_a_bounce_has_no_sender(store: Store, listener: tuple[Listener, int]) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=listener[1], start_tls=False) as client:
        await client.sendmail("", ["ann@example.org"], b"Subject: bounce\r\n\r\nx\r\n")
    assert store.of("ann@example.org")[0].mail_from == ""


async def test_dots_and_long_lines_arrive_as_they_were(store: Store, listener: tuple[Listener, int]) -> None:
    raw = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n" + b"y" * 5000 + b"\r\n"
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=listener[1], start_tls=False) as client:
        await client.sendmail("a@b.example", ["ann@example.org"], raw)
    assert store.of("ann@example.org")[0].raw == raw


async def conversation(port: int, *writes: bytes) -> list[str]:
    """Send these bytes, each in one write, wait for the server to hang up, and return its lines."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for write in writes:
            writer.write(write)
            await writer.drain()
            await asyncio.sleep(0.05)
        return (await reader.read()).decode().splitlines()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_commands_may_be_pipelined(store: Store, listener: tuple[Listener, int]) -> None:
    lines = await conversation(
        listener[1],
        b"EHLO me\r\n",
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\n",
        b"DATA\r\n",
        # RFC 2920 section 3.1: the next mail's commands may follow the end of this one at once.
        b"Subject: one\r\n\r\nx\r\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<ann@example.org>\r\n"
        b"RCPT TO:nonsense@\r\nDATA\r\n",
        b"Subject: two\r\n\r\n.\r\nQUIT\r\n",
    )
    codes = [line[:3] for line in lines if line[3:4] == " "]
    assert codes == ["220", "250", "250", "250", "354", "250", "250", "250", "553", "354", "250", "221"]
    assert [mail.subject for mail in store.of("ann@example.org")] == ["two", "one"]


async def test_a_mail_that_is_too_large_is_refused(store: Store, listener: tuple[Listener, int]) -> None:
    lines = await conversation(listener[1], b"EHLO me\r\nMAIL FROM:<a@b.example> SIZE=36700161\r\nQUIT\r\n")
    assert any(line.startswith("552 ") for line in lines)
    assert store.count() == 0


async def test_nonsense_is_answered_and_the_connection_lives(store: Store, listener: tuple[Listener, int]) -> None:
    lines = await conversation(
        listener[1],
        b"EHLO me\r\nBLAH\r\n\r\n\xff\xfe\r\nMAIL nobody\r\nMAIL FROM:@\r\nRCPT TO:<x@y.example>\r\nDATA\r\n"
        + b"z" * 200_000
        + b"\r\nQUIT\r\n",
    )
    assert all(line[0] in "245" for line in lines)
    assert lines[-1].startswith("221")
    assert store.count() == 0


async def test_many_connections_at_once_lose_nothing(store: Store, listener: tuple[Listener, int]) -> None:
    async def send(sender: int) -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=listener[1], start_tls=False) as client:
            for number in range(20):
                raw = letter(f"{sender}-{number}").as_bytes()
                await client.sendmail("a@b.example", [f"to{sender}@example.org"], raw)

    await asyncio.gather(*(send(sender) for sender in range(10)))
    assert store.count() == 200
    assert [mail.subject for mail in store.of("to3@example.org")] == [f"3-{number}" for number in range(19, -1, -1)]


async def test_a_mail_that_cannot_be_stored_is_not_taken(tmp_path: Path) -> None:
    store = Store(tmp_path / "inbox.db")
    listener = Listener(store)
    port = await listener.start()
    store.close()
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
        with pytest.raises(aiosmtplib.SMTPDataError) as refused:
            await client.sendmail("a@b.example", ["ann@example.org"], b"Subject: x\r\n\r\n")
        assert refused.value.code == 452
    await listener.stop()


async def test_stopping_ends_idle_connections_and_the_port_is_free_again(store: Store) -> None:
    listener = Listener(store)
    port = await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert (await reader.readline()).startswith(b"220 ")
    async with asyncio.timeout(5):
        await listener.stop()
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)
    assert await listener.start() > 0
    await listener.stop()
    await listener.stop()


async def test_a_port_in_use_is_a_sentence(store: Store, listener: tuple[Listener, int]) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"no mail can be received on 127.0.0.1:{listener[1]}: the port is already in use"
    ):
        await Listener(store, port=listener[1]).start()


async def test_a_running_listener_is_not_started_twice(listener: tuple[Listener, int]) -> None:
    with pytest.raises(RuntimeError, match="listens already"):
        await listener[0].start()


async def test_no_address_reaches_the_logs(
    store: Store, listener: tuple[Listener, int], caplog: pytest.LogCaptureFixture
) -> None:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=listener[1], start_tls=False) as client:
        await client.sendmail("a@b.example", ["ann@example.org"], letter().as_bytes())
    assert "example" not in caplog.text


def test_the_templates_are_found() -> None:
    assert (resources.templates() / "inbox" / "list.html").is_file()
