"""What needs no server: signatures, waits, what an answer means, and that every event has a type."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from mailer.status import Status
from mailer.webhooks import payloads, schedule, signing
from mailer.webhooks.schedule import Verdict

NOON = datetime(2027, 3, 1, 12, tzinfo=UTC)
ROOT = Path(__file__).parent.parent


def test_the_public_library_verifies_what_both_secrets_signed() -> None:
    old, new, body = signing.new_secret(), signing.new_secret(), b'{"type":"webhook.test"}'
    headers = signing.headers([new, old], "ev_1", body, datetime.now(UTC))
    for secret in (old, new):
        assert Webhook(signing.shown(secret)).verify(body, headers) == {"type": "webhook.test"}
    assert [len(each) for each in headers["webhook-signature"].split()] == [47, 47]
    with pytest.raises(Exception, match=r"(?i)signature"):
        Webhook(signing.shown(signing.new_secret())).verify(body, headers)


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_!!!", base64.b64encode(b"x" * 32).decode(), f"whsec_{base64.b64encode(b'x' * 23).decode()}"],
    ids=["empty", "bare", "not-base64", "no-prefix", "short"],
)
def test_a_secret_that_is_none_is_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_ and the base64 of 24 to 64 random bytes"):
        signing.parse(text)


def test_a_secret_survives_being_shown() -> None:
    secret = signing.new_secret()
    assert signing.parse(signing.shown(secret)) == secret


def test_ten_tries_take_75_hours() -> None:
    assert len(schedule.WAITS) == 9
    assert sum(schedule.WAITS, timedelta(0)) == timedelta(hours=75, minutes=35, seconds=5)
    assert schedule.next_try(10, NOON) is None
    for tries, wait in enumerate(schedule.WAITS, start=1):
        again = schedule.next_try(tries, NOON)
        assert again is not None
        assert 0.9 * wait <= again - NOON <= 1.1 * wait


def test_what_failed_together_does_not_come_back_together() -> None:
    assert len({schedule.next_try(2, NOON) for _ in range(20)}) > 10


def test_an_endpoint_may_ask_for_a_longer_wait_but_not_for_ever() -> None:
    assert schedule.next_try(1, NOON, timedelta(minutes=3)) == NOON + timedelta(minutes=3)
    assert schedule.next_try(1, NOON, timedelta(days=300)) == NOON + timedelta(hours=24)
    shorter = schedule.next_try(2, NOON, timedelta(seconds=1))
    assert shorter is not None
    assert shorter > NOON + timedelta(minutes=4)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("Mon, 01 Mar 2027 12:01:00 GMT", 60),
        ("999999999999999999999", 86400),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("٣", None),
    ],
    ids=["seconds", "date", "huge", "empty", "words", "negative", "arabic"],
)
def test_retry_after_is_seconds_or_a_date(text: str, seconds: int | None) -> None:
    wanted = timedelta(seconds=seconds) if seconds is not None else None
    assert schedule.retry_after({"retry-after": text}, NOON) == wanted


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, Verdict.TAKEN),
        (204, Verdict.TAKEN),
        (299, Verdict.TAKEN),
        (301, Verdict.FAILED),
        (304, Verdict.FAILED),
        (404, Verdict.FAILED),
        (410, Verdict.GONE),
        (429, Verdict.FAILED),
        (503, Verdict.FAILED),
        (None, Verdict.FAILED),
    ],
)
def test_an_answer_means(status: int | None, verdict: Verdict) -> None:
    assert schedule.verdict(status) is verdict


def test_an_endpoint_that_fails_is_left_alone_for_longer_and_longer_but_never_for_long() -> None:
    def rest(failures: int, seconds: float) -> float | None:
        found = schedule.rest(failures, NOON - timedelta(seconds=seconds), NOON)
        return found.total_seconds() if found else None

    assert [rest(4, 100), rest(5, 0), rest(40, 0), rest(5, 20), rest(9, 86400)] == [None, 1, 1, 10, 60]


def test_an_endpoint_is_given_up_after_five_days_of_failures() -> None:
    since = NOON - timedelta(days=5)
    assert schedule.hopeless(10, since, NOON)
    assert not schedule.hopeless(9, since, NOON)
    assert not schedule.hopeless(1000, since + timedelta(seconds=1), NOON)
    assert not schedule.hopeless(0, None, NOON)


def test_every_event_has_a_type_and_a_place_in_the_docs() -> None:
    page = (ROOT / "docs" / "webhooks.md").read_text()
    assert [kind for kind in payloads.MESSAGES if f"`{kind}`" not in page] == []
    told = {f"email.{status}" for status in Status} - {"email.scheduled", "email.held", "email.sending"}
    assert told <= set(payloads.KINDS)
    # Whatever the program writes as an event, an endpoint can ask for.
    # Names of the audit log and of page templates look like them.
    others = {"dashboard", "audit.py"}
    files = [path for path in (ROOT / "mailer").rglob("*.py") if others.isdisjoint(path.parts)]
    sources = "".join(path.read_text() for path in files)
    written = set(re.findall(r'"((?:email|suppression|consent|campaign)\.[a-z]+)"', sources))
    assert written - {"campaign.resumed"} <= set(payloads.KINDS)
