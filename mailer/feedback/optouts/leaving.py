"""Somebody leaves: entries, what waits, events and counters in one transaction."""

from collections.abc import Collection
from datetime import datetime

from sqlmodel import Session

from mailer import people
from mailer.feedback.optouts.acts import Act, How, Outcome, begin, leaves_topic_only, of_this_email, unsubscribed
from mailer.feedback.optouts.marking import mark, marked
from mailer.feedback.optouts.telling import tell_each
from mailer.feedback.optouts.undoing import give_back, undoable_entries
from mailer.people import EventKind
from mailer.tenancy import NOTIFICATIONS
from suppression import entries, rules
from suppression.entries import Entry
from suppression.rules import Scope, Stream
from suppression.token import OptOut


def opted_out(session: Session, opt_out: OptOut, how: How, now: datetime, *, scope: Scope | None = None) -> Outcome:
    """Opt out what the link is about, or `scope`; doing it twice is doing it once.

    A promotional link leaves the whole promotional stream (the topic where the tenant chose so), a transactional one
    its topic. Needs neither the email nor the address to exist any more. Raises `NotFound` for an unknown tenant.
    """
    act = begin(session, opt_out, how, now)
    lost = bool(of_this_email(session, act, now))
    scopes = _scopes(session, act) if scope is None else (scope,)
    left = [leave_one(session, act, each, now) for each in scopes]
    created = [each.entry for each in left if each.created]
    tell_each(session, act, EventKind.UNSUBSCRIBED, created, now, counted=not lost)
    return Outcome(tuple(each.entry.id for each in left), bool(created), scopes[0])


def left_only(session: Session, opt_out: OptOut, topics: Collection[str], how: How, now: datetime) -> Outcome:
    """Leave exactly these promotional topics, in place of what this link left within the last 30 minutes.

    An older opt-out from everything stands: it is the person's word, and a forwarded link must not take it back.
    """
    act = begin(session, opt_out, how, now)
    mine = undoable_entries(session, opt_out, now)
    own = {entry.id for entry in mine}
    person = entries.family(session, opt_out.tenant_id, [opt_out.fingerprint])
    stands = unsubscribed(session, opt_out.tenant_id, person, now)
    wide = [entry for entry in stands if _everything(entry) and entry.id not in own]
    if opt_out.stream is Stream.TRANSACTIONAL or wide:
        return opted_out(session, opt_out, how, now)
    lost = bool(of_this_email(session, act, now))
    wanted = [rules.topic_scope(key) for key in sorted(topics)]
    left = [people.leave(session, act.leaving(scope), now) for scope in wanted]
    created = [each.entry for each in left if each.created]
    given_back = give_back(session, [entry for entry in mine if entry.scope not in wanted], now)
    tell_each(session, act, EventKind.UNSUBSCRIBED, created, now, counted=not lost)
    if given_back:
        kept = bool(of_this_email(session, act, now))
        tell_each(session, act, EventKind.RESUBSCRIBED, given_back, now, counted=not kept)
    scope = wanted[0] if wanted else rules.STREAM_PROMOTIONAL
    return Outcome(tuple(each.entry.id for each in left), bool(created), scope)


def leave_one(session: Session, act: Act, scope: Scope, now: datetime) -> people.Left:
    """Leave one thing; said again, it is the person's word also where a scanner said it first."""
    left = people.leave(session, act.leaving(scope, marked(act, now)), now)
    if not mark(session, act, left, now):
        # An operator took it back as a scanner's, while the person said so themselves.
        left = people.leave(session, act.leaving(scope), now)
    return left


def _scopes(session: Session, act: Act) -> tuple[Scope, ...]:
    if not leaves_topic_only(act.opt_out, act.tenant):
        return (rules.STREAM_PROMOTIONAL,)
    if act.opt_out.topic is not None:
        return (rules.topic_scope(act.opt_out.topic),)
    # A mailto of 64 octets has no room for a topic: it leaves every notification that may be left.
    found = [
        rules.topic_scope(topic.key)
        for topic in people.topics(session, act.opt_out.tenant_id)
        if topic.stream is Stream.TRANSACTIONAL and people.may_leave(topic)
    ]
    return tuple(found) or (rules.topic_scope(NOTIFICATIONS),)


def _everything(entry: Entry) -> bool:
    return entry.scope in (rules.ALL, rules.STREAM_PROMOTIONAL)
