"""The JSON for any other provider: signed as Standard Webhooks say, one event or many, a sentence for what is wrong."""

import base64
from datetime import datetime, timedelta

import pytest

from mailer.errors import Forbidden
from mailer.feedback.inbound.providers import Unreadable, generic
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from tests.providers import signing
from tests.providers.payloads import ANN, AT, EMAIL, MESSAGE_ID
from tests.providers.signing import NOW, SECRET, Json

read = generic.reader([b"another secret of some octets", base64.b64decode(SECRET.removeprefix("whsec_"))])
EVENT: Json = {
    "kind": "bounced",
    "email_id": EMAIL,
    "recipient": ANN,
    "hard": True,
    "category": "invalid_recipient",
    "status": "5.1.1",
    "diagnostic": "550 5.1.1 user unknown",
    "at": AT,
    "event_id": "mine-1",
    "unknown": {"is": "ignored"},
}


def test_an_event_as_the_document_shows_it() -> None:
    (told,) = read(signing.generic(EVENT), NOW).told
    report, proof = told
    assert proof == Proof("provider:generic", EMAIL)
    assert report == Report(
        Kind.BOUNCED,
        Category.INVALID_RECIPIENT,
        hard=True,
        recipient=ANN,
        status="5.1.1",
        diagnostic="550 5.1.1 user unknown",
        at=datetime.fromisoformat(AT),
        source="generic",
        rule="generic",
        event_id="mine-1",
    )


@pytest.mark.parametrize("kind", list(Kind))
def test_every_kind_can_be_told(kind: Kind) -> None:
    (told,) = read(signing.generic({"kind": kind, "message_id": MESSAGE_ID, "recipient": ANN}), NOW).told
    assert (told[0].kind, told[0].message_id, told[0].hard) == (kind, f"<{MESSAGE_ID}>", False)


def test_only_a_bounce_is_hard() -> None:
    (told,) = read(signing.generic({**EVENT, "kind": "deferred"}), NOW).told
    assert not told[0].hard


def test_an_event_without_an_id_has_that_of_the_request_and_its_place() -> None:
    event = {name: value for name, value in EVENT.items() if name != "event_id"}
    batch = read(signing.generic([event, event], own="msg_7"), NOW)
    assert [report.event_id for report, _ in batch.told] == ["msg_7:0", "msg_7:1"]


FLAWS: list[tuple[object, str]] = [
    (7, "must be an object"),
    ({**EVENT, "kind": "exploded"}, "kind must be one of bounced, "),
    ({**EVENT, "kind": ["bounced"]}, "kind must be"),
    ({**EVENT, "category": "odd"}, "category must be one of invalid_recipient, "),
    ({**EVENT, "category": {}}, "category must be"),
    ({**EVENT, "hard": "yes"}, "hard must be true or false"),
    ({**EVENT, "at": "yesterday"}, "at must be a time"),
    ({**EVENT, "at": 1e300}, "at must be a time"),
    ({**EVENT, "email_id": "em_1"}, "email_id must be"),
    ({**EVENT, "recipient": "nobody"}, "recipient must be an address"),
    ({"kind": "bounced", "recipient": ANN}, "must say which email"),
]


@pytest.mark.parametrize(("event", "why"), FLAWS, ids=range(len(FLAWS)))
def test_what_is_wrong_with_an_event_is_a_sentence_and_the_others_count(event: object, why: str) -> None:
    batch = read(signing.generic([EVENT, event]), NOW)
    assert len(batch.told) == 1
    assert batch.flaws[0].startswith(f"[1]: {why}" if "which" not in why else "[1]: one of")
    assert why in batch.flaws[0]
    with pytest.raises(Unreadable, match=why):
        read(signing.generic(event), NOW)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_2"},
        {"webhook-id": ""},
        {"webhook-timestamp": "1777896001"},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2,AAAA"},
        {"webhook-signature": "v1a,AAAA"},
        {"webhook-signature": "v1,ü"},
    ],
    ids=range(9),
)
def test_a_request_that_was_changed_is_refused(changed: dict[str, str]) -> None:
    arrival = signing.generic(EVENT)
    with pytest.raises(Forbidden, match="webhook-signature"):
        read(arrival._replace(headers={**arrival.headers, **changed}), NOW)
    with pytest.raises(Forbidden):
        read(arrival._replace(body=arrival.body + b" "), NOW)


@pytest.mark.parametrize(("minutes", "taken"), [(-4, True), (-6, False), (4, True), (6, False)])
def test_clocks_may_differ_by_five_minutes(minutes: int, taken: bool) -> None:
    arrival = signing.generic(EVENT, NOW + timedelta(minutes=minutes))
    if taken:
        assert read(arrival, NOW).told
    else:
        with pytest.raises(Forbidden, match="clocks"):
            read(arrival, NOW)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 3000, b"[" + b"{}," * 5001 + b"{}]"], ids=range(4))
def test_a_signed_body_that_is_no_json_of_ours_is_a_sentence(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read(signing.generic(body), NOW)


def test_no_events_are_none() -> None:
    assert read(signing.generic([]), NOW).told == ()
