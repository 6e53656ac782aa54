"""Somebody leaves, chooses anew, or takes it back: entries, what waits, events and counters in one transaction."""

import hashlib
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer import counters, ids, people
from mailer.errors import NotFound
from mailer.models import Email, Event, OptOutScope, Tenant
from suppression import entries, rules
from suppression.entries import Entry
from suppression.rules import Ender, Reason, Scope, Stream
from suppression.token import OptOut

#: How long the link that opted out can take it back; later only by a link in a mail.
UNDO_FOR = timedelta(minutes=30)
UNSUBSCRIBED, RESUBSCRIBED = "email.unsubscribed", "email.resubscribed"
#: Where a transactional link without a topic belongs (spec section 3).
_NOTIFICATIONS = "notifications"


class Kind(StrEnum):
    """By which way a person acted."""

    LINK = "link"
    ONE_CLICK = "one_click"
    MAILTO = "mailto"
    PREFERENCES = "preferences"


class How(NamedTuple):
    """How an act reached us; the network address is evidence, and goes with the person."""

    kind: Kind
    ip: str | None = None


class Outcome(NamedTuple):
    """What stands after an act."""

    entry_ids: tuple[str, ...]
    #: False where everything stood already.
    created: bool
    scope: Scope


class Chosen(NamedTuple):
    """The topics that a preference page showed, and those that the person wants."""

    shown: frozenset[str]
    wanted: frozenset[str]


class _Act(NamedTuple):
    opt_out: OptOut
    how: How
    tenant: Tenant
    #: The mail whose link it was, while its row exists.
    email: Email | None

    @property
    def evidence(self) -> dict[str, object]:
        found: dict[str, object] = {"channel": self.how.kind.value}
        if self.how.kind is not Kind.PREFERENCES:
            found["token"] = _digest(self.opt_out)
        if self.opt_out.email is not None:
            found["email_id"] = ids.from_bytes("em", self.opt_out.email)
        if self.opt_out.topic is not None:
            found["topic"] = self.opt_out.topic
        if self.email is not None and self.email.campaign_id:
            found["campaign_id"] = self.email.campaign_id
        if self.how.ip:
            found["ip"] = self.how.ip
        return found

    def leaving(self, scope: Scope) -> people.Leaving:
        """Return the request to leave this."""
        return people.Leaving(
            tenant_id=self.opt_out.tenant_id,
            fingerprint=self.opt_out.fingerprint,
            scope=scope,
            address=self.email.address if self.email else None,
            evidence=self.evidence,
        )


def opted_out(session: Session, opt_out: OptOut, how: How, now: datetime, *, scope: Scope | None = None) -> Outcome:
    """Opt out what the link is about, or `scope`; doing it twice is doing it once.

    A promotional link leaves the whole promotional stream (the topic where the tenant chose so), a transactional one
    its topic. Needs neither the email nor the address to exist any more. Raises `NotFound` for an unknown tenant.
    """
    act = _begin(session, opt_out, how)
    counted = bool(_of_this_email(session, act, now))
    scopes = _scopes(session, act) if scope is None else (scope,)
    left = [people.leave(session, act.leaving(each), now) for each in scopes]
    created = [each.entry for each in left if each.created]
    _tell(session, act, UNSUBSCRIBED, created, now)
    if created and not counted:
        _count(session, act, "unsubscribed", now)
    return Outcome(tuple(each.entry.id for each in left), bool(created), scopes[0])


def left_only(session: Session, opt_out: OptOut, topics: Collection[str], how: How, now: datetime) -> Outcome:
    """Leave exactly these promotional topics, in place of what this link left within the last 30 minutes.

    An older opt-out from everything stands: it is the person's word, and a forwarded link must not take it back.
    """
    act = _begin(session, opt_out, how)
    mine = _undoable(session, opt_out, now)
    own = {entry.id for entry in mine}
    wide = [entry for entry in _unsubscribed(session, opt_out, now) if _everything(entry) and entry.id not in own]
    if opt_out.stream is Stream.TRANSACTIONAL or wide:
        return opted_out(session, opt_out, how, now)
    counted = bool(_of_this_email(session, act, now))
    wanted = [rules.topic_scope(key) for key in sorted(topics)]
    left = [people.leave(session, act.leaving(scope), now) for scope in wanted]
    created = [each.entry for each in left if each.created]
    given_back = _lift(session, [entry for entry in mine if entry.scope not in wanted], now)
    _tell(session, act, UNSUBSCRIBED, created, now)
    _tell(session, act, RESUBSCRIBED, given_back, now)
    if created and not counted:
        _count(session, act, "unsubscribed", now)
    if given_back and not _of_this_email(session, act, now):
        _count(session, act, "resubscribed", now)
    scope = wanted[0] if wanted else rules.STREAM_PROMOTIONAL
    return Outcome(tuple(each.entry.id for each in left), bool(created), scope)


def undo(session: Session, opt_out: OptOut, now: datetime) -> Outcome | None:
    """Give back exactly what this link took away within the last 30 minutes; None where there is nothing to give back.

    Mail that was suppressed meanwhile stays suppressed.
    """
    act = _begin(session, opt_out, How(Kind.LINK))
    lifted = _lift(session, _undoable(session, opt_out, now), now)
    if not lifted:
        return None
    _tell(session, act, RESUBSCRIBED, lifted, now)
    if not _of_this_email(session, act, now):
        _count(session, act, "resubscribed", now)
    return Outcome(tuple(entry.id for entry in lifted), False, Scope(lifted[0].scope))


def choose(session: Session, opt_out: OptOut, chosen: Chosen, how: How, now: datetime) -> None:
    """Save a preference page: come back to what is wanted, leave the rest of what was shown.

    Who wants none of the promotional topics has left the promotional stream, and with it what is founded later.
    """
    act = _begin(session, opt_out, how)
    before = people.preferences(session, opt_out.tenant_id, opt_out.fingerprint, now)
    shown = [each for each in before.topics if each.topic.key in chosen.shown and each.may_leave]
    back = {each.topic.key for each in shown if each.left and each.topic.key in chosen.wanted}
    if back:
        rejoined = people.rejoin(session, act.leaving(rules.STREAM_PROMOTIONAL), back, now)
        _tell(session, act, RESUBSCRIBED, rejoined.lifted, now)
        _tell(session, act, UNSUBSCRIBED, rejoined.added, now)
    unwanted = [each.topic for each in shown if each.topic.key not in chosen.wanted]
    promotional = [each for each in shown if each.topic.stream is Stream.PROMOTIONAL]
    none = promotional and not any(each.topic.key in chosen.wanted for each in promotional)
    if none and not before.all_promotional_left:
        opted_out(session, opt_out, how, now, scope=rules.STREAM_PROMOTIONAL)
    for topic in unwanted:
        if not (none and topic.stream is Stream.PROMOTIONAL):
            opted_out(session, opt_out, how, now, scope=rules.topic_scope(topic.key))


def undoable(session: Session, opt_out: OptOut, now: datetime) -> bool:
    """Return whether this link can still take something back."""
    return bool(_undoable(session, opt_out, now))


def email_of(session: Session, opt_out: OptOut) -> Email | None:
    """Return the mail that the link stood in, None where it is gone or was another person's."""
    if opt_out.email is None:
        return None
    email = session.get(Email, ids.from_bytes("em", opt_out.email))
    matches = email and (email.tenant_id, email.fingerprint) == (opt_out.tenant_id, opt_out.fingerprint)
    return email if matches else None


def leaves_topic_only(opt_out: OptOut, tenant: Tenant) -> bool:
    """Return whether this link leaves a topic and not the promotional stream."""
    return opt_out.stream is Stream.TRANSACTIONAL or (
        tenant.opt_out_scope is OptOutScope.TOPIC and opt_out.topic is not None
    )


def _begin(session: Session, opt_out: OptOut, how: How) -> _Act:
    tenant = session.get(Tenant, opt_out.tenant_id)
    if tenant is None:
        raise NotFound("there is no such sender")
    return _Act(opt_out, how, tenant, email_of(session, opt_out))


def _scopes(session: Session, act: _Act) -> tuple[Scope, ...]:
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
    return tuple(found) or (rules.topic_scope(_NOTIFICATIONS),)


def _digest(opt_out: OptOut) -> str:
    """Return what tells one link from another in the evidence; the token itself would be a key to the person."""
    return hashlib.blake2b(opt_out.pack(), digest_size=12, person=b"opt-out token").hexdigest()


def _everything(entry: Entry) -> bool:
    return entry.scope in (rules.ALL, rules.STREAM_PROMOTIONAL)


def _unsubscribed(session: Session, opt_out: OptOut, now: datetime) -> list[Entry]:
    statement = (
        select(Entry)
        .where(
            col(Entry.tenant_id) == opt_out.tenant_id,
            col(Entry.fingerprint) == opt_out.fingerprint,
            col(Entry.reason).in_((Reason.UNSUBSCRIBE, Reason.COMPLAINT)),
            col(Entry.lifted_at).is_(None),
        )
        .order_by(col(Entry.id))
        .execution_options(populate_existing=True)
    )
    return [entry for entry in session.exec(statement) if entry.live(now)]


def _undoable(session: Session, opt_out: OptOut, now: datetime) -> list[Entry]:
    token = _digest(opt_out)
    return [
        entry
        for entry in _unsubscribed(session, opt_out, now)
        if (entry.evidence or {}).get("token") == token and now - entry.created_at <= UNDO_FOR
    ]


def _of_this_email(session: Session, act: _Act, now: datetime) -> list[Entry]:
    """Return what stands because of this mail: however often its links are used, it lost one person."""
    key = "token" if act.opt_out.email is None else "email_id"
    wanted = act.evidence.get(key)
    found = _unsubscribed(session, act.opt_out, now) if wanted else []
    return [entry for entry in found if (entry.evidence or {}).get(key) == wanted]


def _lift(session: Session, found: Iterable[Entry], now: datetime) -> list[Entry]:
    return [
        entries.lift(session, entry.tenant_id, entry.id, Ender.PERSON, "undone by its link", now) for entry in found
    ]


def _tell(session: Session, act: _Act, kind: str, found: Iterable[Entry], now: datetime) -> None:
    """Write one event an entry."""
    for entry in found:
        data: dict[str, object] = {"suppression_id": entry.id, "scope": entry.scope, "how": act.how.kind.value}
        if act.email is not None and act.email.campaign_id:
            data["campaign_id"] = act.email.campaign_id
        session.add(
            Event(
                id=ids.new("ev", now),
                tenant_id=entry.tenant_id,
                email_id=act.email.id if act.email else None,
                kind=kind,
                at=now,
                data=data,
            )
        )
    session.flush()


def _count(session: Session, act: _Act, metric: str, now: datetime) -> None:
    """Count on the day and in the dimensions of the mail; of the act and its topic where the mail is gone."""
    email, tally = act.email, counters.Tally()
    dims = counters.dimensions(
        tags=email.tags if email else None,
        topic=email.topic if email else act.opt_out.topic,
        template=email.template if email else None,
        campaign=email.campaign_id if email else None,
    )
    tally.add(act.opt_out.tenant_id, (email.created_at if email else now).date(), act.opt_out.stream, metric, dims)
    tally.write(session)
