"""What stands between a person and a mail: an entry of the list, or a topic that goes only to those who said yes."""

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    SQLColumnExpression,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
)
from sqlalchemy import select as core_select
from sqlmodel import Session, SQLModel, col, select

from mailer.database import on_postgresql
from mailer.models import Consent, Topic, TopicDefault
from suppression import entries, rules
from suppression.entries import Entry, Kin, KinKind, Question
from suppression.entries.kin import CHUNK, among

#: The reason of a mail that is not sent because its topic goes only to those who said yes, and this person did not.
NOT_OPTED_IN = "not_opted_in"
_consent, _topic, _kin = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Consent, Topic, Kin))


class Barred(NamedTuple):
    """Why a mail does not go: the reason in one word, and the entry that decided, None where a yes is missing."""

    reason: str
    entry: Entry | None

    @property
    def entry_id(self) -> str | None:
        """Return the id of the entry that decided."""
        return self.entry.id if self.entry else None


def purpose_of(topic: str) -> str:
    """Return the purpose of a consent to a topic."""
    return rules.topic_scope(topic)


def asking(session: Session, tenant_id: int) -> frozenset[str]:
    """Return the topics of a tenant that go only to those who said yes."""
    mine = select(Topic.key).where(col(Topic.tenant_id) == tenant_id, col(Topic.default) == TopicDefault.OPT_OUT)
    return frozenset(session.exec(mine))


def barred(
    session: Session, tenant_id: int, questions: Sequence[Question], asked: Collection[str], now: datetime
) -> list[Barred | None]:
    """Answer many questions in their order; `asked` are the tenant's topics that need a yes (`asking`)."""
    answers = entries.check_many(session, tenant_id, questions, now)
    found = [Barred(entry.reason.value, entry) if entry else None for entry in answers]
    unsaid = [
        place
        for place, question in enumerate(questions)
        if found[place] is None and question.topic is not None and question.topic.key in asked
    ]
    if unsaid:
        said_yes = opted_in(session, tenant_id, [questions[place] for place in unsaid], now)
        for place, yes in zip(unsaid, said_yes, strict=True):
            found[place] = None if yes else Barred(NOT_OPTED_IN, None)
    return found


class _Said(NamedTuple):
    #: Sorts by its time.
    id: str
    granted: bool
    expires_at: datetime | None


def opted_in(session: Session, tenant_id: int, questions: Sequence[Question], now: datetime) -> list[bool]:
    """Return for each question whether the person's newest answer about its topic is a yes that still holds."""
    prints = list(dict.fromkeys(one for question in questions for one in (question.fingerprint, *question.others)))
    purposes = list(dict.fromkeys(purpose_of(question.topic.key) for question in questions if question.topic))
    newest: dict[tuple[bytes, str], _Said] = {}
    for start in range(0, len(prints), CHUNK):
        given = {"tenant": tenant_id, "prints": prints[start : start + CHUNK], "purposes": purposes}
        for about, purpose, *said in session.execute(_said(arrays=on_postgresql(session)), given):
            newest[about, purpose] = max(newest.get((about, purpose), _Said._make(said)), _Said._make(said))
    return [_holds(question, newest, now) for question in questions]


def _holds(question: Question, newest: dict[tuple[bytes, str], _Said], now: datetime) -> bool:
    if question.topic is None:
        return True
    purpose, when = purpose_of(question.topic.key), max(now, question.due or now)
    said = [newest[one, purpose] for one in (question.fingerprint, *question.others) if (one, purpose) in newest]
    last = max(said, default=None)
    return last is not None and last.granted and (last.expires_at is None or last.expires_at > when)


@lru_cache(maxsize=2)
def _said(*, arrays: bool) -> CompoundSelect[Any]:
    """Return what mailboxes said, under whichever key: a yes is of an address, so a new one is asked anew."""
    columns = (_consent.c.purpose, _consent.c.id, _consent.c.granted, _consent.c.expires_at)
    wanted = and_(
        _consent.c.tenant_id == bindparam("tenant"), _consent.c.purpose.in_(bindparam("purposes", expanding=True))
    )
    own = core_select(_consent.c.fingerprint.label("about"), *columns).where(
        wanted, among(_consent.c.fingerprint, arrays=arrays)
    )
    tied = and_(_consent.c.tenant_id == _kin.c.tenant_id, _consent.c.fingerprint == _kin.c.other)
    theirs = (
        core_select(_kin.c.fingerprint.label("about"), *columns)
        .select_from(_kin.join(_consent, tied))
        .where(
            wanted,
            _kin.c.tenant_id == bindparam("tenant"),
            _kin.c.kind == KinKind.KEY,
            among(_kin.c.fingerprint, arrays=arrays),
        )
    )
    return own.union_all(theirs)


def lacks_yes(
    tenant_id: SQLColumnExpression[int],
    fingerprint: SQLColumnExpression[bytes],
    topic: SQLColumnExpression[str | None],
    now: SQLColumnExpression[datetime] | datetime,
) -> ColumnElement[bool]:
    """Return EXISTS (a topic that needs a yes, and this person's is missing), to stand in another statement's WHERE."""
    # Ids of answers sort by their time. Each subquery has its fingerprint from outside, so that it is found by index
    # whatever PostgreSQL believes of the size of a table.
    own = core_select(_newest(tenant_id, fingerprint, topic).label("id"))
    theirs = core_select(_newest(tenant_id, _kin.c.other, topic).label("id")).where(
        _kin.c.tenant_id == tenant_id, _kin.c.fingerprint == fingerprint, _kin.c.kind == KinKind.KEY
    )
    answers = own.union_all(theirs.correlate_except(_kin)).subquery()
    said = _consent.alias()
    yes = core_select(literal(1)).where(
        said.c.id == core_select(func.max(answers.c.id)).scalar_subquery(),
        said.c.granted,
        or_(said.c.expires_at.is_(None), said.c.expires_at > now),
    )
    found = core_select(literal(1)).where(
        _topic.c.tenant_id == tenant_id,
        _topic.c.key == topic,
        _topic.c.default == TopicDefault.OPT_OUT,
        ~yes.correlate_except(said).offset(literal_column("0")).exists(),
    )
    return found.correlate_except(_topic).exists()


def _newest(
    tenant_id: SQLColumnExpression[int], fingerprint: SQLColumnExpression[bytes], topic: SQLColumnExpression[str | None]
) -> ColumnElement[str]:
    """Return the id of the newest answer of one fingerprint about a topic."""
    answer = _consent.alias()
    # The empty text keeps PostgreSQL from looking for the greatest id of the whole table.
    newest = core_select(func.max(answer.c.id.concat(""))).where(
        answer.c.tenant_id == tenant_id,
        answer.c.fingerprint == fingerprint,
        answer.c.purpose == literal(rules.TOPIC_PREFIX).concat(topic),
    )
    return newest.correlate_except(answer).scalar_subquery()
