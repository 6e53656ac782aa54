"""The decision in SQL and in Python, over the whole policy."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Boolean,
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    insert,
    make_url,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from suppression import entries, rules
from suppression.entries import Entry, NewEntry, Question, new_id
from suppression.rules import Ender, Origin, Reason, Scope, Stream, Topic

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(days=1), NOW - timedelta(days=1)
P, T = Stream.PROMOTIONAL, Stream.TRANSACTIONAL
ANN, BOB = b"a" * 16, b"b" * 16
NEWS = Topic("news", P, True)
SCOPES = ["all", "stream:promotional", "stream:transactional", "topic:news", "topic:leads"]
MAIL: list[tuple[Stream, Topic | None]] = [
    (stream, None if key is None else Topic(key, stream, may_leave))
    for stream, key, may_leave in product(Stream, [None, "news", "leads"], [True, False])
    if key is not None or not may_leave
]
MAILS = Table(
    "mails",
    MetaData(),
    Column("tenant_id", Integer),
    Column("fingerprint", LargeBinary),
    Column("stream", String),
    Column("topic", String),
    Column("may_leave", Boolean),
    Column("sent", Boolean, default=False),
)


def entry(fingerprint: bytes = ANN, reason: Reason = Reason.MANUAL, scope: str = "all", **values: object) -> Entry:
    made = Entry(
        id=new_id(NOW),
        tenant_id=1,
        fingerprint=fingerprint,
        key_id="k",
        reason=reason,
        scope=scope,
        origin=Origin.ADMIN,
        created_at=NOW,
    )
    for name, value in values.items():
        setattr(made, name, value)
    return made


def forbidden_by_value(session: Session, stream: Stream, topic: Topic | None, fingerprint: bytes = ANN) -> bool:
    key, may_leave = (topic.key, topic.may_leave) if topic else (None, False)
    return bool(session.scalar(select(entries.forbids(1, fingerprint, stream, key, may_leave, NOW))))


def forbidden_by_column(session: Session, stream: Stream, topic: Topic | None, *, literal_stream: bool) -> bool:
    MAILS.create(session.connection(), checkfirst=True)
    session.execute(MAILS.delete())
    row = {"tenant_id": 1, "fingerprint": ANN, "stream": stream.value}
    session.execute(
        insert(MAILS).values(**row, topic=topic and topic.key, may_leave=topic.may_leave if topic else None)
    )
    clause = entries.forbids(
        MAILS.c.tenant_id,
        MAILS.c.fingerprint,
        stream if literal_stream else MAILS.c.stream,
        MAILS.c.topic,
        MAILS.c.may_leave,
        NOW,
    )
    sent = session.execute(update(MAILS).where(~clause).values(sent=True).returning(MAILS.c.sent)).all()
    assert len(session.execute(select(MAILS.c.topic).where(clause)).all()) == 1 - len(sent)
    return not sent


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("scope", SCOPES)
def test_sql_forbids_what_the_policy_blocks(session: Session, reason: Reason, scope: str) -> None:
    session.add(entry(reason=reason, scope=scope))
    session.add(entry(fingerprint=BOB))
    session.add(entry(tenant_id=2))
    session.add(entry(scope="stream:promotional", lifted_at=EARLIER))
    session.add(entry(reason=Reason.HARD_BOUNCE, scope="topic:spent", expires_at=NOW))
    for stream, topic in MAIL:
        expected = rules.blocks(reason, scope, stream, topic)
        assert forbidden_by_value(session, stream, topic) is expected
        assert forbidden_by_column(session, stream, topic, literal_stream=True) is expected
        assert forbidden_by_column(session, stream, topic, literal_stream=False) is expected
        found = entries.check(session, 1, Question(ANN, stream, topic), NOW)
        assert (found is not None) is expected


def test_with_no_entry_everything_goes(session: Session) -> None:
    assert not any(forbidden_by_value(session, stream, topic) for stream, topic in MAIL)


def test_several_fingerprints_of_a_person_are_joined_by_or(session: Session) -> None:
    session.add(entry(fingerprint=BOB))
    both = or_(*(entries.forbids(1, one, P, None, False, NOW) for one in (ANN, BOB)))
    assert session.scalar(select(both))


def test_the_clause_compiles_for_postgresql_and_correlates_the_outer_table() -> None:
    clause = entries.forbids(MAILS.c.tenant_id, MAILS.c.fingerprint, P, MAILS.c.topic, MAILS.c.may_leave, NOW)
    sql = " ".join(
        str(
            update(MAILS)
            .where(~clause)
            .values(sent=True)
            .compile(dialect=make_url("postgresql+asyncpg://").get_dialect()())
        ).split()
    )
    assert "NOT (EXISTS (SELECT" in sql
    assert "FROM suppression AS" in sql
    assert "FROM suppression AS suppression_1, mails" not in sql


@pytest.mark.parametrize("stream", [P, T])
def test_the_clause_is_answered_by_the_index_of_the_mailbox(session: Session, stream: Stream) -> None:
    MAILS.create(session.connection(), checkfirst=True)
    clause = entries.forbids(MAILS.c.tenant_id, MAILS.c.fingerprint, stream, MAILS.c.topic, MAILS.c.may_leave, NOW)
    statement = select(MAILS.c.topic).where(clause)
    bound = statement.compile(session.connection().engine, compile_kwargs={"literal_binds": True})
    plan = " ".join(str(row) for row in session.execute(text(f"EXPLAIN QUERY PLAN {bound}")))
    assert "(tenant_id=? AND fingerprint=?" in plan


def test_the_strictest_entry_decides_and_among_equals_the_oldest(session: Session) -> None:
    old = entry(reason=Reason.UNSUBSCRIBE, scope="topic:news", created_at=EARLIER)
    young = entry(reason=Reason.UNSUBSCRIBE, scope="all")
    session.add_all([young, old])
    assert decided(session) == old.id
    complaint = entry(reason=Reason.COMPLAINT, scope="stream:promotional")
    session.add(complaint)
    assert decided(session) == complaint.id
    bounce = entry(reason=Reason.HARD_BOUNCE)
    session.add(bounce)
    assert decided(session) == bounce.id


def decided(session: Session) -> str | None:
    found = entries.check(session, 1, Question(ANN, P, NEWS), NOW)
    return found.id if found else None


def test_thousands_of_questions_are_answered_in_their_order(session: Session) -> None:
    people = [number.to_bytes(16, "big") for number in range(3000)]
    session.add_all([entry(person, Reason.COMPLAINT, "stream:promotional") for person in people[::3]])
    questions = [Question(person, stream) for person in people for stream in (P, T)]
    answers = entries.check_many(session, 1, questions, NOW)
    for question, answer in zip(questions, answers, strict=True):
        listed = question.stream is P and int.from_bytes(question.fingerprint, "big") % 3 == 0
        assert (answer is not None and answer.fingerprint == question.fingerprint) is listed


def test_no_questions_have_no_answers(session: Session) -> None:
    assert entries.check_many(session, 1, [], NOW) == []


def test_an_entry_under_an_older_key_or_a_former_address_binds(session: Session) -> None:
    session.add(entry(BOB, Reason.UNSUBSCRIBE, "stream:promotional"))
    assert entries.check(session, 1, Question(ANN, P), NOW) is None
    question = Question(ANN, P, None, (BOB,))
    assert entries.check(session, 1, question, NOW) is not None
    assert not entries.explain(session, 1, question, NOW).allowed


def test_an_explanation_consults_every_rule_in_order_and_tells_the_past(session: Session) -> None:
    bounce = entry(reason=Reason.HARD_BOUNCE, id="su_1", lifted_at=EARLIER)
    snooze = entry(reason=Reason.SNOOZE, scope="stream:promotional", id="su_2", expires_at=EARLIER)
    surveys = entry(reason=Reason.UNSUBSCRIBE, scope="topic:surveys", created_at=EARLIER)
    news = entry(reason=Reason.UNSUBSCRIBE, scope="topic:news")
    session.add_all([bounce, snooze, surveys, news])
    why = entries.explain(session, 1, Question(ANN, P, NEWS), NOW)
    assert (why.allowed, why.entry and why.entry.id) == (False, news.id)
    assert [past.id for past in why.history] == [snooze.id, bounce.id]
    assert [(line.rule, line.matched, line.blocks) for line in why.trace] == [
        ("hard_bounce", False, False),
        ("invalid", False, False),
        ("manual", False, False),
        ("complaint", False, False),
        ("unsubscribe", True, False),
        ("unsubscribe", True, True),
        ("soft_bounce", False, False),
        ("snooze", False, False),
    ]
    assert why.trace[5].entry is not None
    assert why.trace[5].entry.id == news.id
    assert why.trace[5].ended_by == "the person, by a fresh opt-in"


def test_an_explanation_for_a_stranger_allows(session: Session) -> None:
    why = entries.explain(session, 1, Question(ANN, T), NOW)
    assert (why.allowed, why.entry, why.history) == (True, None, [])
    assert [line.rule for line in why.trace] == [rule.reason for rule in rules.RULES]


Act = tuple[str, Reason, str, int]
POSSIBLE = [(reason, scope) for reason in Reason for scope in SCOPES if rules.may_stand(reason, Scope(scope))]
acts = st.tuples(st.sampled_from(["add", "lift"]), st.sampled_from(POSSIBLE), st.integers(0, 30)).map(
    lambda act: (act[0], act[1][0], act[1][1], act[2])
)


def replay(session: Session, history: Sequence[Act]) -> dict[tuple[Reason, str], datetime | None]:
    """Act on the table, and keep by hand what should stand: (reason, scope) -> its end."""
    standing: dict[tuple[Reason, str], datetime | None] = {}
    for minute, (verb, reason, scope, length) in enumerate(history):
        now = NOW + timedelta(minutes=minute)
        standing = {key: end for key, end in standing.items() if end is None or end > now}
        timed = rules.may_end(reason, Ender.TIME)
        if verb == "add":
            end = now + timedelta(minutes=length) if timed else None
            new = NewEntry(
                tenant_id=1,
                fingerprint=ANN,
                key_id="k",
                reason=reason,
                scope=Scope(scope),
                origin=Origin.API,
                expires_at=end,
            )
            entries.add(session, new, now)
            before = standing.get((reason, scope))
            standing[reason, scope] = max(before, end) if before and end else end
        elif (reason, scope) in standing:
            ender = next(iter(sorted(rules.rule_of(reason).enders - {Ender.TIME})))
            listed = entries.list_entries(session, 1, limit=999, now=now, fingerprints=[ANN], reason=reason, live=True)
            found = next(one for one in listed if one.scope == scope)
            entries.lift(session, 1, found.id, ender, "because", now)
            del standing[reason, scope]
    return standing


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(acts, max_size=25))
def test_after_any_history_the_decision_is_the_fold_of_the_policy(engine: Engine, history: list[Act]) -> None:
    end = NOW + timedelta(minutes=len(history))
    with Session(engine) as session:
        standing = replay(session, history)
        live = [key for key, until in standing.items() if until is None or until > end]
        for stream, topic in MAIL:
            expected = any(rules.blocks(reason, scope, stream, topic) for reason, scope in live)
            key, may_leave = (topic.key, topic.may_leave) if topic else (None, False)
            clause = entries.forbids(1, ANN, stream, key, may_leave, end)
            question = Question(ANN, stream, topic)
            assert bool(session.scalar(select(clause))) is expected
            assert (entries.check(session, 1, question, end) is not None) is expected
            assert entries.explain(session, 1, question, end).allowed is not expected
        session.rollback()
