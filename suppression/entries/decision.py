"""May this mailbox get this mail? The policy asked of the table, in SQL and in Python."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    SQLColumnExpression,
    and_,
    bindparam,
    false,
    literal,
    literal_column,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.orm import Session, aliased
from sqlmodel import SQLModel, col

from suppression import rules
from suppression.entries.kin import CHUNK, among
from suppression.entries.table import Entry, Kin, KinKind
from suppression.rules import Reach, Reason, Stream, Topic

_entry, _kin = (SQLModel.metadata.tables[str(table.__tablename__)] for table in (Entry, Kin))


class Question(NamedTuple):
    """May this mailbox get mail of this stream and topic?"""

    fingerprint: bytes
    stream: Stream
    topic: Topic | None = None
    #: Other fingerprints of the same mailbox, by older keys. Kin that the table knows is found without being named.
    others: tuple[bytes, ...] = ()
    #: When the mail is due, where that is later: what ends before then does not stand in its way.
    due: datetime | None = None


class _Found(NamedTuple):
    """An entry, and whether it is of the mailbox that was asked about or of another one of the same person."""

    entry: Entry
    kind: KinKind


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

    It says what `rules.blocks` says of this fingerprint alone; `forbids_kin` says it of the rest of the person.
    """
    entry = aliased(Entry)
    found = select(literal(1)).where(
        col(entry.tenant_id) == tenant_id,
        col(entry.fingerprint) == fingerprint,
        in_force(entry, now),
        _blocking_any(entry, stream, topic, may_leave),
    )
    return found.correlate_except(entry).exists()


def forbids_kin(
    tenant_id: SQLColumnExpression[int] | int,
    fingerprint: SQLColumnExpression[bytes] | bytes,
    stream: SQLColumnExpression[str] | Stream,
    topic: SQLColumnExpression[str | None] | str | None,
    may_leave: SQLColumnExpression[bool] | bool,
    now: SQLColumnExpression[datetime] | datetime,
) -> ColumnElement[bool]:
    """Return EXISTS (a live entry of the same person's other fingerprints that forbids this mail), as `forbids` does.

    A clause of its own and no OR in the other one, which would cost that one its index.
    """
    entry, kin = aliased(Entry), aliased(Kin)
    found = (
        select(literal(1))
        .select_from(kin)
        .join(entry, and_(col(entry.tenant_id) == col(kin.tenant_id), col(entry.fingerprint) == col(kin.other)))
        .where(
            col(kin.tenant_id) == tenant_id,
            col(kin.fingerprint) == fingerprint,
            in_force(entry, now),
            _follows(col(entry.reason), col(kin.kind)),
            _blocking_any(entry, stream, topic, may_leave),
        )
    )
    # OFFSET keeps PostgreSQL from joining this with the mail: a plan made while nobody had kin would read them all.
    return found.correlate_except(entry, kin).offset(literal_column("0")).exists()


def check(session: Session, tenant_id: int, question: Question, now: datetime) -> Entry | None:
    """Return the entry that forbids this mail, or None when it may go."""
    return check_many(session, tenant_id, [question], now)[0]


def check_many(session: Session, tenant_id: int, questions: Sequence[Question], now: datetime) -> list[Entry | None]:
    """Answer many questions in their order, two thousand fingerprints a statement.

    Of several entries that forbid a mail the strictest decides (the order of `rules.RULES`), then the oldest. The
    entries are copies: they belong to no session.
    """
    asked = dict.fromkeys(one for question in questions for one in (question.fingerprint, *question.others))
    found = _found(session, tenant_id, asked, now)
    if not found:
        return [None] * len(questions)
    return [_decide(_about(question, found), question, now) for question in questions]


def explain(session: Session, tenant_id: int, question: Question, now: datetime) -> Explanation:
    """Answer a question with every rule that was consulted, in the order of the policy.

    A rule that several live entries meet stands once for each; lifted and expired entries are the history.
    """
    asked = (question.fingerprint, *question.others)
    found = sorted(_about(question, _found(session, tenant_id, asked, None)), key=lambda each: _order(each.entry))
    live = [each for each in found if each.entry.live(now)]
    past = sorted((each.entry for each in found if not each.entry.live(now)), key=lambda entry: entry.id, reverse=True)
    trace: list[Consulted] = []
    for rule in rules.RULES:
        met = [each for each in live if each.entry.reason is rule.reason]
        trace.extend(
            Consulted(rule.reason.value, True, _blocks(each, question, now), each.entry, rule.ended_by) for each in met
        )
        if not met:
            trace.append(Consulted(rule.reason.value, False, False, None, rule.ended_by))
    deciding = _decide(live, question, now)
    return Explanation(deciding is None, deciding, trace, past)


@lru_cache(maxsize=4)
def named(*, arrays: bool, live: bool) -> CompoundSelect[Any]:
    """Return the one statement behind every check: entries of some fingerprints and, beside them, of their kin.

    Built once, for that costs more than running it; few mailboxes have entries, so few rows come back.
    """
    tenant = bindparam("tenant", type_=_entry.c.tenant_id.type)
    own = select(_entry.c.fingerprint.label("about"), literal(KinKind.KEY.value).label("kin"), *_entry.c).where(
        _entry.c.tenant_id == tenant, among(_entry.c.fingerprint, arrays=arrays)
    )
    tied = and_(_entry.c.tenant_id == _kin.c.tenant_id, _entry.c.fingerprint == _kin.c.other)
    theirs = (
        select(_kin.c.fingerprint.label("about"), _kin.c.kind.label("kin"), *_entry.c)
        .select_from(_kin.join(_entry, tied))
        .where(_kin.c.tenant_id == tenant, among(_kin.c.fingerprint, arrays=arrays))
    )
    if live:
        moment = bindparam("moment", type_=_entry.c.created_at.type)
        standing = (_entry.c.lifted_at.is_(None), or_(_entry.c.expires_at.is_(None), _entry.c.expires_at > moment))
        own, theirs = own.where(*standing), theirs.where(*standing)
    return union_all(own, theirs)


def _found(
    session: Session, tenant_id: int, prints: Iterable[bytes], now: datetime | None
) -> dict[bytes, list[_Found]]:
    """Return what each fingerprint and its kin have, in force at this time or, without one, ever."""
    session.flush()
    statement = named(arrays=session.get_bind().dialect.name == "postgresql", live=now is not None)
    given: dict[str, object] = {"tenant": tenant_id, "moment": now} if now is not None else {"tenant": tenant_id}
    found: dict[bytes, list[_Found]] = {}
    remaining = iter(prints)
    while chunk := list(islice(remaining, CHUNK)):
        for row in session.execute(statement, {**given, "prints": chunk}).mappings():
            values = {column.name: row[column.name] for column in _entry.c}
            found.setdefault(row["about"], []).append(_Found(Entry(**values), KinKind(row["kin"])))
    return found


def _follows(reason: SQLColumnExpression[Reason], kind: SQLColumnExpression[KinKind]) -> ColumnElement[bool]:
    """Return what holds for an entry that binds the kin: a mailbox that bounces is no reason to spare another one."""
    return or_(kind == KinKind.KEY, reason.not_in(rules.OF_THE_MAILBOX))


def _blocking_any(
    entry: type[Entry],
    stream: SQLColumnExpression[str] | Stream,
    topic: SQLColumnExpression[str | None] | str | None,
    may_leave: SQLColumnExpression[bool] | bool,
) -> ColumnElement[bool]:
    """Return the policy for one stream, or for whichever stream a column names."""
    if isinstance(stream, Stream):
        return _blocking(entry, stream, topic, may_leave)
    return or_(*(and_(stream == member, _blocking(entry, member, topic, may_leave)) for member in Stream))


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


def _blocks(found: _Found, question: Question, now: datetime) -> bool:
    entry = found.entry
    if not entry.live(max(now, question.due or now)):
        return False
    if found.kind is KinKind.ADDRESS and entry.reason in rules.OF_THE_MAILBOX:
        return False
    return rules.blocks(entry.reason, entry.scope, question.stream, question.topic)


def _decide(live: Iterable[_Found], question: Question, now: datetime) -> Entry | None:
    return min((each.entry for each in live if _blocks(each, question, now)), key=_order, default=None)


def _about(question: Question, found: Mapping[bytes, list[_Found]]) -> list[_Found]:
    """Return each entry about a question once, though several of its fingerprints may lead there."""
    met: dict[str, _Found] = {}
    for fingerprint in (question.fingerprint, *question.others):
        for each in found.get(fingerprint, ()):
            if each.entry.id not in met or each.kind is KinKind.KEY:
                met[each.entry.id] = each
    return list(met.values())
