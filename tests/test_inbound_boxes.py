"""Mail that others received for us: a maildir, a mailbox behind IMAP; nothing is put aside before it is recorded."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailer.errors import ConfigurationError
from mailer.feedback import inbound
from mailer.feedback.inbound import Imap, Mail, Maildir, Mailroom, Receipt
from mailer.feedback.inbound.imap import Unreachable
from tests.dovecot import PASSWORD, Dovecot, dovecot
from tests.servers import free_port

DOMAIN = "b.example.org"


@dataclass
class Desk:
    """Knows `b+…`, and does as a test tells it."""

    raws: list[bytes] = field(default_factory=list)
    reply: str = "250 2.0.0 Noted"

    @property
    def room(self) -> Mailroom:
        """Return its mailroom."""
        return Mailroom([self._reader], DOMAIN)

    def _reader(self, local: str) -> Receipt | None:
        return self._receive if local.startswith("b+") else None

    async def _receive(self, mail: Mail) -> str:
        self.raws.append(mail.raw)
        return self.reply


def mail(number: int, header: str = "Delivered-To: {}") -> bytes:
    line = header.format(f"b+{number}@{DOMAIN}")
    return f"{line}\r\nSubject: {number}\r\n\r\nHello\r\n".encode()


STRANGE = b"Delivered-To: somebody@b.example.org\r\nSubject: offer\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ("Delivered-To: b+1@b.example.org", "b+1@b.example.org"),
        ("X-Original-To: b+1@b.example.org\r\nDelivered-To: alias@elsewhere.example", "b+1@b.example.org"),
        ("Envelope-To: b+1@B.Example.Org", "b+1@B.Example.Org"),
        ("To: Bounces <b+1@b.example.org>, ann@example.org", "b+1@b.example.org"),
        ("Delivered-To: b+1@b.example.org\r\nTo: b+2@b.example.org", "b+1@b.example.org"),
        ("Delivered-To: catchall@b.example.org\r\nDelivered-To: b+1@b.example.org", "b+1@b.example.org"),
        ("Cc: b+1@b.example.org", None),
        ("Subject: b+1@b.example.org", None),
        ("To: =?broken?=, <<>>, @@", None),
        ("", None),
        ("To: " + "a@x.example, " * 50_000 + "b+1@b.example.org", None),
    ],
    ids=[
        *("delivered", "original", "envelope", "to", "the surest", "twice", "cc", "subject", "broken", "none"),
        "a long list",
    ],
)
def test_for_whom_a_stored_mail_came(head: str, found: str | None) -> None:
    assert inbound.address_of(f"{head}\r\n\r\nTo: b+3@b.example.org\r\n".encode(), Desk().room.knows) == found


# --- maildir


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("new", "cur", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


def names(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in (folder / name).iterdir())


async def test_a_maildir_is_emptied_the_oldest_first(folder: Path) -> None:
    desk = Desk()
    for number in (2, 1):
        (folder / "new" / f"170000000{number}.x").write_bytes(mail(number))
    (folder / "new" / "1700000003.x").write_bytes(STRANGE)
    assert await inbound.collect(Maildir(folder), desk.room) == (2, 1, 0)
    assert desk.raws == [mail(1), mail(2)]
    assert names(folder, "new") == []
    assert names(folder, "cur") == ["1700000001.x:2,S", "1700000002.x:2,S", "1700000003.x:2,FS"]


async def test_a_mail_stays_until_what_it_means_is_recorded(folder: Path) -> None:
    desk = Desk(reply="451 4.3.0 later")
    (folder / "new" / "1.x").write_bytes(mail(1))
    assert await inbound.collect(Maildir(folder), desk.room) == (0, 0, 1)
    assert (names(folder, "new"), names(folder, "cur")) == (["1.x"], [])
    desk.reply = "250 2.0.0 Noted"
    assert await inbound.collect(Maildir(folder), desk.room) == (1, 0, 0)
    assert names(folder, "cur") == ["1.x:2,S"]


async def test_of_a_mail_of_50_mb_the_first_one_is_read(folder: Path) -> None:
    desk = Desk()
    (folder / "new" / "1.x").write_bytes(mail(1) + b"x" * 50_000_000)
    assert (await inbound.collect(Maildir(folder), desk.room)).taken == 1
    assert [len(raw) for raw in desk.raws] == [1024 * 1024]


async def test_what_another_process_took_meanwhile_is_its_own(folder: Path) -> None:
    box = Maildir(folder)
    (folder / "new" / "1.x").write_bytes(mail(1))
    [name] = box.waiting()
    (folder / "new" / "1.x").rename(folder / "cur" / "1.x:2,S")
    assert box.read(name) is None
    box.settle(name, known=False)
    assert names(folder, "cur") == ["1.x:2,S"]


async def test_a_maildir_is_watched(folder: Path) -> None:
    desk = Desk()
    watching = asyncio.create_task(inbound.watch(Maildir(folder), desk.room, every=0.05))
    try:
        for number in (1, 2):
            (folder / "tmp" / f"{number}.x").write_bytes(mail(number))
            (folder / "tmp" / f"{number}.x").rename(folder / "new" / f"{number}.x")
            await until(desk, number)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def until(desk: Desk, number: int) -> None:
    async with asyncio.timeout(20):
        while len(desk.raws) < number:
            await asyncio.sleep(0.02)


def test_a_folder_that_is_no_maildir_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="needs the folders new and cur"):
        Maildir(tmp_path)


# --- IMAP


@pytest.fixture(scope="module")
def imap() -> Iterator[Dovecot]:
    with dovecot() as server:
        yield server


async def test_a_mailbox_is_emptied_and_each_mail_marked_once_it_is_recorded(imap: Dovecot) -> None:
    desk, box = Desk(), Imap.parse(imap.url, PASSWORD)
    imap.put(mail(1), STRANGE, mail(2) + b"x" * 3_000_000 + b"\r\n")
    desk.reply = "451 4.3.0 later"
    assert await inbound.collect(box, desk.room) == (0, 1, 2)
    assert imap.flags() == [set(), {"\\Seen", "\\Flagged"}, set()]
    desk.raws.clear()
    desk.reply = "250 2.0.0 Noted"
    assert await inbound.collect(box, desk.room) == (2, 0, 0)
    assert imap.flags() == [{"\\Seen"}, {"\\Seen", "\\Flagged"}, {"\\Seen"}]
    assert desk.raws[0] == mail(1)
    assert len(desk.raws[1]) == 1024 * 1024
    assert await inbound.collect(box, desk.room) == (0, 0, 0)


@pytest.mark.parametrize(
    ("user", "folder", "why"), [("bounces", "Nowhere", "user, password or folder"), ("x", "INBOX", "cannot be reached")]
)
async def test_a_mailbox_that_cannot_be_read_says_why(imap: Dovecot, user: str, folder: str, why: str) -> None:
    port = imap.port if user == "bounces" else free_port()
    box = Imap.parse(f"imap://{user}@127.0.0.1:{port}/{folder}?starttls=off", PASSWORD)
    with pytest.raises(Unreachable, match=why):
        await inbound.collect(box, Desk().room)


async def test_a_password_that_is_refused_is_not_shown(imap: Dovecot) -> None:
    box = Imap.parse(imap.url, "wrong-one")
    with pytest.raises(Unreachable) as refused:
        await inbound.collect(box, Desk().room)
    assert "wrong-one" not in str(refused.value) + repr(box)


async def test_encryption_is_insisted_on(imap: Dovecot) -> None:
    box = Imap.parse(imap.url.partition("?")[0], PASSWORD)
    with pytest.raises(Unreachable, match="offers no STARTTLS"):
        await inbound.collect(box, Desk().room)


@pytest.mark.parametrize(
    ("url", "host", "port", "folder", "encryption"),
    [
        ("imaps://bounces@mail.example.org", "mail.example.org", 993, "INBOX", "tls"),
        (
            "imap://b%40x.example@mail.example.org:1143/Post/B%C3%BCro",
            "mail.example.org",
            1143,
            "Post/Büro",
            "starttls",
        ),
        ("imap://b@[::1]/?starttls=off", "::1", 143, "INBOX", "off"),
    ],
)
def test_where_a_mailbox_is(url: str, host: str, port: int, folder: str, encryption: str) -> None:
    box = Imap.parse(url, PASSWORD)
    assert (box.host, box.port, box.folder, box.encryption) == (host, port, folder, encryption)


@pytest.mark.parametrize(
    ("url", "password", "why"),
    [
        ("pop3://b@x.example", "p", "imaps://user@host"),
        ("imaps://x.example", "p", "imaps://user@host"),
        ("imaps://b:p@x.example", "p", "MAILER_IMAP_PASSWORD"),
        ("imaps://b@x.example", "", "MAILER_IMAP_PASSWORD"),
        ("imaps://b@x.example:99999", "p", "port"),
        ("imaps://b@x.example?starttls=off", "p", "no other option"),
        ("imap://b@x.example?tls=no", "p", "no other option"),
    ],
    ids=["scheme", "user", "password inside", "no password", "port", "imaps option", "unknown option"],
)
def test_a_mailbox_that_is_not_named_right(url: str, password: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Imap.parse(url, password)
