"""Opt in: whoever asks gets one mail, and only a yes from the mailbox itself begins anything (double opt-in)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from sqlalchemy import func, or_, update
from sqlmodel import Session, SQLModel, col, select

from mailer import database, ids, people, submission
from mailer.drafts import Draft, parse
from mailer.errors import Invalid, NotFound, Problem
from mailer.feedback.optouts import How, begin, tell_each
from mailer.models import Opens, OptIn, Person, Tenant, Topic, Visibility
from mailer.people import EventKind, Leaving, Permission
from mailer.submission import Accepted, Intake, Submitter
from mailer.subscribing.counting import one_at_a_time
from suppression import address, rules
from suppression.rules import Stream
from suppression.token import OptOut

#: How long the mailbox has time to say yes.
CONFIRM_FOR = timedelta(days=7)
#: How long after that the address of somebody who never answered is kept.
FORGET_AFTER = timedelta(days=1)
TEMPLATE = "confirm-subscription"

#: Tenant ids begin with 1, so no fingerprint of a mailbox is one of a network.
_OF_NO_TENANT = 0
_GONE = b"\x00" * 16


class Counted(StrEnum):
    """By what requests are counted."""

    #: One mailbox of one tenant: nobody's mailbox is filled by asking again and again.
    ADDRESS = "address"
    #: One network, over all tenants: nobody fills many mailboxes.
    NETWORK = "network"


class Limit(NamedTuple):
    """How many requests are answered with a mail within a time."""

    counted: Counted
    most: int
    within: timedelta


#: Against list bombing (R10.10); what is over a limit gets the same answer and no mail.
LIMITS = (
    Limit(Counted.ADDRESS, 1, timedelta(minutes=2)),
    Limit(Counted.ADDRESS, 3, timedelta(days=1)),
    Limit(Counted.NETWORK, 20, timedelta(hours=1)),
    Limit(Counted.NETWORK, 100, timedelta(days=1)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Who asks for what, and what will prove it."""

    tenant_id: int
    email: str
    topics: Sequence[str]
    #: The form or program by which it is asked.
    source: str
    #: Which version of the words was read.
    wording: str
    name: str = ""
    locale: str | None = None
    #: Where it comes from; None where product code does not say, then it is not counted by network.
    ip: str | None = None
    #: Whether only topics that everybody sees can be asked for.
    public: bool = True
    #: The mail goes to the inbox only.
    captures: bool = False


class State(StrEnum):
    """How a request to get mail stands."""

    WAITING = "waiting"
    CONFIRMED = "confirmed"
    #: Said yes to once, and left since: the same link does not bring it back.
    LEFT = "left"
    LATE = "late"


class Standing(NamedTuple):
    """A request to get mail, as its mailbox may see it."""

    opt_in: OptIn
    tenant: Tenant
    topics: Sequence[Topic]
    state: State

    @property
    def who(self) -> str | None:
        """Return the masked address, None where it is gone."""
        return address.mask(self.opt_in.address) if self.opt_in.address else None

    def opt_out(self) -> OptOut:
        """Return what a link of the confirmation mail would leave."""
        email = ids.to_bytes(self.opt_in.email_id) if self.opt_in.email_id else None
        topic = self.opt_in.topics[0] if len(self.opt_in.topics) == 1 else None
        return OptOut(self.opt_in.tenant_id, self.opt_in.fingerprint, Stream.PROMOTIONAL, topic, email)


def ask(session: Session, request: Request, context: Intake, now: datetime) -> Accepted | None:
    """Send the mail that asks for a yes, and return it; None where a limit holds it back.

    Raises `Invalid` for an address or topic that cannot be. Ring the mail's stream after your transaction's commit.
    """
    tenant = session.get(Tenant, request.tenant_id)
    if tenant is None:
        raise NotFound("there is no such tenant")
    wanted = _wanted(session, request)
    try:
        who = address.parse(request.email)
    except address.AddressError as error:
        raise Invalid(Problem("email", str(error))) from None
    prints = context.fingerprints.all_of(request.tenant_id, who.canonical)
    network = _network(request, context)
    if _limited(session, request.tenant_id, prints, network, now):
        return None
    opt_in = OptIn(
        id=ids.new("oi", now),
        tenant_id=request.tenant_id,
        fingerprint=prints[0],
        key_id=context.fingerprints.primary_id,
        address=who.original,
        name=request.name,
        locale=request.locale or tenant.locale,
        topics=[topic.key for topic in wanted],
        source=request.source,
        wording=request.wording,
        ip=request.ip if tenant.keep_ip else None,
        network=network or _GONE,
        created_at=now,
        expires_at=now + CONFIRM_FOR,
    )
    sender = Submitter(request.tenant_id, frozenset({"send:transactional"}), request.captures)
    accepted = submission.submit(session, sender, _mail(opt_in, wanted, context), context, now)
    opt_in.email_id = accepted.id
    session.add(opt_in)
    session.flush()
    return accepted


def askable(session: Session, tenant_id: int) -> Sequence[Topic]:
    """Return the topics that a public form offers: promotional ones that everybody sees."""
    return [
        topic
        for topic in people.topics(session, tenant_id)
        if topic.stream is Stream.PROMOTIONAL and topic.visibility is Visibility.PUBLIC and not topic.retired
    ]


def look(session: Session, opt_in_id: str, now: datetime) -> Standing | None:
    """Return how a request stands, None where there is none or its person was erased; nothing changes by it."""
    statement = select(OptIn).where(col(OptIn.id) == opt_in_id).execution_options(populate_existing=True)
    opt_in = session.exec(statement).one_or_none()
    tenant = session.get(Tenant, opt_in.tenant_id) if opt_in else None
    if opt_in is None or tenant is None or opt_in.address is None:
        return None
    topics = [topic for topic in people.topics(session, opt_in.tenant_id) if topic.key in opt_in.topics]
    return Standing(opt_in, tenant, topics, _state(session, opt_in, now))


def confirm(session: Session, opt_in_id: str, how: How, now: datetime, *, read: str = "") -> Standing | None:
    """Say yes from the mailbox, once: record the consent, end what stood in the way; None as for `look`.

    What this very person had left, or complained about, ends for the topics that they asked for, and for no other.
    `read` is what stood on the button's page. A later yes by the same link changes nothing.
    """
    found = look(session, opt_in_id, now)
    if found is None or found.state is not State.WAITING:
        return found
    waits = update(OptIn).where(col(OptIn.id) == opt_in_id, col(OptIn.confirmed_at).is_(None)).values(confirmed_at=now)
    if session.execute(waits.returning(col(OptIn.id)).execution_options(synchronize_session=False)).first():
        _begin(session, found, how, now, read)
    return look(session, opt_in_id, now)


def forget_unanswered(session: Session, now: datetime) -> None:
    """Forget who was asked and never said yes: somebody else may have typed their address."""
    opt_ins = SQLModel.metadata.tables[str(OptIn.__tablename__)]
    old = (
        select(OptIn.id)
        .where(
            col(OptIn.created_at) < now - CONFIRM_FOR - FORGET_AFTER,
            col(OptIn.confirmed_at).is_(None),
            or_(col(OptIn.address).is_not(None), col(OptIn.network) != _GONE),
        )
        .limit(1000)
    )
    session.execute(
        opt_ins.update()
        .where(opt_ins.c.id.in_(old.scalar_subquery()))
        .values(address=None, name="", ip=None, network=_GONE)
    )


def _wanted(session: Session, request: Request) -> Sequence[Topic]:
    """Return the topics that are asked for, in the tenant's order."""
    if not request.topics:
        raise Invalid(Problem("topics", "name at least one topic"))
    known = askable(session, request.tenant_id)
    if not request.public:
        every = people.topics(session, request.tenant_id)
        known = [topic for topic in every if people.may_leave(topic) and not topic.retired]
    missing = [key for key in request.topics if key not in {topic.key for topic in known}]
    if missing:
        raise Invalid(Problem("topics", f"there is no topic {missing[0]} that can be asked for"))
    return [topic for topic in known if topic.key in request.topics]


def _network(request: Request, context: Intake) -> bytes | None:
    """Return what stands for the network of a request, keyed so that it tells nobody the address."""
    if request.ip is None:
        return None
    try:
        found = ip_address(request.ip)
    except ValueError:
        # What does not say where it comes from is counted together.
        return context.fingerprints.of(_OF_NO_TENANT, "network unknown")
    # One subscriber has a whole /64 of IPv6 addresses (RFC 6177).
    whole = int(found) >> 64 if isinstance(found, IPv6Address) else int(found)
    return context.fingerprints.of(_OF_NO_TENANT, f"network {found.version} {whole:x}")


def _limited(session: Session, tenant_id: int, prints: Sequence[bytes], network: bytes | None, now: datetime) -> bool:
    """Return whether a limit is reached; who asks at the same moment waits until this one is counted."""
    keys = {Counted.ADDRESS: (tenant_id.to_bytes(8) + prints[0]), Counted.NETWORK: network or b""}
    one_at_a_time(session, filter(None, keys.values()))
    same = {
        Counted.ADDRESS: (col(OptIn.tenant_id) == tenant_id) & col(OptIn.fingerprint).in_(prints),
        Counted.NETWORK: col(OptIn.network) == network,
    }
    for limit in LIMITS:
        if not keys[limit.counted]:
            continue
        within = select(func.count()).where(same[limit.counted], col(OptIn.created_at) > now - limit.within)
        if session.exec(within).one() >= limit.most:
            return True
    return False


def _mail(opt_in: OptIn, wanted: Sequence[Topic], context: Intake) -> Draft:
    language = opt_in.locale.partition("-")[0]
    return parse(
        Draft,
        {
            "stream": Stream.TRANSACTIONAL,
            "to": {"email": opt_in.address, "name": opt_in.name},
            "template": TEMPLATE,
            "locale": opt_in.locale,
            "variables": {
                "confirm_url": context.links.confirm(opt_in.id),
                "topics": [topic.name_in(language) for topic in wanted],
                "expires_at": opt_in.expires_at.isoformat(),
            },
            # The request may be a stranger's: a mail that asks for permission measures nobody.
            "tracking": {"opens": Opens.OFF, "clicks": Opens.OFF},
            "expires_at": opt_in.expires_at,
        },
    )


def _state(session: Session, opt_in: OptIn, now: datetime) -> State:
    if opt_in.confirmed_at is not None:
        chosen = people.preferences(session, opt_in.tenant_id, opt_in.fingerprint, now)
        left = any(each.left for each in chosen.topics if each.topic.key in opt_in.topics)
        return State.LEFT if left else State.CONFIRMED
    return State.LATE if now >= opt_in.expires_at else State.WAITING


def _begin(session: Session, found: Standing, how: How, now: datetime, read: str) -> None:
    opt_in, opt_out = found.opt_in, found.opt_out()
    act = begin(session, opt_out, how, now)
    leaving = Leaving(
        tenant_id=opt_in.tenant_id,
        fingerprint=opt_in.fingerprint,
        scope=rules.STREAM_PROMOTIONAL,
        address=opt_in.address,
        evidence=act.evidence,
    )
    rejoined = people.rejoin(session, leaving, opt_in.topics, now)
    tell_each(session, act, EventKind.RESUBSCRIBED, rejoined.lifted, now)
    tell_each(session, act, EventKind.UNSUBSCRIBED, rejoined.added, now)
    evidence = {"opt_in_id": opt_in.id, "asked_at": opt_in.created_at.isoformat()}
    for topic in found.topics:
        people.permit(
            session,
            Permission(
                tenant_id=opt_in.tenant_id,
                fingerprint=opt_in.fingerprint,
                purpose=rules.topic_scope(topic.key),
                source=opt_in.source,
                wording=opt_in.wording,
                ip=how.ip if found.tenant.keep_ip else None,
                email_id=opt_in.email_id,
                evidence=evidence | ({"read": read} if read else {}),
            ),
            now,
        )
    if any(topic.stream is Stream.PROMOTIONAL for topic in found.topics):
        # Who says yes today wants it from today on: a pause from before is over.
        people.wake(session, opt_in.tenant_id, opt_in.fingerprint, now)
    _remember_language(session, opt_in, now)


def _remember_language(session: Session, opt_in: OptIn, now: datetime) -> None:
    """Keep the language in which somebody asked, unless they chose one before."""
    persons = SQLModel.metadata.tables[str(Person.__tablename__)]
    statement = database.insert(session, persons).values(
        tenant_id=opt_in.tenant_id,
        fingerprint=opt_in.fingerprint,
        key_id=opt_in.key_id,
        address=opt_in.address,
        locale=opt_in.locale,
        changed_at=now,
    )
    session.execute(statement.on_conflict_do_nothing(index_elements=["tenant_id", "fingerprint"]))
