"""A tenant with topics, people and mail over a real database, and the recipients' routes over it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import httpx2
from sqlalchemy import func
from sqlalchemy import select as sql_select
from sqlmodel import Session, SQLModel, col, select
from starlette.applications import Starlette

from mailer import ids
from mailer.counters import ALL, FACTS
from mailer.database import Database
from mailer.feedback.tracking.hits import Hits
from mailer.feedback.tracking.networks import NetworkFile
from mailer.feedback.tracking.recording import record
from mailer.feedback.tracking.sightings import Sighting
from mailer.inbox import Store
from mailer.links import Links
from mailer.models import Content, Email, Event, Identity, LeaveRule, Opens, Tenant, Topic
from mailer.settings import Settings
from mailer.status import Status
from mailer.submission import Intake
from mailer.web.recipient import routes
from suppression import entries
from suppression.address import Fingerprints, parse
from suppression.entries import Entry, Question
from suppression.rules import Stream
from suppression.rules import Topic as Asked
from suppression.token import OptOut, Ring

RING = "k2:" + "s" * 32 + ",k1:" + "o" * 32
OLD_RING = "k1:" + "o" * 32
PRINTS = Fingerprints("f1:" + "f" * 32)
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
ANN, BOB = "ann.weaver@example.org", "bob@example.com"
UNSUBSCRIBED, RESUBSCRIBED = "email.unsubscribed", "email.resubscribed"


class Answer(NamedTuple):
    """What one click or POST met."""

    status: int
    text: str
    headers: httpx2.Headers


@dataclass
class World:
    """What a test arranges, does and asks."""

    database: Database
    links: Links = field(default_factory=lambda: Links(Settings(), Ring(RING)))
    time: datetime = NOON
    folder: TemporaryDirectory[str] = field(default_factory=TemporaryDirectory)
    mail: dict[str, str] = field(default_factory=dict)
    rung: list[Stream] = field(default_factory=list)
    client: httpx2.AsyncClient = field(init=False)
    hits: Hits = field(init=False)
    networks: NetworkFile = field(default_factory=lambda: NetworkFile(""))
    store: Store = field(init=False)
    tenant_id: int = 1
    #: A person gets one mail of a campaign, so each mail here is of another.
    campaigns: int = 0

    def __post_init__(self) -> None:
        """Put the routes into an application, and its pictures into this database."""
        self.hits = Hits(self.write, pause=0.02)
        self.store = Store(Path(self.folder.name) / "inbox.db")
        app = Starlette(routes=routes(self))
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://mail.example.org")

    @property
    def settings(self) -> Settings:
        """Return the settings that its links have."""
        return self.links.settings

    @property
    def intake(self) -> Intake:
        """Return what accepting a mail needs."""
        return Intake(settings=self.settings, fingerprints=PRINTS, links=self.links)

    def ring(self, stream: Stream) -> None:
        """Note that a stream was said to have mail."""
        self.rung.append(stream)

    def now(self) -> datetime:
        """Return the time of the world."""
        return self.time

    def later(self, **length: float) -> None:
        """Let time pass."""
        self.time += timedelta(**length)

    async def write(self, sightings: Sequence[Sighting]) -> None:
        """Store loaded pictures."""
        await self.database.run(lambda session: record(session, sightings, self.time))

    async def view(self, email_id: str) -> str | None:
        """Return a mail's HTML."""
        return self.mail.get(email_id)

    def seed(self, session: Session) -> None:
        """Found two tenants with the same topics."""
        for tenant_id, name in ((1, "Ringwise"), (2, "Other & Sons")):
            tenant = Tenant(id=tenant_id, key=f"t{tenant_id}", name=name, created_at=NOON)
            # What a mail is measured by is the mail's own, then.
            tenant.transactional_opens = tenant.promotional_opens = Opens.INDIVIDUAL
            session.add(tenant)
            session.flush()
            session.add(Identity(tenant_id=tenant_id, address="hello@ringwise.example", stream=Stream.TRANSACTIONAL))
            session.add(Content(id=tenant_id, tenant_id=tenant_id, digest="d", data={}, created_at=NOON))
            for key, english, ukrainian in (
                ("newsletter", "Newsletter", "Новини"),
                ("product-updates", "Product updates", "Оновлення продукту"),
                ("surveys", "Surveys", "Опитування"),
                ("events", "Events & meet-ups", "Події та зустрічі"),
            ):
                names = {"en": english, "uk": ukrainian}
                session.add(Topic(tenant_id=tenant_id, key=key, stream=Stream.PROMOTIONAL, names=names))
            own = {"en": "New leads", "uk": "Нові ліди"}
            session.add(Topic(tenant_id=tenant_id, key="new-lead", stream=Stream.TRANSACTIONAL, names=own))
            billing = {"en": "Billing", "uk": "Рахунки"}
            session.add(
                Topic(
                    tenant_id=tenant_id,
                    key="billing",
                    stream=Stream.TRANSACTIONAL,
                    opt_out=LeaveRule.NEVER,
                    names=billing,
                )
            )

    async def email(
        self,
        to: str = ANN,
        *,
        stream: Stream = Stream.PROMOTIONAL,
        topic: str | None = "newsletter",
        status: Status = Status.SENT,
        locale: str = "en",
        opens: Opens = Opens.OFF,
        intent_at: datetime | None = None,
        tenant_id: int = 1,
        campaign: str | None = None,
    ) -> str:
        """Insert an email and return its id."""
        self.campaigns += stream is Stream.PROMOTIONAL and campaign is None
        email = Email(
            id=ids.new("em", self.time),
            tenant_id=tenant_id,
            stream=stream,
            status=status,
            urgency=1,
            due_at=self.time,
            created_at=self.time,
            content_id=tenant_id,
            template="letter",
            locale=locale,
            campaign_id=campaign or f"ca_{self.campaigns}" if stream is Stream.PROMOTIONAL else None,
            topic=topic,
            leavable=topic == "new-lead" or stream is Stream.PROMOTIONAL,
            address=to,
            fingerprint=PRINTS.of(tenant_id, parse(to).canonical),
            from_address="hello@ringwise.example",
            tags={"campaign": "november"},
            opens=opens,
            lease="le_1" if status is Status.SENDING else None,
            intent_at=intent_at,
            sent_at=self.time if status is Status.SENT else None,
        )
        email_id = email.id
        await self.database.run(lambda session: session.add(email))
        return email_id

    def opt_out(
        self,
        email_id: str | None = None,
        *,
        to: str = ANN,
        stream: Stream = Stream.PROMOTIONAL,
        topic: str | None = "newsletter",
        tenant_id: int = 1,
    ) -> OptOut:
        """Return what a link says."""
        fingerprint = PRINTS.of(tenant_id, parse(to).canonical)
        return OptOut(tenant_id, fingerprint, stream, topic, ids.to_bytes(email_id) if email_id else None)

    def link(self, opt_out: OptOut) -> str:
        """Return the path of an unsubscribe link."""
        return self.links.ways_out(opt_out).unsubscribe.removeprefix(self.links.local_url)

    def preferences(self, opt_out: OptOut) -> str:
        """Return the path of a preference link."""
        return self.links.ways_out(opt_out).preferences.removeprefix(self.links.local_url)

    def pixel(self, opened: bytes) -> str:
        """Return the path of a pixel that says this."""
        return str(self.links.of_mail(Stream.PROMOTIONAL, None, opened).pixel).removeprefix(self.links.local_url)

    def edit(self, opt_out: OptOut) -> str:
        """Return the path of a link that was mailed because somebody asked for it."""
        return self.links.edit(opt_out, self.time + timedelta(hours=24)).removeprefix(self.links.local_url)

    async def newsletter(self) -> str:
        """Send Ann a newsletter and return the path of its unsubscribe link."""
        return self.link(self.opt_out(await self.email()))

    async def get(self, path: str, language: str = "en") -> Answer:
        """Open a page."""
        found = await self.client.get(path, headers={"Accept-Language": language})
        return Answer(found.status_code, found.text, found.headers)

    async def post(self, path: str, **form: str | list[str]) -> Answer:
        """Press a button of a page, or send a one-click POST."""
        data = form or {"List-Unsubscribe": "One-Click"}
        found = await self.client.post(path, data=data, headers={"Accept-Language": "en"})
        return Answer(found.status_code, found.text, found.headers)

    async def may_get(
        self,
        to: str = ANN,
        *,
        stream: Stream = Stream.PROMOTIONAL,
        topic: str | None = "newsletter",
        tenant_id: int = 1,
    ) -> bool:
        """Return whether such a mail may go."""
        asked = Asked(topic, stream, topic != "billing") if topic else None
        question = Question(PRINTS.of(tenant_id, parse(to).canonical), stream, asked)
        found = await self.database.read(lambda session: entries.check(session, tenant_id, question, self.time))
        return found is None

    async def standing(self, to: str = ANN) -> dict[str, datetime]:
        """Return the scopes that stand against a person, with their times."""
        statement = select(Entry).where(
            Entry.fingerprint == PRINTS.of(1, parse(to).canonical), col(Entry.lifted_at).is_(None)
        )
        found = await self.database.read(lambda session: session.exec(statement).all())
        return {entry.scope: entry.created_at for entry in found}

    async def events(self, kind: str = UNSUBSCRIBED) -> list[Event]:
        """Return the events of a kind."""
        statement = select(Event).where(Event.kind == kind).order_by(col(Event.id))
        return list(await self.database.read(lambda session: session.exec(statement).all()))

    async def count(self, metric: str, dimension: str = ALL[0], value: str = ALL[1]) -> int:
        """Return a sum over all days."""
        statement = sql_select(func.sum(FACTS.c.amount)).where(
            FACTS.c.metric == metric, FACTS.c.dimension == dimension, FACTS.c.value == value
        )
        return int(await self.database.read(lambda session: session.execute(statement).scalar_one()) or 0)

    async def status(self, email_id: str) -> Status:
        """Return the status of an email."""
        return (await self.row(email_id)).status

    async def row(self, email_id: str) -> Email:
        """Return an email."""
        return await self.database.read(lambda session: session.exec(select(Email).where(Email.id == email_id)).one())

    async def fingerprint_of_everything(self) -> list[int]:
        """Return how many rows every table has, and how many suppressions are lifted: what a write would change."""
        tables = [*SQLModel.metadata.sorted_tables]
        return await self.database.read(
            lambda session: [session.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]
        )


@asynccontextmanager
async def open_world(database: Database) -> AsyncIterator[World]:
    """Make a world in a database, and leave it."""
    world = World(database)
    await database.run(world.seed)
    try:
        yield world
    finally:
        await world.client.aclose()
        await world.hits.stop()
        world.store.close()
        world.folder.cleanup()
