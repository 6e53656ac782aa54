"""What stands between a person and a mail: an entry of the list, or a topic that goes only to those who said yes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    SQLColumnExpression,
    func,
    literal,
    literal_column,
    or_,
)
from sqlalchemy import select as core_select
from sqlmodel import Session, SQLModel, col, select

from mailer.models import Consent, Topic, TopicDefault
from mailer.people.permitting import Heard, Said, newest
from suppression import entries, rules
from suppression.entries import Entry, Kin, KinKind, Question

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


def opted_in(session: Session, tenant_id: int, questions: Sequence[Question], now: datetime) -> list[bool]:
    """Return for each question whether the person's newest answer about its topic is a yes that still holds.

    A yes is of a mailbox, under whichever key: a new address is asked anew.
    """
    prints = [one for question in questions for one in (question.fingerprint, *question.others)]
    purposes = {purpose_of(question.topic.key) for question in questions if question.topic}
    answers = newest(session, tenant_id, prints, purposes)
    return [_holds(question, answers, now) for question in questions]


def _holds(question: Question, answers: Mapping[Heard, Said], now: datetime) -> bool:
    if question.topic is None:
        return True
    asked = (
        Heard(one, KinKind.KEY, purpose_of(question.topic.key)) for one in (question.fingerprint, *question.others)
    )
    last = max((answers[each] for each in asked if each in answers), default=None)
    return last is not None and last.holds(max(now, question.due or now))


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
