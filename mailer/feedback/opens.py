"""A picture was loaded: by whom, as far as one can tell, and whether that may be recorded."""

import asyncio
import hashlib
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import NamedTuple

from sqlmodel import Session, SQLModel, col, select

from mailer import counters, database, events, ids, people
from mailer.links import Audience, Hit
from mailer.models import ConsentRule, Email, Event, Opens, SeenHit, Tenant

#: 43 octets, GIF89a, one transparent pixel (R6.1).
GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
OPENED = "email.opened"
_BULK = 500
_CHUNK = 200
_log = logging.getLogger(__name__)


class Class(StrEnum):
    """Who loaded a picture."""

    HUMAN = "human"
    #: A provider's proxy, set off by the person (Gmail, Yahoo).
    PROXY = "proxy"
    #: A prefetch, a scanner or a program.
    MACHINE = "machine"
    UNKNOWN = "unknown"


class Rule(NamedTuple):
    """One row of the table: what a user agent looks like, and what that says."""

    id: str
    kind: Class
    agent: re.Pattern[str]


class Verdict(NamedTuple):
    """A class and the rule that decided it, so that reports can be worked out again."""

    kind: Class
    rule: str


def _rule(identifier: str, kind: Class, agent: str) -> Rule:
    return Rule(identifier, kind, re.compile(agent))


# At the start of the agent or of one of its parts: "Java/" must not be found in "MyJava/1.0" (R6.7).
_PART = r"(?:^|[\s;(,])"
_LIBRARIES = (
    r"curl|Wget|libcurl|[Pp]ython-[A-Za-z0-9]+|aiohttp|httpx2?|Go-http-client|Java|"
    r"Apache-HttpClient|Apache-HttpAsyncClient|Jakarta Commons-HttpClient|libwww-perl|LWP::Simple|axios|node-fetch|"
    r"undici|got|GuzzleHttp|PHP|Ruby|Faraday|HTTPie|PostmanRuntime|Scrapy|WinHttp|Zgrab|masscan"
)
_CRAWLERS = (
    r"Googlebot|bingbot|BingPreview|YandexBot|DuckDuckBot|Baiduspider|Slackbot|Slackbot-LinkExpanding|Twitterbot|"
    r"LinkedInBot|TelegramBot|Discordbot|facebookexternalhit|SkypeUriPreview|AhrefsBot|SemrushBot|UptimeRobot|Pingdom"
)
#: Read from the top; the first that fits decides.
RULES: tuple[Rule, ...] = (
    _rule("empty-agent", Class.MACHINE, r"^\s*$"),
    _rule("google-image-proxy", Class.PROXY, r"GoogleImageProxy"),
    _rule("yahoo-mail-proxy", Class.PROXY, r"YahooMailProxy"),
    _rule(
        "gmail-prefetch",
        Class.MACHINE,
        r"Chrome/42\.0\.2311\.135 Safari/537\.36 Edge/12\.246 Mozilla/5\.0\s*$",
    ),
    _rule("apple-mail-privacy", Class.MACHINE, r"^Mozilla/5\.0\s*$"),
    _rule(
        "scanner",
        Class.MACHINE,
        r"(?i)Barracuda|Proofpoint|Mimecast|SafeLinks|Microsoft Office Existence Discovery|Symantec|MessageLabs|"
        r"TrendMicro|Trend Micro|FireEye|Sophos|IronPort|Cloudmark|urlscan",
    ),
    _rule("headless-browser", Class.MACHINE, r"HeadlessChrome|PhantomJS|SlimerJS|Puppeteer|Playwright|Selenium"),
    _rule("http-library", Class.MACHINE, rf"{_PART}(?:{_LIBRARIES})(?:/|\s*$)"),
    _rule("crawler", Class.MACHINE, rf"{_PART}(?:{_CRAWLERS})(?:/|[\s;)]|$)"),
    _rule("mail-program", Class.HUMAN, r"Thunderbird/|Microsoft Outlook|Outlook-(?:iOS|Android)|\bMSOffice \d"),
    _rule("browser", Class.HUMAN, r"^(?:Mozilla/5\.0 \([^)]+\).*(?:AppleWebKit/|Gecko/|Trident/|KHTML)|Opera/\d)"),
)


class Sighting(NamedTuple):
    """One load of a picture, as it waits to be written; neither agent nor network address is kept."""

    hit: Hit
    verdict: Verdict
    at: datetime


def classify(user_agent: str | None, method: str) -> Verdict:
    """Return who loaded a picture, and the rule that says so."""
    if method != "GET":
        return Verdict(Class.MACHINE, "head" if method == "HEAD" else "method")
    agent = (user_agent or "")[:1000]
    found = next((rule for rule in RULES if rule.agent.search(agent)), None)
    return Verdict(found.kind, found.id) if found else Verdict(Class.UNKNOWN, "none")


class Hits:
    """What was seen and is not written yet: bounded, so that a flood costs memory no more than `limit`.

    `write` stores a few hundred at once in a transaction of its own. While the database is away what is here waits;
    what finds no room is dropped and counted. One event loop may use it.
    """

    def __init__(
        self, write: Callable[[Sequence[Sighting]], Awaitable[None]], *, limit: int = 20_000, pause: float = 0.5
    ) -> None:
        """Begin empty; `pause` is the time between two writes in seconds."""
        self._write = write
        self._limit = limit
        self._pause = pause
        self._waiting: deque[Sighting] = deque()
        self._stopping = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        #: How many were lost, for the metrics page.
        self.dropped = 0

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    def add(self, sighting: Sighting) -> bool:
        """Keep a sighting to be written and return whether there was room; never waits."""
        if len(self._waiting) >= self._limit:
            self.dropped += 1
            return False
        self._waiting.append(sighting)
        return True

    def start(self) -> None:
        """Begin to write in the background of the running event loop."""
        self._stopping.clear()
        self._writer = asyncio.create_task(self._run(), name="hits")

    async def stop(self) -> None:
        """Write what waits and end; what cannot be written now is lost, and counted."""
        self._stopping.set()
        if self._writer is not None:
            await self._writer
            self._writer = None
        await self.flush()
        self.dropped += len(self._waiting)
        self._waiting.clear()

    async def flush(self) -> None:
        """Write what waits now."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_BULK, len(self._waiting)))]
            try:
                await self._write(batch)
            except Exception as error:  # noqa: BLE001 - a picture of a mail must not end the writer of all others
                if database.unreachable(error):
                    self._waiting.extendleft(reversed(batch))
                else:
                    self.dropped += len(batch)
                # No text of the error: it may hold what the statement held.
                _log.warning("%d loaded pictures were not written: %s", len(batch), type(error).__name__)
                return

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), self._pause)
            except TimeoutError:
                await self.flush()


def record(session: Session, sightings: Sequence[Sighting], now: datetime) -> None:
    """Store what may be stored: consent is asked now, not when the mail was made (spec section 9)."""
    tally = counters.Tally()
    for start in range(0, len(sightings), _CHUNK):
        chunk = sightings[start : start + _CHUNK]
        _record_emails(session, [each for each in chunk if each.hit.email_id], tally, now)
        _record_audiences(session, [each for each in chunk if each.hit.audience], tally, now)
    tally.write(session)


def _record_emails(session: Session, sightings: Sequence[Sighting], tally: counters.Tally, now: datetime) -> None:
    emails = _permitted(session, {each.hit.email_id for each in sightings if each.hit.email_id})
    known = _classes_seen(session, emails)
    happened: list[dict[str, object]] = []
    fresh: dict[tuple[int, bytes], tuple[Email, Class]] = {}
    for sighting in sightings:
        email = emails.get(sighting.hit.email_id or "")
        if email is None:
            continue
        kind, rule = sighting.verdict
        data = {"class": kind.value, "rule": rule}
        happened.append(events.row(email.tenant_id, OPENED, data, sighting.at, email_id=email.id))
        if (email.id, kind) not in known:
            fresh[email.tenant_id, _mark(ids.to_bytes(email.id), kind)] = (email, kind)
    events.write(session, happened)
    # The rows of seen marks decide between two processes that see the first load of a mail at the same moment.
    for key in _first(session, fresh, now.date()):
        email, kind = fresh[key]
        dims = counters.dimensions(
            tags=email.tags, topic=email.topic, template=email.template, campaign=email.campaign_id
        )
        tally.add(email.tenant_id, email.created_at.date(), email.stream, f"opens:{kind}", dims)


def _permitted(session: Session, wanted: Collection[str]) -> Mapping[str, Email]:
    """Return the mails whose loads may be tied to their person: measured individually, not erased, consented."""
    if not wanted:
        return {}
    statement = (
        select(Email, Tenant)
        .join(Tenant, col(Tenant.id) == col(Email.tenant_id))
        .where(
            database.among(session, col(Email.id), sorted(wanted)),  # type: ignore[arg-type]
            col(Email.opens) == Opens.INDIVIDUAL,
            col(Email.address).is_not(None),
            col(Email.fingerprint).is_not(None),
        )
    )
    found = [
        (email, tenant.consent, email.fingerprint) for email, tenant in session.exec(statement) if email.fingerprint
    ]
    people_of: dict[int, set[bytes]] = {}
    for email, _, fingerprint in found:
        people_of.setdefault(email.tenant_id, set()).add(fingerprint)
    said = {tenant: people.tracking_choices(session, tenant, who) for tenant, who in people_of.items()}
    return {
        email.id: email
        for email, rule, fingerprint in found
        if _may_measure(rule, said[email.tenant_id].get(fingerprint))
    }


def _may_measure(rule: ConsentRule, choice: bool | None) -> bool:
    return choice is True if rule is ConsentRule.REQUIRED else choice is not False


def _classes_seen(session: Session, emails: Mapping[str, Email]) -> set[tuple[str, str]]:
    if not emails:
        return set()
    kind = col(Event.data)["class"].as_string()
    statement = (
        select(col(Event.email_id), kind)
        .where(
            database.among(session, col(Event.email_id), sorted(emails)),  # type: ignore[arg-type]
            col(Event.kind) == OPENED,
        )
        .distinct()
    )
    return {(str(email_id), str(seen)) for email_id, seen in session.exec(statement)}


def _record_audiences(session: Session, sightings: Sequence[Sighting], tally: counters.Tally, now: datetime) -> None:
    """Count the loads that name no person, each random number once a class."""
    fresh: dict[tuple[int, bytes], tuple[Audience, Class]] = {}
    for sighting in sightings:
        if audience := sighting.hit.audience:
            kind = sighting.verdict.kind
            fresh[audience.tenant_id, _mark(sighting.hit.mark, kind)] = (audience, kind)
    tenants = {tenant for tenant, _ in fresh}
    existing = set(session.exec(select(Tenant.id).where(col(Tenant.id).in_(tenants)))) if tenants else set()
    for key in _first(session, {key: each for key, each in fresh.items() if key[0] in existing}, now.date()):
        audience, kind = fresh[key]
        tagged = audience.campaign and not audience.campaign.startswith("ca_")
        dims = counters.dimensions(
            tags={"campaign": audience.campaign} if tagged else None,
            topic=audience.topic or None,
            template=audience.template or None,
            campaign=None if tagged else audience.campaign or None,
        )
        tally.add(audience.tenant_id, audience.day, audience.stream, f"opens:{kind}", dims)


def _mark(number: bytes, kind: Class) -> bytes:
    """Return what stands for a picture and who loaded it: a prefetch does not hide the person who opens later."""
    return hashlib.blake2b(number, digest_size=16, person=kind.encode()).digest()


def _first(session: Session, marks: Iterable[tuple[int, bytes]], today: date) -> list[tuple[int, bytes]]:
    """Return those marks that nobody had seen, and remember them."""
    table = SQLModel.metadata.tables[str(SeenHit.__tablename__)]
    # One order for all writers, so that two never wait for each other.
    rows = [{"tenant_id": tenant, "mark": mark, "day": today} for tenant, mark in sorted(marks)]
    if not rows:
        return []
    statement = database.insert(session, table).values(rows).on_conflict_do_nothing()
    found = session.execute(statement.returning(table.c.tenant_id, table.c.mark))
    return [(int(tenant), bytes(mark)) for tenant, mark in found]
