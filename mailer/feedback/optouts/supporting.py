"""Somebody wrote to support that they want no more of it: support opts them out, and it counts as their own act."""

from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from mailer import people
from mailer.errors import Invalid, Problem
from mailer.feedback.optouts.acts import How, Kind, Outcome
from mailer.feedback.optouts.leaving import opted_out
from suppression import address, entries, rules
from suppression.address import Fingerprints
from suppression.entries import KinKind
from suppression.rules import Reason, Scope, Stream
from suppression.token import OptOut


class OnBehalf(NamedTuple):
    """Who asked to leave what, who does it for them, and what shows it."""

    tenant_id: int
    #: One that can be read (`address.parse`).
    email: str
    scope: Scope
    by: str
    note: str


def leave_on_behalf(session: Session, asked: OnBehalf, fingerprints: Fingerprints, now: datetime) -> Outcome:
    """Opt a person out who asked support for it; only they can end it. Run it as a `conclusive` transaction.

    Raises `Invalid` for the field `scope` where people cannot leave what it names.
    """
    topic, stream = _topic(session, asked.tenant_id, asked.scope)
    who = address.parse(asked.email)
    named = fingerprints.named(asked.tenant_id, who.canonical)
    entries.relate(session, asked.tenant_id, [named], KinKind.KEY, now)
    how = How(Kind.SUPPORT, address=who.original, evidence={"by": asked.by}, note=asked.note)
    opt_out = OptOut(asked.tenant_id, next(iter(named)), stream, topic)
    return opted_out(session, opt_out, how, now, scope=asked.scope)


def _topic(session: Session, tenant_id: int, scope: Scope) -> tuple[str | None, Stream]:
    """Return the topic of a scope and its stream; raises `Invalid` where people cannot leave it."""
    key = scope.removeprefix(rules.TOPIC_PREFIX)
    if key == scope:
        if not rules.may_stand(Reason.UNSUBSCRIBE, scope):
            raise Invalid(Problem("scope", "nobody can leave all transactional mail: name one of its topics, or all"))
        return None, Stream.PROMOTIONAL
    topic = next((each for each in people.topics(session, tenant_id) if each.key == key), None)
    if topic is None:
        raise Invalid(Problem("scope", f"there is no topic {key}"))
    if not people.may_leave(topic):
        raise Invalid(Problem("scope", f"{key} is mail that people cannot leave, such as invoices and security"))
    return key, topic.stream
