import pytest

from suppression import rules
from suppression.rules import Ender, Reason, Scope, ScopeError, Stream, Topic

P, T = Stream.PROMOTIONAL, Stream.TRANSACTIONAL
NEWS = Topic("newsletter", P, True)
LEADS = Topic("new-lead", T, True)
INVOICE = Topic("invoice", T, False)

#: reason, scope, then: promotional without topic, newsletter, transactional without topic, new-lead (may be left),
#: invoice (may not be left). x = forbidden.
TABLE = """
unsubscribe  all                   x x . x .
unsubscribe  stream:promotional    x x . . .
unsubscribe  topic:newsletter      . x . . .
unsubscribe  topic:new-lead        . . . x .
unsubscribe  topic:invoice         . . . . .
unsubscribe  topic:surveys         . . . . .
complaint    stream:promotional    x x . . .
hard_bounce  all                   x x x x x
invalid      all                   x x x x x
soft_bounce  stream:promotional    x x . . .
snooze       stream:promotional    x x . . .
manual       all                   x x x x x
manual       stream:promotional    x x . . .
manual       stream:transactional  . . x x x
manual       topic:newsletter      . x . . .
manual       topic:new-lead        . . . x .
manual       topic:invoice         . . . . x
"""
ASKED: list[tuple[Stream, Topic | None]] = [(P, None), (P, NEWS), (T, None), (T, LEADS), (T, INVOICE)]


@pytest.mark.parametrize("row", TABLE.strip().splitlines())
def test_the_policy_reads_as_the_table_says(row: str) -> None:
    reason, scope, *marks = row.split()
    forbidden = [rules.blocks(Reason(reason), scope, stream, topic) for stream, topic in ASKED]
    assert forbidden == [mark == "x" for mark in marks]


@pytest.mark.parametrize("scope", ["all", "stream:promotional", "stream:transactional", "topic:newsletter"])
@pytest.mark.parametrize("reason", [Reason.HARD_BOUNCE, Reason.INVALID])
def test_a_dead_mailbox_gets_nothing_whatever_the_scope(reason: Reason, scope: str) -> None:
    assert all(rules.blocks(reason, scope, stream, topic) for stream, topic in ASKED)


@pytest.mark.parametrize("scope", ["all", "stream:promotional", "stream:transactional", "topic:new-lead"])
@pytest.mark.parametrize("reason", [Reason.COMPLAINT, Reason.SOFT_BOUNCE, Reason.SNOOZE])
def test_a_complaint_a_soft_bounce_and_a_snooze_never_stop_transactional_mail(reason: Reason, scope: str) -> None:
    assert not any(rules.blocks(reason, scope, T, topic) for topic in (None, LEADS, INVOICE))
    assert rules.blocks(reason, scope, P, NEWS)


def test_every_reason_stands_in_the_policy_once() -> None:
    assert sorted(rule.reason for rule in rules.RULES) == sorted(Reason)
    assert [rules.strictness(rule.reason) for rule in rules.RULES] == list(range(len(Reason)))


def test_each_reason_is_ended_by_whom_the_policy_names() -> None:
    enders = {reason: {ender for ender in Ender if rules.may_end(reason, ender)} for reason in Reason}
    assert enders == {
        Reason.UNSUBSCRIBE: {Ender.PERSON},
        Reason.COMPLAINT: {Ender.PERSON},
        Reason.HARD_BOUNCE: {Ender.OPERATOR},
        Reason.INVALID: {Ender.OPERATOR},
        Reason.SOFT_BOUNCE: {Ender.TIME, Ender.DELIVERY},
        Reason.SNOOZE: {Ender.TIME, Ender.PERSON},
        Reason.MANUAL: {Ender.OPERATOR},
    }


def test_a_reason_stands_only_with_its_scopes() -> None:
    scopes = [rules.ALL, rules.STREAM_PROMOTIONAL, rules.STREAM_TRANSACTIONAL, rules.topic_scope("surveys")]
    allowed = {reason: [scope for scope in scopes if rules.may_stand(reason, scope)] for reason in Reason}
    assert allowed[Reason.UNSUBSCRIBE] == ["all", "stream:promotional", "topic:surveys"]
    assert allowed[Reason.MANUAL] == scopes
    assert allowed[Reason.HARD_BOUNCE] == allowed[Reason.INVALID] == ["all"]
    assert allowed[Reason.COMPLAINT] == allowed[Reason.SNOOZE] == allowed[Reason.SOFT_BOUNCE] == ["stream:promotional"]


@pytest.mark.parametrize(
    "text", ["all", "stream:promotional", "stream:transactional", "topic:a", "topic:0-b", "topic:" + "a" * 40]
)
def test_a_scope_is_read_as_it_is_written(text: str) -> None:
    assert rules.parse_scope(text) == Scope(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ALL",
        "all ",
        "stream:",
        "stream:other",
        "topic:",
        "topic:-a",
        "topic:A",
        "topic:a b",
        "topic:" + "a" * 41,
        "topic:a\n",
    ],
)
def test_a_malformed_scope_is_refused_with_one_sentence(text: str) -> None:
    with pytest.raises(ScopeError) as refusal:
        rules.parse_scope(text)
    assert str(refusal.value).isprintable()
