"""Topics one by one, a pause, or a whole preference page."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlmodel import Session

from mailer import people
from mailer.feedback.optouts.acts import Act, How, begin, of_this_email
from mailer.feedback.optouts.leaving import leave_one
from mailer.feedback.optouts.telling import tell_each
from mailer.people import EventKind, Permission
from suppression import rules
from suppression.rules import Scope, Stream
from suppression.token import OptOut

#: How long a pause is.
SNOOZE_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Chosen:
    """The topics that a preference page showed, and those that the person wants."""

    shown: frozenset[str]
    wanted: frozenset[str]
    #: Where a yes was said, and which version of the words was read: the proof of it.
    source: str = "preference page"
    wording: str | None = None
    evidence: Mapping[str, object] = field(default_factory=dict)


def stop(
    session: Session, opt_out: OptOut, topics: Collection[str], how: How, now: datetime, *, promotional: bool = False
) -> tuple[str, ...]:
    """Leave these topics, or with `promotional` the whole stream, in one act; return the topics that were left.

    Nothing comes back by it. A topic that is unknown, or that people cannot leave, is passed over.
    """
    act = begin(session, opt_out, how, now)
    known = [each for each in people.topics(session, opt_out.tenant_id) if people.may_leave(each)]
    wanted = tuple(each.key for each in known if each.key in topics)
    scopes = [rules.topic_scope(key) for key in wanted]
    if promotional:
        scopes.insert(0, rules.STREAM_PROMOTIONAL)
    _leave(session, act, scopes, now)
    return wanted


def snooze(session: Session, opt_out: OptOut, how: How, now: datetime, *, length: timedelta = SNOOZE_FOR) -> datetime:
    """Pause promotional mail and return until when; a longer pause that stands already is kept."""
    act = begin(session, opt_out, how, now)
    left = people.snooze(session, act.leaving(rules.STREAM_PROMOTIONAL), now + length, now)
    return left.entry.expires_at or now + length


def choose(session: Session, opt_out: OptOut, chosen: Chosen, how: How, now: datetime) -> None:
    """Save a preference page: come back to what is wanted, leave the rest of what was shown.

    Who wants none of the promotional topics has left the promotional stream, and with it what is founded later. Each
    topic that begins to come is a recorded yes, which also ends a complaint: only a link that was mailed may ask it.
    """
    act = begin(session, opt_out, how, now)
    before = people.preferences(session, opt_out.tenant_id, opt_out.fingerprint, now)
    shown = [each for each in before.topics if each.topic.key in chosen.shown and each.may_leave]
    back = [each for each in shown if not each.gets and each.topic.key in chosen.wanted]
    _come_back(session, act, chosen, [each.topic.key for each in back], now)
    scopes = [rules.topic_scope(each.topic.key) for each in shown if each.topic.key not in chosen.wanted and each.gets]
    promotional = [each for each in shown if each.topic.stream is Stream.PROMOTIONAL]
    if promotional and not any(each.topic.key in chosen.wanted for each in promotional):
        keys = {rules.topic_scope(each.topic.key) for each in promotional}
        scopes = [rules.STREAM_PROMOTIONAL, *(scope for scope in scopes if scope not in keys)]
    _leave(session, act, scopes, now)


def _come_back(session: Session, act: Act, chosen: Chosen, topics: Sequence[str], now: datetime) -> None:
    if not topics:
        return
    rejoined = people.rejoin(session, act.leaving(rules.STREAM_PROMOTIONAL), topics, now)
    tell_each(session, act, EventKind.RESUBSCRIBED, rejoined.lifted, now)
    tell_each(session, act, EventKind.UNSUBSCRIBED, rejoined.added, now)
    for key in topics:
        permission = Permission(
            tenant_id=act.opt_out.tenant_id,
            fingerprint=act.opt_out.fingerprint,
            purpose=rules.topic_scope(key),
            source=chosen.source,
            wording=chosen.wording,
            ip=act.how.ip if act.tenant.keep_ip else None,
            email_id=act.email.id if act.email else None,
            evidence={"channel": act.how.kind.value, **chosen.evidence},
        )
        people.permit(session, permission, now)


def _leave(session: Session, act: Act, scopes: Sequence[Scope], now: datetime) -> None:
    lost = bool(of_this_email(session, act, now))
    left = [leave_one(session, act, scope, now) for scope in scopes]
    created = [each.entry for each in left if each.created]
    tell_each(session, act, EventKind.UNSUBSCRIBED, created, now, counted=not lost)
