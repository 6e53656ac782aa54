"""DKIM: the RFCs' own examples, and what a verifier that is not ours says of our mail."""

import base64
import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mailer.compose.dkim import ALWAYS, ED25519, NAME, RSA, Signer, relaxed_body, relaxed_headers
from mailer.compose.headers import Line, serialized
from mailer.compose.letter import Letter, Promotional, Recipient, Sender, Transactional
from mailer.compose.mime import Attachment
from mailer.relays import parse_relay
from tests.signing import signatures

if TYPE_CHECKING:
    from tests.compose.conftest import Make

#: Verifiers refuse what was signed in their future.
AT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)

# The keys that the RFCs publish.
RFC_6376_RSA = b"""-----BEGIN RSA PRIVATE KEY-----
MIICXwIBAAKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFC
jxOCKG9v3b4jYfcTNh5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gb
to/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB
AoGBALmn+XwWk7akvkUlqb+dOxyLB9i5VBVfje89Teolwc9YJT36BGN/l4e0l6QX
/1//6DWUTB3KI6wFcm7TWJcxbS0tcKZX7FsJvUz1SbQnkS54DJck1EZO/BLa5ckJ
gAYIaqlA9C0ZwM6i58lLlPadX/rtHb7pWzeNcZHjKrjM461ZAkEA+itss2nRlmyO
n1/5yDyCluST4dQfO8kAB3toSEVc7DeFeDhnC1mZdjASZNvdHS4gbLIA1hUGEF9m
3hKsGUMMPwJBAPW5v/U+AWTADFCS22t72NUurgzeAbzb1HWMqO4y4+9Hpjk5wvL/
eVYizyuce3/fGke7aRYw/ADKygMJdW8H/OcCQQDz5OQb4j2QDpPZc0Nc4QlbvMsj
7p7otWRO5xRa6SzXqqV3+F0VpqvDmshEBkoCydaYwc2o6WQ5EBmExeV8124XAkEA
qZzGsIxVP+sEVRWZmW6KNFSdVUpk3qzK0Tz/WjQMe5z0UunY9Ax9/4PVhp/j61bf
eAYXunajbBSOLlx4D+TunwJBANkPI5S9iylsbLs6NkaMHV6k5ioHBBmgCak95JGX
GMot/L2x0IYyMLAz6oLWh2hm7zwtb0CgOrPo1ke44hFYnfc=
-----END RSA PRIVATE KEY-----
"""
RFC_8463_RSA = b"""-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
"""
RFC_8463_ED25519 = base64.b64decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=")
BODY_HASH = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="


def mail(lines: Sequence[Line], body: bytes) -> bytes:
    return f"{serialized(lines)}\r\n".encode() + body


def rsa_key(pem: bytes) -> RSAPrivateKey:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, RSAPrivateKey)
    return key


SIGNERS = {
    RSA: Signer("ringwise.example", "m20270301", generate_private_key(65537, 2048)),
    ED25519: Signer("ringwise.example", "m20270301e", Ed25519PrivateKey.generate()),
}
BOTH = list(SIGNERS.values())


def signed(letter: Letter, signers: Sequence[Signer], rewritten: frozenset[str] = frozenset()) -> Letter:
    drafts = letter.drafts(signers, AT, rewritten=rewritten)
    return letter.signed([draft.line(draft.signature()) for draft in drafts])


class Verifier(dkim.DKIM):  # type: ignore[misc]
    """dkimpy; the bare check of an ed25519 signature, for which it wants PyNaCl, is done by `cryptography`."""

    def __init__(self, raw: bytes, signers: Sequence[Signer]) -> None:
        """Publish the records of these signers."""
        super().__init__(raw)
        self.published = {f"{signer.name}.".encode(): signer.record.encode() for signer in signers}

    def verify_sig(self, sig: Mapping[bytes, bytes], include_headers: list[bytes], header: object, _: object) -> bool:
        """Verify one signature."""
        if sig[b"a"] == RSA.encode():
            return bool(super().verify_sig(sig, include_headers, header, self.found))
        record = self.found(sig[b"s"] + b"._domainkey." + sig[b"d"] + b".").decode()
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(record.rpartition("p=")[2]))
        self.pk, self.keysize, self.ktag, self.seqtlsrpt = (key := Checked(public)), 256, b"ed25519", False
        return bool(super().verify_sig_process(sig, include_headers, header, self.found)) and key.holds

    def found(self, name: bytes, timeout: int = 5) -> bytes:
        """Return a record, as a resolver would."""
        return self.published[name]


class Checked:
    """An ed25519 key as dkimpy calls it."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        """Take the key."""
        self.key, self.holds = key, False

    def verify(self, digest: bytes, signature: bytes) -> None:
        """Note whether the signature is of this digest; what PyNaCl would raise has no name without it."""
        with suppress(InvalidSignature):
            self.key.verify(signature, digest)
            self.holds = True


def verified(raw: bytes, signers: Sequence[Signer] = BOTH) -> list[bool]:
    """Return what the verifier says of each signature, the topmost first."""
    count = len(re.findall(rb"(?im)^dkim-signature:", raw.partition(b"\r\n\r\n")[0]))
    verdicts = []
    for index in range(count):
        try:
            verdicts.append(bool(Verifier(raw, signers).verify(index)))
        except dkim.ValidationError:
            verdicts.append(False)
    return verdicts


def tags(line: Line) -> dict[str, str]:
    return {
        name.strip(): re.sub(r"\s+", "", value)
        for name, _, value in (part.partition("=") for part in line[1].split(";"))
    }


# --- the examples of the RFCs


def test_canonical_forms_of_rfc_6376_section_3_4_5() -> None:
    headers = [("A", " X"), ("B", " Y\t\r\n\tZ  ")]
    assert relaxed_headers(headers) == b"a:X\r\nb:Y Z\r\n"
    assert relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"


@pytest.mark.parametrize(
    ("body", "canonical"),
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"\r\n\r\n\r\n", b""),
        (b" \t\r\n \r\n", b""),
        (b"x", b"x\r\n"),
        (b"x \t", b"x\r\n"),
        (b"x\r\n", b"x\r\n"),
        (b"x\r\n\r\n", b"x\r\n"),
        (b"x\r\n \r\n\t\r\n", b"x\r\n"),
        (b"\r\n\r\nx", b"\r\n\r\nx\r\n"),
        (b"  x  y\t\tz \r\n", b" x y z\r\n"),
        (b" \t \t \t x\r\n", b" x\r\n"),
        (b"a  " * 3 + b"\r\n\r\nb \r\n", b"a a a\r\n\r\nb\r\n"),
    ],
)
def test_relaxed_bodies(body: bytes, canonical: bytes) -> None:
    assert relaxed_body(body) == canonical


def test_the_hash_of_an_empty_body_is_that_of_rfc_6376_section_3_4_4() -> None:
    (line,) = signatures([SIGNERS[ED25519]], [("From", "a@ringwise.example")], b"", AT)
    assert tags(line)["bh"] == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_the_signature_of_rfc_6376_appendix_a_is_made_again() -> None:
    """It is simple/simple, so that its canonical form stands here; as errata 3192 and 4926 mend it."""
    lines = (
        b"Received: from client1.football.example.com  [192.0.2.1]\r\n"
        b"      by submitserver.example.com with SUBMISSION;\r\n"
        b"      Fri, 11 Jul 2003 21:01:54 -0700 (PDT)\r\n"
        b"From: Joe SixPack <joe@football.example.com>\r\n"
        b"To: Suzie Q <suzie@shopping.example.net>\r\n"
        b"Subject: Is dinner ready?\r\n"
        b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
        b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
        b"DKIM-Signature: v=1; a=rsa-sha256; s=brisbane; d=example.com;\r\n"
        b"      c=simple/simple; q=dns/txt; i=joe@football.example.com;\r\n"
        b"      h=Received : From : To : Subject : Date : Message-ID;\r\n"
        b"      bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
        b"      b=;"
    )
    signature = base64.b64encode(Signer("example.com", "brisbane", rsa_key(RFC_6376_RSA)).sign(lines)).decode()
    assert signature == (
        "AuUoFEfDxTDkHlLXSZEpZj79LICEps6eda7W3deTVFOk4yAUoqOB4nujc7YopdG5dWLSdNg6xNAZpOPr+kHxt1IrE+NahM6L/LbvaHut"
        "KVdkLLkpVaVVQPzeRDI009SO2Il5Lu7rDNH6mZckBdrIx0orEtZV4bmp/YzhwvcubU4="
    )


RFC_8463_HEADERS = [
    ("From", "Joe SixPack <joe@football.example.com>"),
    ("To", "Suzie Q <suzie@shopping.example.net>"),
    ("Subject", "Is dinner ready?"),
    ("Date", "Fri, 11 Jul 2003 21:00:37 -0700 (PDT)"),
    ("Message-ID", "<20030712040037.46341.5F8J@football.example.com>"),
]
RFC_8463_BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"


@pytest.mark.parametrize(
    ("algorithm", "selector", "listed", "signature"),
    [
        (
            ED25519,
            "brisbane",
            "from : to :\r\n subject : date : message-id : from : subject : date",
            "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==",
        ),
        (
            RSA,
            "test",
            "from : to : subject :\r\n date : message-id : from : subject : date",
            (
                "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGd"
                "aSGsgeefOsk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8="
            ),
        ),
    ],
)
def test_the_signatures_of_rfc_8463_appendix_a_are_made_again(
    algorithm: str, selector: str, listed: str, signature: str
) -> None:
    key = rsa_key(RFC_8463_RSA) if algorithm == RSA else Ed25519PrivateKey.from_private_bytes(RFC_8463_ED25519)
    signer = Signer("football.example.com", selector, key)
    own = (
        f"v=1; a={algorithm}; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n"
        f" q=dns/txt; s={selector}; t=1528637909; h={listed};\r\n bh={BODY_HASH};\r\n b="
    )
    assert base64.b64encode(hashlib.sha256(relaxed_body(RFC_8463_BODY)).digest()).decode() == BODY_HASH
    block = relaxed_headers([*RFC_8463_HEADERS, (NAME, own)]).removesuffix(b"\r\n")
    assert base64.b64encode(signer.sign(block)).decode() == signature
    raw = mail([(NAME, own + signature), *RFC_8463_HEADERS], RFC_8463_BODY)
    assert verified(raw, [signer]) == [True]


# --- our mail, and a verifier that is not ours


SPACES = (" ", "  ", "\t", " \t ", "\r\n ", "\r\n\t", " \r\n  ")
WORDS = ("Hello", "news", "of", "the", "week:", "50 %", "a;b=c", "<b>", "=3D", "ß", "Привіт", "x" * 60, ".", "--")
NAMES = (
    *("Subject", "Reply-To", "Cc", "Message-ID", "MIME-Version", "Content-Type", "List-Id", "List-Unsubscribe"),
    *("List-Unsubscribe-Post", "Feedback-ID", "Auto-Submitted", "X-Own", "Precedence", "CFBL-Address", "Date"),
)


def fuzzed(chance: random.Random) -> tuple[list[Line], bytes]:
    """Return headers in any order, some twice, folded anywhere, and a body of odd lines that ends in CRLF."""

    def text(most: int, spaces: Sequence[str]) -> str:
        words = [chance.choice(WORDS) for _ in range(chance.randrange(most))]
        return "".join(word + chance.choice(spaces) for word in words)

    names = [chance.choice(NAMES) for _ in range(chance.randrange(12))]
    headers = [("From", "Ringwise <hello@ringwise.example>"), ("To", "ann@example.org")]
    headers += [(name, f"v{text(12, SPACES)}".rstrip()) for name in names]
    chance.shuffle(headers)
    lines = [text(9, (" ", " ", "  ", "\t", " \t", "")) for _ in range(chance.randrange(40))]
    return headers, "".join([f"{line}\r\n" for line in lines]).encode() + b"\r\n" * chance.randrange(4)


def test_a_stranger_verifies_5000_fuzzed_mails() -> None:
    chance = random.Random(8463)
    for number in range(5000):
        headers, body = fuzzed(chance)
        signers = [BOTH, BOTH[::-1], BOTH[:1], BOTH[1:]][number % 4]
        lines = signatures(signers, headers, body, AT)
        assert [tags(line)["a"] for line in lines] == sorted((each.algorithm for each in signers), reverse=True)
        raw = mail([*lines, *headers], body)
        assert verified(raw) == [True] * len(lines), raw
        assert max(map(len, serialized(lines).split("\r\n"))) <= 78


@pytest.fixture(params=["transactional", "promotional"])
def raw(request: pytest.FixtureRequest, make: "Make", promotional: Promotional) -> bytes:
    """A signed mail of each stream, by the real composer."""
    order = make(
        purpose=promotional if request.param == "promotional" else Transactional(),
        subject="Привіт, це тема листа, яка така довга, що складається",
        html="<p>Hello  <b>you</b>,</p>\n\n    <p>indented\tand tabbed</p>\n",
        sender=Sender("hello@ringwise.example", "Ringwise"),
        recipient=Recipient("ann@example.org", "Ann Example"),
        cc=(Recipient("bob@example.org"),),
        reply_to=(Recipient("help@ringwise.example", "Help"),),
        extra_headers=(("X-Own", "mine"), ("References", "<a@example.org>")),
        attachments=(Attachment("a.pdf", b"%PDF" * 1000, "application/pdf"),),
    )
    letter = signed(order.compose(), BOTH)
    assert letter.headers[0][0] == letter.headers[1][0] == NAME
    return letter.to_bytes()


def test_h_names_everything_that_speaks_for_us_once_more_than_it_stands(raw: bytes) -> None:
    block = raw.partition(b"\r\n\r\n")[0].decode()
    unfolded = re.sub(r"\r\n[ \t]+", " ", block).split("\r\n")
    names = [line.partition(":")[0].lower() for line in unfolded]
    for line in unfolded[:2]:
        listed = tags((NAME, line.partition(":")[2]))["h"].split(":")
        for name in {*names, *ALWAYS} - {"dkim-signature", "x-own"}:
            assert listed.count(name) == names.count(name) + 1, name
        # RFC 8058 section 4: both, or no mail program offers the way out (R1.8).
        assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(listed)
        assert not {"received", "return-path", "bcc", "dkim-signature", "x-own"} & set(listed)
        assert not {"l", "z", "x"} & tags((NAME, line.partition(":")[2])).keys()
        assert tags((NAME, line.partition(":")[2]))["t"] == str(int(AT.timestamp()))


def test_what_relays_do_to_spaces_does_no_harm(raw: bytes) -> None:
    assert verified(raw) == [True, True]
    head, _, body = raw.partition(b"\r\n\r\n")
    folded = re.sub(rb"(?<=[a-z>,;]) (?=[A-Za-z<])", b" \r\n\t ", head)
    assert folded != head
    unfolded = re.sub(rb"\r\n[ \t]+", b" ", head)
    named = re.sub(rb"(?m)^(Subject|FROM|Date): ", lambda found: found[1].lower() + b":\t ", head)
    for changed in (folded, unfolded, named, b"Received: from a.example\r\nX-Spam: no\r\n" + head):
        assert verified(changed + b"\r\n\r\n" + body) == [True, True], changed
    for changed in (body.replace(b"\r\n", b" \t\r\n"), body + b"\r\n\r\n \r\n", body.replace(b" ", b" \t ")):
        assert changed != body
        assert verified(head + b"\r\n\r\n" + changed) == [True, True]


@pytest.mark.parametrize(
    "added",
    [
        b"From: Mallory <m@evil.example>",
        b"Subject: Your account",
        b"To: somebody@example.net",
        b"Date: Mon, 01 Mar 2027 10:30:00 +0000",
        b"Reply-To: m@evil.example",
        b"Content-Type: text/html",
        b"List-Unsubscribe: <https://evil.example/>",
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        b"Message-ID: <1@evil.example>",
        b"MIME-Version: 1.0",
        b"Feedback-ID: a:b:c:evil0",
    ],
)
def test_nobody_adds_a_header_that_speaks_for_us(raw: bytes, added: bytes) -> None:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert verified(added + b"\r\n" + raw) == [False, False]
    assert verified(head + b"\r\n" + added + b"\r\n\r\n" + body) == [False, False]


def test_a_changed_body_or_header_fails(raw: bytes) -> None:
    assert verified(raw + b"One more line.\r\n") == [False, False]
    assert verified(raw.replace(b"Ann Example", b"Eve Example")) == [False, False]
    assert verified(raw.replace(b"auto-generated", b"no")) == [False, False]


def test_what_a_provider_rewrites_is_not_signed(make: "Make", promotional: Promotional) -> None:
    rewritten = parse_relay("smtp://smtp.ses.example?provider=ses", "X").rewritten
    letter = signed(make(purpose=promotional).compose(), BOTH, rewritten=rewritten)
    raw = letter.to_bytes()
    changed = re.sub(rb"\r\nMessage-ID: [^\r]+", b"\r\nMessage-ID: <0102@email.ses.example>", raw)
    changed = re.sub(rb"\r\nDate: [^\r]+", b"\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000", changed)
    assert changed != raw
    assert verified(b"Feedback-ID: 1.eu-west-1.abc:AmazonSES\r\n" + changed) == [True, True]
    assert verified(changed.replace(b"\r\nSubject:", b"\r\nSubject: Not")) == [False, False]


def test_a_letter_without_signers_stays_as_it_is(make: "Make") -> None:
    letter = make().compose()
    assert signed(letter, []) is letter


# --- keys and their records


def test_the_record_is_what_verifiers_read_and_a_zone_file_holds() -> None:
    rsa, ed25519 = BOTH
    assert rsa.name == "m20270301._domainkey.ringwise.example"
    assert rsa.record.startswith("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A")
    assert len(ed25519.record.rpartition("p=")[2]) == 44
    for signer in BOTH:
        strings = re.findall(r'"([^"]*)"', signer.zone)
        assert "".join(strings) == signer.record
        assert max(map(len, strings)) <= 255
        assert signer.zone.startswith(f"{signer.name}. IN TXT (\n")


@pytest.mark.parametrize(
    ("domain", "selector", "sentence"),
    [
        ("example", "s", "'example' is not a domain such as example.org"),
        ("exa mple.org", "s", "'exa mple.org' is not a domain such as example.org"),
        ("x.example;", "s", "'x.example;' is not a domain such as example.org"),
        ("x.example", "s s", "'s s' is not a selector: letters, digits and hyphens"),
        ("x.example", "", "'' is not a selector: letters, digits and hyphens"),
        (".".join(["a" * 60] * 4), "s", "is longer than the DNS allows"),
    ],
)
def test_names_that_the_dns_cannot_hold_are_refused(domain: str, selector: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Signer(domain, selector, Ed25519PrivateKey.generate())


def test_long_names_are_folded() -> None:
    domain = ".".join(["a" * 60] * 3 + ["example"])
    signer = Signer(domain, "s" * 50, Ed25519PrivateKey.generate())
    (line,) = signatures([signer], [("From", f"a@{domain}")], b"x\r\n", AT)
    assert max(map(len, serialized([line]).split("\r\n"))) <= 998
    assert verified(mail([line, ("From", f"a@{domain}")], b"x\r\n"), [signer]) == [True]
