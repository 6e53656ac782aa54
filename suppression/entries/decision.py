"""May this mailbox get this mail? The policy asked of the table, in SQL and in Python."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, any_, bindparam, false, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, aliased
from sqlmodel import SQLModel, col

from suppression import rules
from suppression.entries.table import Entry
from suppression.rules import Reach, Reason, Stream, Topic

#: A few hundred mailboxes a query: SQLite and PostgreSQL bound the number of variables.
_CHUNK = 400


_entry = SQLModel.metadata.tables["suppression"]
_OF_TENANT = (
    select(_entry.c.fingerprint)
    .where(_entry.c.tenant_id == bindparam("tenant"), _entry.c.lifted_at.is_(None))
    .distinct()
)
#: Which of some mailboxes have an entry that is not lifted, on SQLite and on PostgreSQL: built once, for building a
#: statement costs more than running it, and one text for any number of mailboxes, which PostgreSQL prepares once.
_NAMED_AT_ALL = (
    _OF_TENANT.where(_entry.c.fingerprint.in_(bindparam("fingerprints", expanding=True))),
    _OF_TENANT.where(_entry.c.fingerprint == any_(bindparam("fingerprints", type_=ARRAY(_entry.c.fingerprint.type)))),
)


class Question(NamedTuple):
    """May this mailbox get mail of this stream and topic?"""

    fingerprint: bytes
    stream: Stream
    topic: Topic | None = None
    #: Other fingerprints of the same person: by older keys, of former addresses.
    others: tuple[bytes, ...] = ()


class Consulted(NamedTuple):
    """One rule that was asked, with the live entry that met it, if any."""

    rule: str
    matched: bool
    blocks: bool
    entry: Entry | None
    ended_by: str


class Explanation(NamedTuple):
    """Why a mail may go or not: the deciding entry, every rule in order, and what is past."""

    allowed: bool
    entry: Entry | None
    trace: list[Consulted]
    history: list[Entry]


def in_force(entry: type[Entry], now: SQLColumnExpression[datetime] | datetime) -> ColumnElement[bool]:
    """Return the clause that holds for entries that are neither lifted nor expired."""
    return and_(col(entry.lifted_at).is_(None), or_(col(entry.expires_at).is_(None), col(entry.expires_at) > now))


def forbids(
    tenant_id: SQLColumnExpression[int] | int,
    fingerprint: SQLColumnExpression[bytes] | bytes,
    stream: SQLColumnExpression[str] | Stream,
    topic: SQLColumnExpression[str | None] | str | None,
    may_leave: SQLColumnExpression[bool] | bool,
    now: SQLColumnExpression[datetime] | datetime,
) -> ColumnElement[bool]:
    """Return EXISTS (a live entry that forbids this mail), to stand in another statement's WHERE.

    It says what `rules.blocks` says. For several fingerprints of one person, join one clause for each by OR.
    """
    entry = aliased(Entry)
    streams = (stream,) if isinstance(stream, Stream) else tuple(Stream)
    clauses = []
    for member in streams:
        clause = _blocking(entry, member, topic, may_leave)
        clauses.append(clause if isinstance(stream, Stream) else and_(stream == member, clause))
    found = select(literal(1)).where(
        col(entry.tenant_id) == tenant_id, col(entry.fingerprint) == fingerprint, in_force(entry, now), or_(*clauses)
    )
    return found.correlate_except(entry).exists()


def check(session: Session, tenant_id: int, question: Question, now: datetime) -> Entry | None:
    """Return the entry that forbids this mail, or None when it may go."""
    return check_many(session, tenant_id, [question], now)[0]


def check_many(session: Session, tenant_id: int, questions: Sequence[Question], now: datetime) -> list[Entry | None]:
    """Answer many questions in their order, a few hundred mailboxes a query.

    Of several entries that forbid a mail the strictest decides (the order of `rules.RULES`), then the oldest.
    """
    asked = dict.fromkeys(one for question in questions for one in (question.fingerprint, *question.others))
    known = _NAMED_AT_ALL[session.get_bind().dialect.name == "postgresql"]
    found: dict[bytes, list[Entry]] = {}
    remaining = iter(asked)
    while chunk := list(islice(remaining, _CHUNK)):
        # Few mailboxes have entries: only these are worth objects, and a statement of their own.
        named = session.execute(known, {"tenant": tenant_id, "fingerprints": chunk}).scalars().all()
        if not named:
            continue
        statement = select(Entry).where(
            col(Entry.tenant_id) == tenant_id, col(Entry.fingerprint).in_(named), in_force(Entry, now)
        )
        for entry in session.scalars(statement):
            found.setdefault(entry.fingerprint, []).append(entry)
    return [_decide(_about(question, found), question) for question in questions]


def explain(session: Session, tenant_id: int, question: Question, now: datetime) -> Explanation:
    """Answer a question with every rule that was consulted, in the order of the policy.

    A rule that several live entries meet stands once for each; lifted and expired entries are the history.
    """
    statement = (
        select(Entry)
        .where(col(Entry.tenant_id) == tenant_id, col(Entry.fingerprint).in_((question.fingerprint, *question.others)))
        .execution_options(populate_existing=True)
    )
    entries = sorted(session.scalars(statement), key=_order)
    live = [entry for entry in entries if entry.live(now)]
    past = sorted((entry for entry in entries if not entry.live(now)), key=lambda entry: entry.id, reverse=True)
    trace: list[Consulted] = []
    for rule in rules.RULES:
        met = [entry for entry in live if entry.reason is rule.reason]
        trace.extend(
            Consulted(rule.reason.value, True, _blocks(entry, question), entry, rule.ended_by) for entry in met
        )
        if not met:
            trace.append(Consulted(rule.reason.value, False, False, None, rule.ended_by))
    deciding = _decide(live, question)
    return Explanation(deciding is None, deciding, trace, past)


def _blocking(
    entry: type[Entry],
    stream: Stream,
    topic: SQLColumnExpression[str | None] | str | None,
    may_leave: SQLColumnExpression[bool] | bool,
) -> ColumnElement[bool]:
    """Return the rows of the policy for one stream, as SQL."""
    groups: dict[tuple[Reach, bool], list[Reason]] = {}
    for rule in rules.RULES:
        groups.setdefault((rule.reach(stream), rule.scoped), []).append(rule.reason)
    clauses: list[ColumnElement[bool]] = []
    for (reach, scoped), reasons in groups.items():
        if reach is Reach.NOTHING:
            continue
        clause: ColumnElement[bool] = col(entry.reason).in_(reasons)
        if scoped:
            clause = and_(clause, _covering(entry, stream, topic))
        if reach is Reach.LEAVABLE:
            clause = and_(clause, _leavable(topic, may_leave))
        clauses.append(clause)
    return or_(false(), *clauses)


def _covering(
    entry: type[Entry], stream: Stream, topic: SQLColumnExpression[str | None] | str | None
) -> ColumnElement[bool]:
    scope = col(entry.scope)
    whole = scope.in_([rules.ALL, rules.stream_scope(stream)])
    if topic is None:
        return whole
    if isinstance(topic, str):
        return or_(whole, scope == rules.TOPIC_PREFIX + topic)
    # A topic that is NULL makes this comparison NULL, which is not true.
    return or_(whole, scope == literal(rules.TOPIC_PREFIX).concat(topic))


def _leavable(
    topic: SQLColumnExpression[str | None] | str | None, may_leave: SQLColumnExpression[bool] | bool
) -> ColumnElement[bool]:
    if topic is None or may_leave is False:
        return false()
    known = true() if isinstance(topic, str) else topic.is_not(None)
    return known if may_leave is True else and_(known, may_leave)


def _order(entry: Entry) -> tuple[int, datetime, str]:
    return rules.strictness(entry.reason), entry.created_at, entry.id


def _blocks(entry: Entry, question: Question) -> bool:
    return rules.blocks(entry.reason, entry.scope, question.stream, question.topic)


def _decide(live: Iterable[Entry], question: Question) -> Entry | None:
    return min((entry for entry in live if _blocks(entry, question)), key=_order, default=None)


def _about(question: Question, found: Mapping[bytes, list[Entry]]) -> Iterator[Entry]:
    for fingerprint in (question.fingerprint, *question.others):
        yield from found.get(fingerprint, ())
