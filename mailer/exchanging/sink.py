"""Entries of a list on their way into the database, a chunk at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import and_, or_
from sqlmodel import Session, col, select

from mailer import people
from mailer.database import Database
from mailer.exchanging import places
from mailer.exchanging.places import Place
from mailer.models import Email
from mailer.people import telling
from mailer.status import WAITING, Status
from suppression import entries, rules
from suppression.address import Fingerprints
from suppression.entries import Kin, KinKind, NewEntry
from suppression.exchange import Found, Nothing
from suppression.lines import Refusal
from suppression.rules import Ender, Origin, Reason

#: How many people with waiting mail a transaction stops, each with some statements of its own.
_STOPPED = 20
#: After everything else that wants to write to SQLite.
BULK = 2
#: For how long a soft bounce counts that comes without an end.
_SOFT = timedelta(days=30)
#: How many groups of another system are named in an answer.
_MOST_GROUPS = 100

_Key = tuple[bytes, Reason, str]
#: The fingerprints of each entry's mailbox by every key, the newest first, with the id of its key.
_Named = Mapping[_Key, Mapping[bytes, str]]


@dataclass(slots=True)
class Imported:
    """What became of a list; the first four count each entry of it once."""

    #: Entries that were added, or would be.
    new: int = 0
    #: Entries that stood already, or were named before.
    standing: int = 0
    #: Records that forbid nothing: they have ended, or their contact may be written to.
    nothing: int = 0
    #: Lines that could not be used.
    refused: int = 0
    #: "unsubscribe stream:promotional" -> how many of the new ones.
    kinds: dict[str, int] = field(default_factory=dict)
    #: Groups that no topic was named for, so that the whole promotional stream is left -> how many entries.
    widened: dict[str, int] = field(default_factory=dict)
    #: Nothing was written.
    dry_run: bool = False
    #: Lines before this byte were read by an import that was cut off.
    resumed_at: int = 0

    @property
    def counts(self) -> dict[str, int]:
        """Return how many entries became what."""
        return {"new": self.new, "standing": self.standing, "nothing": self.nothing, "refused": self.refused}

    def resume(self, place: Place) -> None:
        """Count what an import counted that was cut off."""
        self.resumed_at = place.position
        for name, number in place.counts.items():
            setattr(self, name, number)

    def added(self, new: NewEntry) -> None:
        """Count a new entry."""
        self.new += 1
        kind = f"{new.reason} {new.scope}"
        self.kinds[kind] = self.kinds.get(kind, 0) + 1

    def widen(self, group: str) -> None:
        """Count an entry of a group that no topic was named for."""
        if group in self.widened or len(self.widened) < _MOST_GROUPS:
            self.widened[group] = self.widened.get(group, 0) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Whose list is brought in, and where to."""

    database: Database
    fingerprints: Fingerprints
    tenant_id: int
    #: One of `suppression.exchange.FORMS`.
    form: str
    now: Callable[[], datetime]
    #: Only say what would be done.
    dry_run: bool = False


class Sink:
    """Entries on their way into the database, a chunk at a time."""

    def __init__(
        self, order: Order, topics: frozenset[str], told: Imported, refused: Callable[[Refusal], object]
    ) -> None:
        """Begin; `topics` can be left, and each line that is of no use is told to `refused`."""
        self._order, self._topics, self._told, self._refused = order, topics, told, refused
        #: Where it is kept how far the list was read, if anywhere.
        self.place: Place | None = None
        #: What is not written yet.
        self.waiting: dict[_Key, NewEntry] = {}
        self._named: dict[_Key, Mapping[bytes, str]] = {}

    def take(self, item: Found | Nothing | Refusal) -> None:
        """Count what a line said, and keep what it forbids until it is written."""
        if isinstance(item, Refusal):
            self._refuse(item)
        elif isinstance(item, Nothing):
            self._told.nothing += 1
        else:
            self._found(item)

    def _refuse(self, refusal: Refusal) -> None:
        self._told.refused += 1
        self._refused(refusal)

    def _found(self, found: Found) -> None:
        topic = found.scope.removeprefix(rules.TOPIC_PREFIX)
        if topic != found.scope and topic not in self._topics:
            self._refuse(Refusal(found.line, f"there is no topic {topic} that can be left: make it, or name another"))
            return
        order, now = self._order, self._order.now()
        began = min(found.at, now) if found.at is not None else None
        ends = found.expires_at
        if not rules.may_end(found.reason, Ender.TIME):
            ends = None
        elif ends is None:
            ends = (began or now) + _SOFT
        if ends is not None and ends <= now:
            self._told.nothing += 1
            return
        if found.widened:
            self._told.widen(found.widened)
        named = order.fingerprints.named(order.tenant_id, found.address.canonical)
        fingerprint = next(iter(named))
        key = (fingerprint, found.reason, str(found.scope))
        if key in self.waiting:
            self._told.standing += 1
            return
        self._named[key] = named
        self.waiting[key] = NewEntry(
            tenant_id=order.tenant_id,
            fingerprint=fingerprint,
            key_id=order.fingerprints.primary_id,
            reason=found.reason,
            scope=found.scope,
            origin=Origin.IMPORT,
            address=found.address.original,
            expires_at=ends,
            note=found.note,
            evidence={"list": order.form, **found.evidence},
            created_at=began,
        )

    async def write(self, position: int) -> None:
        """Write what waits, and that the list is read up to there."""
        news, named = self.waiting, self._named
        self.waiting, self._named = {}, {}
        order = self._order
        if order.dry_run:
            self._count(news, await order.database.read(lambda session: self._standing(session, news, named)))
            return
        known, busy = await order.database.read(
            lambda session: (self._standing(session, news, named, only_older=True), self._busy(session, news, named))
        )
        self._told.standing += len(known)
        rest = {key: new for key, new in news.items() if key not in known}
        people_with_mail = [new for key, new in rest.items() if key[0] in busy]
        for start in range(0, len(people_with_mail), _STOPPED):
            some = people_with_mail[start : start + _STOPPED]
            self._count_made(some, await self._stopped(some, named))
        others = [new for key, new in rest.items() if key[0] not in busy]
        if others or self.place is not None:
            made = await order.database.run(
                lambda session: self._add(session, others, named, position), urgency=BULK, conclusive=bool(others)
            )
            self._count_made(others, made)

    async def _stopped(self, news: Sequence[NewEntry], named: _Named) -> set[_Key]:
        order = self._order

        def verb(session: Session) -> set[_Key]:
            self._relate(session, news, named)
            return _stop(session, self._nameless(session, news, named), order.now())

        return await order.database.run(verb, urgency=BULK, conclusive=True)

    def _relate(self, session: Session, news: Sequence[NewEntry], named: _Named) -> None:
        """While there are several keys, keep which fingerprints are one person's: an older one finds the entry."""
        groups = [named[_key_of(new)] for new in news]
        entries.relate(session, self._order.tenant_id, groups, KinKind.KEY, self._order.now())

    def _nameless(self, session: Session, news: Sequence[NewEntry], named: _Named) -> list[NewEntry]:
        """Take address and words out of what the list says of erased people: it forbids, and brings nothing back."""
        prints = {print_ for new in news for print_ in named[_key_of(new)]}
        gone = entries.erased(session, self._order.tenant_id, prints) if prints else set[bytes]()
        bare = {"list": self._order.form}
        return [
            replace(new, address=None, note=None, evidence=bare) if gone & named[_key_of(new)].keys() else new
            for new in news
        ]

    def _add(self, session: Session, news: Sequence[NewEntry], named: _Named, position: int) -> set[_Key]:
        now = self._order.now()
        self._relate(session, news, named)
        added = entries.add_new(session, self._nameless(session, news, named), now)
        people.tell(session, [telling.created(entry) for entry in added], now)
        made = {(entry.fingerprint, entry.reason, entry.scope) for entry in added}
        if self.place is not None:
            counts = self._told.counts
            counts["new"] += len(made)
            counts["standing"] += len(news) - len(made)
            places.move(session, self.place, position, counts)
        return made

    def _standing(
        self,
        session: Session,
        news: Mapping[_Key, NewEntry],
        named: _Named,
        *,
        only_older: bool = False,
    ) -> set[_Key]:
        """Return which entries stand already; `only_older`: by fingerprints of older keys."""
        wanted = {key: tuple(named[key])[1 if only_older else 0 :] for key in news}
        prints = {print_ for each in wanted.values() for print_ in each}
        if not prints:
            return set()
        there = entries.standing(session, self._order.tenant_id, prints, self._order.now())
        return {key for key, own in wanted.items() if any((print_, key[1].value, key[2]) in there for print_ in own)}

    def _busy(self, session: Session, news: Mapping[_Key, NewEntry], named: _Named) -> set[bytes]:
        """Return who has mail that waits, or other fingerprints whose mail may wait: they are stopped one by one."""
        owners = {print_: key[0] for key in news for print_ in named[key]}
        if not owners:
            return set()
        tenant_id = self._order.tenant_id
        claimed = and_(col(Email.status) == Status.SENDING, col(Email.intent_at).is_(None))
        mail = select(Email.fingerprint).where(
            col(Email.tenant_id) == tenant_id,
            col(Email.fingerprint).in_(list(owners)),
            or_(col(Email.status).in_(WAITING), claimed),
        )
        kin = select(Kin.fingerprint).where(col(Kin.tenant_id) == tenant_id, col(Kin.fingerprint).in_(list(owners)))
        found = [*session.exec(mail), *session.exec(kin)]
        return {owners[bytes(print_)] for print_ in found if print_ is not None}

    def _count(self, news: Mapping[_Key, NewEntry], standing: set[_Key]) -> None:
        self._told.standing += len(standing)
        for key, new in news.items():
            if key not in standing:
                self._told.added(new)

    def _count_made(self, news: Sequence[NewEntry], made: set[_Key]) -> None:
        for new in news:
            if _key_of(new) in made:
                self._told.added(new)
            else:
                self._told.standing += 1


def _key_of(new: NewEntry) -> _Key:
    return new.fingerprint, new.reason, str(new.scope)


def _stop(session: Session, news: Sequence[NewEntry], now: datetime) -> set[_Key]:
    """Add entries with everything that they stop; return which are new."""
    left = [people.suppress(session, new, now) for new in news]
    return {_key_of(new) for new, each in zip(news, left, strict=True) if each.created}
