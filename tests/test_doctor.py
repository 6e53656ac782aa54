"""What the self-test of unsubscribing says of mail that arrived well, and of what relays do to it."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mailer.compose.dkim import Signer
from mailer.compose.headers import Line
from mailer.doctor import Verdict, holds, reading
from mailer.links import Links
from mailer.settings import Settings
from suppression.rules import Stream
from suppression.token import OptOut, Ring
from tests import commands
from tests.servers import free_port
from tests.signing import signatures
from tests.stories.served import Served, serving

RING = Ring("k1:" + "s" * 32)
LINKS = Links(Settings(public_url="https://mail.ringwise.example", return_path_domain="b.ringwise.example"), RING)
OPT_OUT = OptOut(1, b"f" * 16, Stream.PROMOTIONAL, "newsletter", b"e" * 16)
SIGNER = Signer("ringwise.example", "m1", Ed25519PrivateKey.generate())
WAYS = LINKS.ways_out(OPT_OUT)
HEADERS: list[Line] = [
    ("From", "Ringwise <hello@ringwise.example>"),
    ("Subject", "News"),
    ("List-Unsubscribe", f"<{WAYS.unsubscribe}>,\r\n <{WAYS.mailto}>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ("List-Id", '"News" <newsletter.ringwise.example>'),
]


def mail(headers: list[Line] = HEADERS, *, sign: bool = True) -> str:
    body = f"News. Leave: {WAYS.preferences}\r\n"
    own = signatures([SIGNER], headers, body.encode(), datetime(2026, 3, 1, tzinfo=UTC)) if sign else []
    return "".join(f"{name}: {value}\r\n" for name, value in [*own, *headers]) + "\r\n" + body


def said(raw: str, *, local: bool = False) -> dict[str, Verdict]:
    """Return what is not in order."""
    found = reading.examine(
        raw.encode(), RING, lambda _name: SIGNER.record, expected=WAYS.unsubscribe, local=local
    ).findings
    return {each.check: each.verdict for each in found if each.verdict is not Verdict.OK}


def test_mail_that_arrived_as_we_made_it_has_nothing_wrong() -> None:
    assert said(mail()) == {}
    found = reading.examine(mail().encode(), RING, lambda _: SIGNER.record, expected=None, local=False)
    assert (found.ways.url, found.ways.mailto, found.ways.opt_out) == (WAYS.unsubscribe, WAYS.mailto, OPT_OUT)
    token = reading.mailto_token(found.ways, RING)
    assert token is not None
    assert token.fingerprint == OPT_OUT.fingerprint


FAILED = Verdict.FAILED
BY_MAIL = "by mail, as Apple does"
LEFT_BY_MAIL = {
    "check": BY_MAIL,
    "verdict": "ok",
    "message": "the answer 250, the person has left; given back",
}


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        (
            lambda raw: raw.replace("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n", ""),
            "one List-Unsubscribe-Post",
        ),
        (
            lambda raw: raw.replace("\r\n\r\n", "\r\nList-Unsubscribe: <https://esp.example/x>\r\n\r\n", 1),
            "one List-Unsubscribe",
        ),
        (lambda raw: raw.replace(f"<{WAYS.unsubscribe}>", "<https://esp.example/track?u=9>"), "left as it was"),
        (lambda raw: raw.replace(f"<{WAYS.unsubscribe}>", "<https://esp.example/track?u=9>"), "our token"),
        (lambda raw: raw.replace("=One-Click", "=one-click"), "the one-click word"),
        (lambda raw: raw.replace("List-Unsubscribe: <", "List-Unsubscribe: see <"), "its form"),
        (lambda raw: raw.replace("<newsletter.", "<newsletter.of."), "DKIM"),
        (lambda raw: raw.replace("<newsletter.ringwise.example>", "<newsletter.other.example>"), "List-Id"),
        (lambda raw: raw.replace("https://mail", "http://mail"), "https"),
    ],
)
def test_what_a_relay_does_to_the_mail_is_found(change: Callable[[str], str], failed: str) -> None:
    assert said(change(mail())).get(failed) is FAILED


def test_a_signature_that_leaves_the_headers_out_does_not_count() -> None:
    bare = [line for line in HEADERS if not line[0].startswith("List-")]
    own = mail(bare).partition("From:")[0].replace("list-unsubscribe:list-unsubscribe-post:", "")
    assert said(own + mail(sign=False))["DKIM"] is FAILED
    assert said(mail(sign=False)) == {"DKIM": FAILED}
    # What never left the house was signed by nobody, and need not be.
    assert said(mail(sign=False), local=True) == {"DKIM": Verdict.WARNING}
    assert not holds(
        reading.examine(mail(sign=False).encode(), RING, lambda _: None, expected=None, local=False).findings
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with receiving(tmp_path_factory.mktemp("served")) as running:
        yield running


def receiving(folder: Path, protocol: str = "") -> AbstractContextManager[Served]:
    """Serve, and receive opt-outs by mail."""
    return serving(folder, return_path_domain="b.ringwise.example", inbound_listen=f"{protocol}127.0.0.1:{free_port()}")


def doctor(served: Served, *words: str, **settings: str) -> tuple[int, dict[str, object]]:
    env = {**served.env, **{f"MAILER_{name.upper()}": value for name, value in settings.items()}}
    done = commands.run("doctor", "unsubscribe", "--json", *words, env=env)
    return done.returncode, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


def test_the_whole_walk_over_a_running_server(served: Served) -> None:
    code, report = doctor(served)
    assert (code, report["ok"], report["examined"]) == (0, True, True), report
    found = {str(each["check"]): each for each in report["findings"]}  # type: ignore[attr-defined]
    posts = [each for check, each in found.items() if check.startswith("POST ")]
    assert len(posts) == 6
    assert all("the person has left; given back" in each["message"] for each in posts)
    assert found["opening changes nothing"]["verdict"] == "ok"
    assert found[BY_MAIL] == LEFT_BY_MAIL


def test_an_opt_out_by_mail_is_tried_over_lmtp_too_and_its_listener_is_missed(tmp_path: Path) -> None:
    with receiving(tmp_path, "lmtp://") as served:
        _, report = doctor(served)
        assert by_mail(report) == LEFT_BY_MAIL
        # As if `mailer inbound` did not run: what serves listens elsewhere.
        code, report = doctor(served, inbound_listen=f"127.0.0.1:{free_port()}")
        assert (code, by_mail(report)["verdict"]) == (1, "failed")
        assert "run `mailer inbound`" in by_mail(report)["message"]


def by_mail(report: dict[str, object]) -> dict[str, str]:
    findings: list[dict[str, str]] = report["findings"]  # type: ignore[assignment]
    [found] = [each for each in findings if each["check"] == BY_MAIL]
    return found


def test_a_mail_as_a_file_is_read_and_its_person_keeps_what_they_chose(served: Served, tmp_path: Path) -> None:
    code, report = doctor(served, "--to", "ann@example.org", "--only-read")
    assert code == 0
    with served.client("read", "suppressions") as client:
        inbox = served.env["MAILER_DATA_DIR"]
        from_inbox = raw_of(Path(inbox), str(report["email_id"]))
        file = tmp_path / "mail.eml"
        file.write_bytes(from_inbox)
        code, report = doctor(served, "--eml", str(file))
        # No server of a real mail is without https and a signature.
        assert code == 1
        failed = {each["check"] for each in report["findings"] if each["verdict"] == "failed"}  # type: ignore[attr-defined]
        assert failed == {"https", "DKIM"}
        asked = "/v1/suppressions/check?email=ann@example.org&stream=promotional&topic=newsletter"
        assert client.get(asked).json()["allowed"] is True
        file.write_bytes(from_inbox.replace(b"/u/", b"/u/x"))
        code, report = doctor(served, "--eml", str(file))
        assert code == 1
        assert not [each for each in report["findings"] if "POST" in each["check"]]  # type: ignore[attr-defined]


def raw_of(folder: Path, email_id: str) -> bytes:

    with sqlite3.connect(folder / "inbox.db") as connection:
        found = [raw for (raw,) in connection.execute("SELECT raw FROM source") if email_id.encode() in raw]
    return bytes(found[0])


def test_what_keeps_the_test_from_being_done_is_said(served: Served) -> None:
    relays = {f"{stream}_relay": "smtp://127.0.0.1:9?starttls=off" for stream in ("transactional", "promotional")}
    code, report = doctor(served, **relays)
    assert code == 2
    assert "--to" in str(report["said"])
    code, report = doctor(served, "--eml", "/nowhere.eml")
    assert code == 2
    served.run("suppression", "add", "bob@example.org", "--reason", "complaint")
    code, report = doctor(served, "--to", "bob@example.org")
    assert code == 1
    assert "complaint" in str(report["said"])
