"""May this be asked for? A draft, its template and its topic against what the tenant may send."""

import fnmatch
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from threading import Lock
from typing import NamedTuple

from sqlmodel import Session

from mailer import catalogue, events
from mailer.catalogue import Edition
from mailer.compose.errors import ContentError
from mailer.compose.skeleton import rehearse_literal
from mailer.compose.templates import Content as Body
from mailer.compose.templates import Urgency
from mailer.counters import Tally
from mailer.drafts import Draft, Mailbox
from mailer.errors import Forbidden, Invalid, Problem
from mailer.models import Opens
from mailer.settings import Settings
from mailer.status import Status
from mailer.submission.files import File, known
from mailer.submission.parties import House, Intake, Submitter
from mailer.tenancy import NOTIFICATIONS
from suppression import address
from suppression.rules import Stream, Topic

#: What belongs to no topic even where all other mail does (`NOTIFICATIONS`): invoices, security and access mail (spec
#: section 3), besides everything urgent.
OWED = frozenset({"invoice", "purchase-confirmation", "password-reset", "teammate-invite"})
#: Bytes of promotional HTML: room for the footer below the 102 KB at which Gmail clips (R3.11).
_LARGEST = 95 * 1024
#: The digests of the literal bodies that were rehearsed and found to be in order.
_rehearsed: dict[str, None] = {}
_KEPT = 4096
_lock = Lock()
_OPENS = list(Opens)
#: What a new email has not been through.
NOTHING_YET: Mapping[str, object] = {"attempts": 0, "tracked": False, "tracked_links": False, "maybe_duplicate": False}


class Person(NamedTuple):
    """One recipient: who, under which name, and the fingerprints that suppressions know them by."""

    address: address.Address
    name: str
    prints: tuple[bytes, ...]
    captured: bool


@dataclass(slots=True)
class Writing:
    """What one transaction will write, whoever asked for it."""

    rows: list[dict[str, object]] = field(default_factory=list)
    events: list[dict[str, object]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    #: How many emails of this moment a fact is about, by tenant, stream, metric and dimensions.
    facts: Counter[tuple[int, Stream, str, tuple[tuple[str, str], ...]]] = field(default_factory=Counter)

    def count(self, now: datetime) -> None:
        """Add up the facts of this moment."""
        for (tenant_id, stream, metric, dims), number in self.facts.items():
            self.tally.add(tenant_id, now.date(), stream, metric, dims, number, at=now)


@dataclass(slots=True)
class Desk:
    """One sender in one transaction: who asks, when, and what was looked up for it already."""

    session: Session
    sender: Submitter
    context: Intake
    now: datetime
    house: House
    writing: Writing
    editions: dict[str, Edition | Invalid] = field(default_factory=dict)
    literals: dict[tuple[str | None, ...], Edition] = field(default_factory=dict)
    #: What was found to be in order, by all that decides it: of many mails most say the same but for who and what.
    frames: dict[tuple[object, ...], "Frame"] = field(default_factory=dict)
    #: Whether a content that is new is stored: not where somebody only asks what would be.
    keeps: bool = True

    def edition(self, draft: Draft) -> Edition:
        """Return the content that a draft means, each looked up once."""
        if draft.template is None:
            return self._literal(draft)
        found = self.editions.get(draft.template)
        if found is None:
            try:
                mine = (self.session, self.sender.tenant_id)
                found = catalogue.resolve(*mine, draft.template, self.now, keep=self.keeps)
            except Invalid as error:
                found = error
            self.editions[draft.template] = found
        if isinstance(found, Invalid):
            raise found
        return found

    def _literal(self, draft: Draft) -> Edition:
        subject, locale = draft.subject or "", draft.locale or self.house.locale
        said = (draft.stream, subject, draft.html, draft.text, locale)
        found = self.literals.get(said)
        if found is None:
            body = catalogue.written(draft.stream, subject, draft.html, draft.text, locale=locale)
            if draft.stream is Stream.PROMOTIONAL and draft.html:
                _check_shown(body, draft.html)
            found = catalogue.literal(self.session, self.sender.tenant_id, body, self.now, keep=self.keeps)
            self.literals[said] = found
        return found

    def count(self, stream: Stream, metric: str, dims: Sequence[tuple[str, str]]) -> None:
        """Count one fact about an email of this moment."""
        self.writing.facts[self.house.tenant_id, stream, metric, tuple(dims)] += 1

    def tell(self, email_id: str, status: Status, data: dict[str, object]) -> None:
        """Note an event."""
        event = events.row(self.house.tenant_id, f"email.{status}", data, self.now, email_id=email_id)
        self.writing.events.append(event)


def _check_shown(body: Body, html: str) -> None:
    """Refuse promotional HTML whose reader would not see the way out; each body is rehearsed once a process."""
    if (size := len(html.encode("utf-8", "surrogatepass"))) > _LARGEST:
        sentence = (
            f"has {size} bytes: Gmail clips a mail at 102 KB and would hide the unsubscribe link;"
            f" shorten it to {_LARGEST} bytes (95 KB), or link to the rest"
        )
        raise Invalid(Problem("html", sentence))
    digest = body.digest()
    with _lock:
        if digest in _rehearsed:
            return
    try:
        rehearse_literal(body)
    except ContentError as error:
        raise Invalid(Problem("html", str(error))) from error
    with _lock:
        _rehearsed[digest] = None
        if len(_rehearsed) > _KEPT:
            del _rehearsed[next(iter(_rehearsed))]


class Frame(NamedTuple):
    """A draft that was found to be in order, whoever gets it."""

    edition: Edition
    topic: Topic | None
    #: The columns that all its emails share.
    shared: Mapping[str, object]
    #: When the mail is due, where that is later than now.
    due: datetime | None


class Plan(NamedTuple):
    """A draft that was found to be in order, with its recipients."""

    tenant_id: int
    draft: Draft
    topic: Topic | None
    people: Sequence[Person]
    shared: Mapping[str, object]
    details: Mapping[str, object]
    files: Sequence[File]
    #: When the mail is due, where that is later than now.
    due: datetime | None


def plan(desk: Desk, draft: Draft, urgency: Urgency) -> Plan:
    """Decide whether a draft can be accepted and what its emails share; raises with every problem at once."""
    if not desk.sender.may_send(draft.stream):
        raise Forbidden(f"the key may not send {draft.stream} mail: it lacks the scope send:{draft.stream}")
    edition = desk.edition(draft)
    checked = edition.body.schema.check(draft.variables) if draft.template else []
    people = _people(desk, draft)
    captured = all(person.captured for person in people)
    # The desk keeps each content, so no two have one id.
    said = (id(edition), urgency, captured, *_said(draft))
    frame = desk.frames.get(said)
    if frame is None or checked:
        frame = desk.frames[said] = framed(desk, draft, edition, urgency, variables=checked, captured=captured)
    shared, files = {**frame.shared, **_own(draft)}, known(desk.house.tenant_id, draft.attachments)
    return Plan(desk.house.tenant_id, draft, frame.topic, people, shared, details_of(draft), files, frame.due)


def _said(draft: Draft) -> tuple[object, ...]:
    """Return what of a draft `framed` looks at, beside the content."""
    sender, tracking = draft.from_, draft.tracking
    return (
        draft.stream,
        draft.topic,
        draft.locale,
        draft.scheduled_at,
        draft.expires_at,
        sender and (sender.email, sender.name),
        tracking and (tracking.opens, tracking.clicks),
    )


def _own(draft: Draft) -> Mapping[str, object]:
    """Return the columns that each draft has for itself."""
    return {
        "variables": draft.variables or None,
        "tags": draft.tags or None,
        "metadata": draft.metadata or None,
    }


def framed(
    desk: Desk, draft: Draft, edition: Edition, urgency: Urgency, *, variables: Sequence[Problem], captured: bool
) -> Frame:
    """Decide what does not depend on who gets it; `variables` is what is wrong with these, `captured`: nothing leaves.

    Raises `Invalid` with every problem at once.
    """
    problems: list[Problem] = []
    if edition.body.stream is not draft.stream:
        # A template names its stream: promotional content cannot be slipped through the transactional one.
        problems.append(Problem("stream", f"the template {draft.template} is {edition.body.stream}"))
    problems += [Problem(f"variables.{path}", message) for path, message in variables]
    topic = _topic(desk.house, draft, edition, problems)
    sender = _sender(desk.house, draft, problems)
    if draft.expires_at and draft.expires_at <= desk.now:
        problems.append(Problem("expires_at", "has passed already"))
    if draft.stream is Stream.PROMOTIONAL:
        _check_promotional(desk, topic, problems, captured=captured)
    if problems:
        raise Invalid(*problems)
    scheduled = draft.scheduled_at if draft.scheduled_at and draft.scheduled_at > desk.now else None
    opens, clicks = _measured(desk.house, draft)
    shared = {
        "tenant_id": desk.house.tenant_id,
        "stream": draft.stream,
        "urgency": int(Urgency.URGENT if edition.body.urgency is Urgency.URGENT else urgency),
        "due_at": scheduled or desk.now,
        "created_at": desk.now,
        "scheduled_at": scheduled,
        "expires_at": draft.expires_at,
        "content_id": edition.id,
        "template": edition.name,
        "locale": draft.locale or desk.house.locale,
        "campaign_id": None,
        "topic": topic.key if topic else None,
        "leavable": topic is not None and topic.may_leave,
        "from_address": sender[0],
        "from_name": sender[1],
        "opens": opens,
        "clicks": clicks,
        **NOTHING_YET,
        **_own(draft),
    }
    return Frame(edition, topic, shared, scheduled)


def _measured(house: House, draft: Draft) -> tuple[Opens, Opens]:
    """Return how opens and clicks are measured at most: a request lowers what the tenant allows."""
    asked = draft.tracking
    pairs = (
        (house.opens[draft.stream], asked.opens if asked else None),
        (house.clicks[draft.stream], asked.clicks if asked else None),
    )
    opens, clicks = (min(allowed, wanted or allowed, key=_OPENS.index) for allowed, wanted in pairs)
    return opens, clicks


def _topic(house: House, draft: Draft, edition: Edition, problems: list[Problem]) -> Topic | None:
    """Return what the recipient of this mail can leave; a request may not take away the way out that a template has."""
    key = draft.topic or edition.body.topic
    owed = edition.body.urgency is Urgency.URGENT or edition.name in OWED
    if key is None and draft.stream is Stream.TRANSACTIONAL and house.opt_out_in_every_mail and not owed:
        key = NOTIFICATIONS
    if key is None:
        return None
    topic = house.topics.get(key)
    if topic is None:
        problems.append(Problem("topic", f"there is no topic {key}"))
    elif key in house.retired:
        problems.append(Problem("topic", f"the topic {key} is retired: name another, or bring it back"))
    elif topic.stream is not draft.stream:
        problems.append(Problem("topic", f"the topic {key} is {topic.stream}, the email is {draft.stream}"))
    else:
        usual = house.topics.get(edition.body.topic or "")
        if usual and usual.may_leave and not topic.may_leave:
            problems.append(Problem("topic", f"mail of {edition.name} can be left, mail of the topic {key} cannot"))
    return topic


def _sender(house: House, draft: Draft, problems: list[Problem]) -> tuple[str, str]:
    if draft.from_ is None:
        if found := house.defaults.get(draft.stream):
            return found
        problems.append(Problem("from", f"the tenant has no address for {draft.stream} mail yet"))
        return "", ""
    known = house.identities.get(address.parse(draft.from_.email).canonical)
    if known is None:
        problems.append(Problem("from", "is not one of the tenant's addresses"))
        return "", ""
    return known[0], draft.from_.name or known[1]


def _check_promotional(desk: Desk, topic: Topic | None, problems: list[Problem], *, captured: bool) -> None:
    if topic is None and not any(problem.path == "topic" for problem in problems):
        problems.append(Problem("topic", "is required: promotional mail belongs to a topic that people can leave"))
    if not desk.house.postal_address:
        way = "set MAILER_POSTAL_ADDRESS" if desk.house.own_setting else "give the tenant one"
        problems.append(Problem("stream", f"promotional mail must show the sender's postal address: {way}"))
    if not captured and _lacks_https(desk.context.settings):
        sentence = "promotional mail to a real relay needs links by https: set MAILER_PUBLIC_URL to an https address"
        problems.append(Problem("stream", sentence))


@lru_cache(maxsize=8)
def _lacks_https(settings: Settings) -> bool:
    """Return whether opt-out links would not be https (RFC 8058 section 3.1), though mail leaves the house."""
    real = not settings.captures(Stream.PROMOTIONAL)
    return real and not settings.base_url(Stream.PROMOTIONAL).startswith("https://")


def _people(desk: Desk, draft: Draft) -> list[Person]:
    """Return each recipient once, however often the request names them."""
    found: dict[str, Person] = {}
    for mailbox in (*draft.to, *draft.cc, *draft.bcc):
        person = person_of(desk, mailbox.email, mailbox.name)
        found.setdefault(person.address.canonical, person)
    return list(found.values())


def person_of(desk: Desk, email: str | address.Address, name: str) -> Person:
    """Return a recipient as suppressions know them, and whether their mail only goes to the inbox."""
    who = address.parse(email) if isinstance(email, str) else email
    captured = desk.sender.captures or stays_inside(desk.context.settings, who)
    return Person(who, name, desk.context.fingerprints.all_of(desk.house.tenant_id, who.canonical), captured)


def stays_inside(settings: Settings, who: address.Address) -> bool:
    """Return whether mail to this address only goes to the inbox, since staging may not mail it."""
    allowed = _allowed(settings.only_to)
    return allowed is not None and not allowed.fullmatch(who.canonical)


@lru_cache(maxsize=8)
def _allowed(patterns: str) -> re.Pattern[str] | None:
    """Return what matches the addresses that staging may mail, None where all may be mailed."""
    wanted = [pattern.strip().lower() for pattern in patterns.split(",") if pattern.strip()]
    return re.compile("|".join(map(fnmatch.translate, wanted))) if wanted else None


def details_of(draft: Draft) -> dict[str, object]:
    """Return what few emails have, beside their files; nobody in bcc is ever part of it."""
    details: dict[str, object] = {}
    if draft.reply_to:
        details["reply_to"] = shown(draft.reply_to)
    if draft.headers:
        details["headers"] = draft.headers
    return details


def shown(mailboxes: Sequence[Mailbox]) -> list[tuple[str, str]]:
    """Return each mailbox once, as headers show it."""
    unique: dict[str, tuple[str, str]] = {}
    for mailbox in mailboxes:
        who = address.parse(mailbox.email)
        unique.setdefault(who.canonical, (who.envelope, mailbox.name))
    return list(unique.values())
