"""Reports by mail: who is believed, whom they are about, and what is not lost."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from mailer import ids, keyring, published
from mailer.compose.dkim import Signer
from mailer.compose.headers import Line
from mailer.feedback import inbound
from mailer.feedback.inbound import Category, Kind, Mail, Mailroom, Proof, Reading, Report
from mailer.feedback.inbound.complaints import named_email
from mailer.links import Links
from mailer.models import DkimAlgorithm
from mailer.settings import Settings
from suppression.rules import Stream
from suppression.token import OptOut, Ring
from tests.nameserver import Nameserver, nameserver
from tests.signing import signatures

DOMAIN = "b.example.org"
LINKS = Links(Settings(return_path_domain=DOMAIN, public_url="https://x.example"), Ring("k1:" + "s" * 32))
STRANGER = Links(LINKS.settings, Ring("k1:" + "z" * 32))
EMAIL, OTHER = (ids.new("em", datetime(2026, 5, day, tzinfo=UTC)) for day in (4, 5))
BOUNCE = Report(Kind.BOUNCED, Category.INVALID_RECIPIENT, hard=True, recipient="ann@example.org", source="dsn")
COMPLAINT = Report(Kind.COMPLAINED, Category.COMPLAINT, recipient="ann@example.org", source="arf")
LEAVING = OptOut(1, b"f" * 16, Stream.PROMOTIONAL, "news", ids.to_bytes(EMAIL))


@dataclass
class Desk:
    """Reads mail as a test tells it to, and remembers what it was told."""

    reading: Reading
    heard: list[tuple[Report, Proof]] = field(default_factory=list)
    counted: list[tuple[str, str]] = field(default_factory=list)
    signer: str | None = None
    #: The DNS does not answer.
    deaf: bool = False
    #: The database does not answer.
    away: bool = False

    async def hear(self, reports: Sequence[tuple[Report, Proof]]) -> None:
        if self.away:
            raise ConnectionError("away")
        self.heard += reports

    async def count(self, email_id: str, why: str) -> None:
        self.counted.append((email_id, why))

    async def signed(self, _raw: bytes) -> str | None:
        if self.deaf:
            raise published.Unanswered
        return self.signer

    @property
    def room(self) -> Mailroom:
        """Return the mailroom of these."""
        parse = self._parse
        readers = [
            inbound.bounces(LINKS.read_return_path, parse, self.hear, self.count),
            inbound.complaints(LINKS, parse, self.hear, self.signed),
        ]
        return Mailroom(readers, DOMAIN)

    def _parse(self, _raw: bytes) -> Reading:
        return self.reading

    async def take(self, address: str, raw: bytes = b"Subject: x\r\n\r\n") -> str:
        return await self.room.arrived(address, Mail("", raw))


@pytest.mark.parametrize("folded", [str, str.upper], ids=["as it was", "in capitals"])
async def test_a_report_at_a_return_path_is_about_its_email_whatever_it_says(folded: Callable[[str], str]) -> None:
    about_another = BOUNCE._replace(return_path=LINKS.return_path(OTHER), message_id=f"<{OTHER}@x.example>")
    desk = Desk(Reading((about_another,)))
    assert (await desk.take(folded(str(LINKS.return_path(EMAIL))))).startswith("250")
    assert desk.heard == [(about_another, Proof("return_path", EMAIL))]


@pytest.mark.parametrize("why", ["auto_reply", "challenge", "ordinary", None])
async def test_what_reports_nothing_is_taken_and_counted(why: str | None) -> None:
    desk = Desk(Reading(dropped=why))
    assert (await desk.take(str(LINKS.return_path(EMAIL)))).startswith("250")
    assert (desk.heard, desk.counted) == ([], [(EMAIL, why or "unreadable")])


@pytest.mark.parametrize(
    "address",
    [
        str(STRANGER.return_path(EMAIL)),
        str(LINKS.return_path(EMAIL)).replace(DOMAIN, "other.example"),
        str(LINKS.return_path(EMAIL)).replace("b+", ""),
        str(LINKS.ways_out(LEAVING).mailto).removeprefix("mailto:"),
        f"postmaster@{DOMAIN}",
        "complaints@other.example",
        "",
    ],
    ids=["forged", "another domain", "without its mark", "another reader's", "nobody", "complaints elsewhere", "empty"],
)
async def test_an_address_that_is_not_ours_is_unknown(address: str) -> None:
    desk = Desk(Reading((BOUNCE,)))
    assert not desk.room.knows(address)
    assert (await desk.take(address)).startswith("550 5.1.1")
    assert desk.heard == []


@pytest.mark.parametrize(
    "address", [str(LINKS.return_path(EMAIL)), f"complaints@{DOMAIN}"], ids=["bounce", "complaint"]
)
async def test_what_cannot_be_recorded_comes_again(address: str) -> None:
    desk = Desk(Reading((BOUNCE,)), away=True)
    assert (await desk.take(address)).startswith("451")
    desk.away = False
    assert (await desk.take(address)).startswith("250")


def copy_of(links: Links, *, encoded: bool = False, redacted: bool = False) -> bytes:
    """Return what a complaint repeats of our mail."""
    url = links.ways_out(LEAVING).unsubscribe
    lines = [b"Return-Path: <%b>" % str(links.return_path(EMAIL)).encode()] if not redacted else []
    lines.append(b"List-Unsubscribe: <%b>" % url.encode())
    if encoded:
        # As quoted-printable does, in the middle of the token.
        lines = [line[:40] + b"=\r\n" + line[40:] for line in lines]
    return b"From: fbl@isp.example\r\n\r\nAbout your mail:\r\n" + b"\r\n".join(lines) + b"\r\n"


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "quoted-printable"])
@pytest.mark.parametrize("redacted", [False, True], ids=["whole", "redacted"])
@pytest.mark.parametrize("box", ["complaints", "abuse", "Complaints"])
async def test_a_complaint_that_shows_a_token_of_ours_is_believed(box: str, redacted: bool, encoded: bool) -> None:
    desk = Desk(Reading((COMPLAINT,)))
    raw = copy_of(LINKS, encoded=encoded, redacted=redacted)
    assert (await desk.take(f"{box}@{DOMAIN}", raw)).startswith("250")
    assert desk.heard == [(COMPLAINT, Proof("return_path", EMAIL))]


async def test_a_complaint_without_a_token_is_believed_where_a_trusted_domain_signed_it() -> None:
    desk = Desk(Reading((COMPLAINT,)), signer="arf.mail.yahoo.com")
    await desk.take(f"complaints@{DOMAIN}")
    assert desk.heard == [(COMPLAINT, Proof("dkim:arf.mail.yahoo.com"))]


async def test_a_complaint_for_which_nobody_vouches_is_kept_and_not_believed() -> None:
    desk = Desk(Reading((COMPLAINT,)))
    assert (await desk.take(f"complaints@{DOMAIN}", copy_of(STRANGER))).startswith("250")
    assert desk.heard == [(COMPLAINT, Proof(""))]


async def test_a_complaint_comes_again_where_nobody_can_say_who_signed_it() -> None:
    desk = Desk(Reading((COMPLAINT,)), deaf=True)
    assert (await desk.take(f"complaints@{DOMAIN}")).startswith("451")
    assert desk.heard == []


async def test_a_person_who_writes_to_the_complaints_is_told_that_nobody_reads_it() -> None:
    desk = Desk(Reading(dropped="ordinary"))
    assert (await desk.take(f"abuse@{DOMAIN}")).startswith("550 5.7.1")
    assert (await Desk(Reading(dropped="auto_reply")).take(f"abuse@{DOMAIN}")).startswith("250")


def test_of_a_thousand_forged_tokens_only_some_are_looked_at() -> None:
    forged = b"".join(b"b+%048d@x " % number for number in range(100_000)).replace(b"0", b"a")
    assert named_email(LINKS, forged + copy_of(LINKS)) is None


# --- who signed it


YAHOO = Signer("arf.mail.yahoo.com", "s1", keyring.generate(DkimAlgorithm.RSA))
EVIL = Signer("evil.example", "s1", keyring.generate(DkimAlgorithm.ED25519))
HEADERS: list[Line] = [("From", "feedback@arf.mail.yahoo.com"), ("Subject", "Complaint")]
BODY = b"A person complains.\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Nameserver]:
    with nameserver() as server:
        for signer in (YAHOO, EVIL):
            server.publish(signer.name, signer.record)
        yield server


def signed(signer: Signer, headers: Sequence[Line] = HEADERS) -> bytes:
    lines = [*signatures([signer], headers, BODY, datetime.now(UTC)), *headers]
    return "".join(f"{name}: {value}\r\n" for name, value in lines).encode() + b"\r\n" + BODY


@pytest.mark.parametrize(
    ("raw", "by"),
    [
        (signed(YAHOO), "arf.mail.yahoo.com"),
        (signed(YAHOO).replace(b"\r\n", b"\n"), "arf.mail.yahoo.com"),
        (signed(EVIL), None),
        (signed(EVIL).replace(b"d=evil.example", b"d=arf.mail.yahoo.com"), None),
        (signed(YAHOO).replace(b"complains", b"approves"), None),
        (signed(YAHOO).replace(b"feedback@", b"evil@"), None),
        (b"From: feedback@arf.mail.yahoo.com\r\n\r\n" + BODY, None),
        (signed(YAHOO).replace(b" b=", b" b=\xff"), None),
        (b"DKIM-Signature: v=1; d=arf.mail.yahoo.com\r\n" * 5000 + signed(YAHOO), None),
        (b"a" * 1_000_000, None),
        (b"a:" * 500_000 + b"\r\n\r\n", None),
    ],
    ids=[
        *("Yahoo", "bare line ends", "a stranger", "a stranger in its name", "changed", "another From", "nobody"),
        *("no base64", "5000 signatures", "one long word", "one long line"),
    ],
)
def test_who_signed_a_complaint(server: Nameserver, raw: bytes, by: str | None) -> None:
    began = time.monotonic()
    found = inbound.signer(raw, ("arf.mail.yahoo.com",), lambda name: published.certain_key(server.resolver, name))
    assert found == by
    assert time.monotonic() - began < 5


def test_only_trusted_domains_are_asked_for_their_keys() -> None:
    asked: list[str] = []
    assert inbound.signer(signed(EVIL), ("arf.mail.yahoo.com",), asked.append) is None
    assert asked == []


def test_a_key_that_is_not_there_and_a_server_that_is_silent_are_told_apart(server: Nameserver) -> None:
    assert published.certain_key(server.resolver, "none._domainkey.example.org") is None
    server.broken = True
    try:
        with pytest.raises(published.Unanswered):
            published.certain_key(server.resolver, YAHOO.name)
        assert published.public_key(server.resolver, YAHOO.name) is None
    finally:
        server.broken = False
