"""DKIM keys: kept sealed, activated by what the DNS says, and chosen for each mail."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypedDict, Unpack

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from sqlmodel import Session, select

from mailer import keyring, published, tenancy
from mailer.compose.dkim import PrivateKey, Signer
from mailer.database import Database
from mailer.errors import ConfigurationError, Conflict, Invalid, NotFound
from mailer.keyring import Keyring, NotPublished
from mailer.models import DkimAlgorithm, DkimKey, Tenant
from mailer.published import Verdict
from mailer.sealing import Seals
from mailer.settings import Settings
from suppression.rules import Stream
from tests.nameserver import nameserver

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
T, P = Stream.TRANSACTIONAL, Stream.PROMOTIONAL
RSA, ED25519 = DkimAlgorithm.RSA, DkimAlgorithm.ED25519
PAIRS = {algorithm: keyring.generate(algorithm) for algorithm in DkimAlgorithm}
RING = Keyring(Seals("k1:" + "a" * 32, "dkim"))

# A key of 512 bits, which stands nowhere else.
SHORT = """-----BEGIN RSA PRIVATE KEY-----
MIIBOgIBAAJBAJtEeXoL75z7En119htDaYKX3WWmCoWA1G9Y1y2Db/mcZaWltZr4
wR2RMggXJL/q3F+C30XgsBMzteqtamRXsBcCAwEAAQJARfat8lPMjeUIqOXtls1i
jskVp0cReKTblKzokQan/0ZJSXmYeQYarFv2B6LWZfJCMrCoHDlfsa0iCfg2CZuU
QQIhAMpNGDhaZ+TzpcqMwOK7V5Y+BC3q0OKvZjNqEuT5DQ8hAiEAxHtQ2d+iZlUn
gIVb+qG398yr4GlKswBdI0qaZlWLcDcCIQCnNQGH0nF880VdHOlwfZfvPmMF8Mem
FYNLi6kCSDdbAQIgWkFvZXYGas2pJK+eDeal1I3PUnnrl4iOQDzv6hxXvkcCIBm2
GDHJK5d9C63+c+HP5WT+aZguFXFYykQYa1Fsby3T
-----END RSA PRIVATE KEY-----
"""


class Made(TypedDict, total=False):
    """What a test may say about a key."""

    algorithm: DkimAlgorithm
    stream: Stream | None
    selector: str | None
    tenant_id: int
    active: timedelta | None


def make(session: Session, domain: str, **made: Unpack[Made]) -> DkimKey:
    """Make a key that signs, unless `active` is None."""
    key = RING.add(
        session,
        made.get("tenant_id", 1),
        domain,
        PAIRS[made.get("algorithm", RSA)],
        selector=made.get("selector"),
        stream=made.get("stream"),
        now=NOW,
    )
    after = made.get("active", timedelta())
    if after is not None:
        keyring.activate(session, key, RING.signer(key), Verdict.MATCHES, NOW + after)
    return key


def found(session: Session) -> None:
    tenancy.prepare(session, Settings(), NOW)


def names(signers: Sequence[Signer]) -> list[str]:
    return [f"{signer.selector}@{signer.domain}" for signer in signers]


async def test_a_key_is_kept_sealed_and_signs_when_it_is_active(database: Database) -> None:
    def verb(session: Session) -> None:
        found(session)
        key = make(session, "Bücher.example", active=None)
        assert (key.domain, key.selector, key.algorithm) == ("xn--bcher-kva.example", "m20270301", RSA)
        pair = PAIRS[RSA].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        assert pair[30:60] not in key.private_key
        assert RING.usable(session, 1).signers(P, "xn--bcher-kva.example") == ()
        keyring.activate(session, key, RING.signer(key), Verdict.MATCHES, NOW)
        (signer,) = RING.usable(session, 1).signers(P, "xn--bcher-kva.example")
        assert signer.record == Signer("x.example", "s", PAIRS[RSA]).record
        keyring.retire(session, key, NOW)
        assert RING.usable(session, 1).signers(P, "xn--bcher-kva.example") == ()
        assert [each.retired_at for each in keyring.keys(session, 1)] == [NOW]

    await database.run(verb)


async def test_the_dns_or_the_operator_must_vouch_for_a_key(sqlite: Database) -> None:
    def verb(session: Session) -> None:
        found(session)
        key = make(session, "x.example", active=None)
        signer = RING.signer(key)
        with nameserver() as server:
            with pytest.raises(
                NotPublished, match=r"no TXT record at m20270301\._domainkey\.x\.example; publish there: v=DKIM1"
            ):
                keyring.activate(session, key, signer, published.check(server.resolver, signer), NOW)
            server.publish(signer.name, Signer("x.example", "m20270301", keyring.generate(RSA)).record)
            with pytest.raises(NotPublished, match=re.escape(signer.record)):
                keyring.activate(session, key, signer, published.check(server.resolver, signer), NOW)
            assert key.active_at is None
            server.publish(signer.name, signer.record)
            keyring.activate(session, key, signer, published.check(server.resolver, signer), NOW)
            assert key.active_at == NOW
        for verdict in (Verdict.REVOKED, Verdict.UNANSWERED):
            with pytest.raises(NotPublished):
                keyring.activate(session, make(session, "y.example", active=None), signer, verdict, NOW)
        vouched = make(session, "z.example", active=None)
        assert keyring.activate(session, vouched, RING.signer(vouched), None, NOW).active_at == NOW

    await sqlite.run(verb)


async def test_a_retired_key_does_not_come_back(sqlite: Database) -> None:
    def verb(session: Session) -> None:
        found(session)
        key = make(session, "x.example")
        keyring.retire(session, key, NOW)
        keyring.retire(session, key, NOW + timedelta(days=1))
        assert key.retired_at == NOW
        with pytest.raises(Conflict, match="is retired: make a new key with another selector"):
            keyring.activate(session, key, RING.signer(key), Verdict.MATCHES, NOW)

    await sqlite.run(verb)


async def test_the_streams_own_key_the_closer_domain_and_the_later_one_come_first(sqlite: Database) -> None:
    def verb(session: Session) -> None:
        found(session)
        day = timedelta(days=1)
        make(session, "x.example", selector="old", active=timedelta())
        make(session, "x.example", selector="new", active=day)
        make(session, "x.example", selector="ed", algorithm=ED25519)
        make(session, "news.x.example", selector="close")
        make(session, "x.example", selector="own", stream=P)
        make(session, "other.example", selector="other", active=2 * day)
        make(session, "x.example", selector="waiting", active=None)

        def who(stream: Stream, domain: str) -> set[str]:
            return set(names(RING.usable(session, 1).signers(stream, domain)))

        assert who(T, "x.example") == {"new@x.example", "ed@x.example"}
        assert who(P, "x.example") == {"own@x.example", "ed@x.example"}
        assert who(T, "news.x.example") == {"close@news.x.example", "ed@x.example"}
        assert who(T, "deep.news.x.example") == {"close@news.x.example", "ed@x.example"}
        assert who(T, "notx.example") == set()
        assert who(T, "example") == set()

    await sqlite.run(verb)


async def test_a_tenant_signs_with_its_own_keys_only(sqlite: Database) -> None:
    def verb(session: Session) -> None:
        found(session)
        other = tenancy.create_tenant(session, "acme", sender="a@x.example", now=NOW)
        assert other.id is not None
        make(session, "x.example")
        assert RING.usable(session, other.id).signers(P, "x.example") == ()
        with pytest.raises(NotFound):
            keyring.find(session, other.id, "x.example", "m20270301")
        with pytest.raises(Conflict, match=r"x\.example has a key m20270301 already: a selector is used once"):
            make(session, "x.example", tenant_id=other.id, selector="m20270301")
        assert keyring.find(session, 1, "X.example", "m20270301").tenant_id == 1

    await sqlite.run(verb)


async def test_selectors_of_one_day_do_not_meet(database: Database) -> None:
    def verb(session: Session) -> None:
        found(session)
        kinds: list[Made] = [{}, {}, {"stream": P}, {"stream": T}, {"algorithm": ED25519}, {}]
        made = [make(session, "x.example", **kind).selector for kind in kinds]
        assert made == ["m20270301", "m20270301-2", "p20270301", "t20270301", "m20270301e", "m20270301-3"]

    await database.run(verb)


@pytest.mark.parametrize(
    ("domain", "selector", "sentence"),
    [
        ("x", None, "domain: 'x' is not a domain such as example.org"),
        ("a b.example", None, "domain: 'a b.example' is not a domain such as example.org"),
        ("x.example", "A", "selector: must be 1 to 63 lower-case letters, digits and hyphens"),
        ("x.example", "a.b", "selector: must be 1 to 63 lower-case letters, digits and hyphens"),
        ("x.example", "a" * 64, "selector: must be 1 to 63 lower-case letters, digits and hyphens"),
    ],
)
async def test_names_that_cannot_be_are_refused(
    sqlite: Database, domain: str, selector: str | None, sentence: str
) -> None:
    def verb(session: Session) -> None:
        found(session)
        with pytest.raises(Invalid, match=f"^{re.escape(sentence)}$"):
            make(session, domain, selector=selector)

    await sqlite.run(verb)


async def test_a_key_that_does_not_open_is_left_out_and_said_once(
    sqlite: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def verb(session: Session) -> None:
        found(session)
        make(session, "x.example")
        other = Keyring(Seals("k2:" + "b" * 32, "dkim"))
        assert other.usable(session, 1).signers(P, "x.example") == ()
        assert other.usable(session, 1).signers(P, "x.example") == ()
        rotated = Keyring(Seals("k2:" + "b" * 32 + ",k1:" + "a" * 32, "dkim"))
        assert names(rotated.usable(session, 1).signers(P, "x.example")) == ["m20270301@x.example"]

    await sqlite.run(verb)
    assert len(caplog.messages) == 1
    assert "m20270301._domainkey.x.example of tenant 1 was sealed with the key k1" in caplog.messages[0]


async def test_a_row_that_is_moved_to_another_tenant_signs_nothing(sqlite: Database) -> None:
    def verb(session: Session) -> None:
        found(session)
        key = make(session, "x.example")
        session.add(Tenant(id=2, key="acme", name="Acme", created_at=NOW))
        session.flush()
        key.tenant_id = 2
        session.add(key)
        session.flush()
        fresh = Keyring(Seals("k1:" + "a" * 32, "dkim"))
        assert fresh.usable(session, 2).signers(P, "x.example") == ()
        assert len(session.exec(select(DkimKey)).all()) == 1

    await sqlite.run(verb)


# --- the key file


def pem(key: PrivateKey | ec.EllipticCurvePrivateKey, lock: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, lock or NoEncryption())


def chosen(folder: Path, data: bytes, **others: str) -> Settings:
    path = folder / "dkim.pem"
    path.write_bytes(data)
    named = {"dkim_domain": "x.example", "dkim_selector": "s1", "dkim_key_file": str(path)}
    return Settings(**{"data_dir": str(folder), **named, **others})


@pytest.mark.parametrize("algorithm", DkimAlgorithm)
async def test_the_key_file_signs_for_the_default_tenant_behind_kept_keys(
    sqlite: Database, tmp_path: Path, algorithm: DkimAlgorithm
) -> None:
    ring = Keyring.build(chosen(tmp_path, pem(PAIRS[algorithm]), from_="R <a@mail.x.example>"))

    def verb(session: Session) -> None:
        found(session)
        other = tenancy.create_tenant(session, "acme", sender="a@x.example", now=NOW)
        assert other.id is not None
        assert names(ring.usable(session, 1).signers(P, "mail.x.example")) == ["s1@x.example"]
        assert ring.usable(session, other.id).signers(P, "x.example") == ()
        key = ring.add(session, 1, "x.example", keyring.generate(algorithm), now=NOW)
        keyring.activate(session, key, ring.signer(key), Verdict.MATCHES, NOW)
        assert names(ring.usable(session, 1).signers(P, "x.example")) == [f"{key.selector}@x.example"]

    await sqlite.run(verb)


@pytest.mark.parametrize(
    ("verdict", "signs"),
    [
        (Verdict.MATCHES, True),
        (Verdict.UNANSWERED, True),
        (Verdict.DIFFERS, False),
        (Verdict.MISSING, False),
        (Verdict.REVOKED, False),
    ],
)
def test_a_key_file_that_the_dns_contradicts_signs_no_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, verdict: Verdict, signs: bool
) -> None:
    ring = Keyring.build(chosen(tmp_path, pem(PAIRS[ED25519])))
    assert ring.doubt(lambda _signer: verdict) is verdict
    assert (ring.file is not None) is signs
    assert any("v=DKIM1; k=ed25519; p=" in message for message in caplog.messages) is not signs
    assert (caplog.messages == []) is (verdict is Verdict.MATCHES)


def test_without_a_key_file_there_is_nothing_to_doubt(tmp_path: Path) -> None:
    assert Keyring.build(Settings(data_dir=str(tmp_path))).doubt(lambda _signer: Verdict.MISSING) is None


@pytest.mark.parametrize(
    ("data", "others", "sentence"),
    [
        (b"nonsense", {}, "MAILER_DKIM_KEY_FILE must hold one private key as PEM, RSA or ed25519, without a password"),
        (pem(ec.generate_private_key(ec.SECP256R1())), {}, "MAILER_DKIM_KEY_FILE must hold one private key as PEM"),
        (pem(PAIRS[ED25519], BestAvailableEncryption(b"x")), {}, "MAILER_DKIM_KEY_FILE must hold one private key"),
        (SHORT.encode(), {}, "an RSA key of 512 bits is too short: make one of 2048"),
        (pem(PAIRS[ED25519]), {"dkim_domain": "x"}, "'x' is not a domain such as example.org"),
        (pem(PAIRS[ED25519]), {"dkim_selector": "s s"}, "'s s' is not a selector"),
        (pem(PAIRS[ED25519]), {"dkim_key_file": "/nowhere"}, "MAILER_DKIM_KEY_FILE cannot be read: No such file"),
        (
            pem(PAIRS[ED25519]),
            {"from_": "a@y.example", "transactional_from": "a@z.example"},
            "MAILER_DKIM_DOMAIN must be the domain of MAILER_FROM (y.example, z.example) or one above it, not x.exam",
        ),
    ],
)
def test_a_key_file_that_cannot_sign_stops_the_start_with_a_sentence(
    tmp_path: Path, data: bytes, others: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        Keyring.build(chosen(tmp_path, data, **others))


def test_one_from_that_the_key_fits_is_enough(tmp_path: Path) -> None:
    others = {"from_": "a@y.example", "transactional_from": "a@x.example", "promotional_from": "malformed"}
    assert Keyring.build(chosen(tmp_path, pem(PAIRS[ED25519]), **others)).file is not None
