"""Tenant `default` with campaigns over a database, and a stand-in for what workers do to their mail."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update
from sqlmodel import Session, SQLModel, col
from sqlmodel import select as pick

from mailer import campaigns, catalogue, counters, reports
from mailer.campaigns import Added, Upload
from mailer.campaigns.drafts import CampaignChange, CampaignDraft
from mailer.counters import Tally
from mailer.database import Database
from mailer.drafts import TemplateDraft, parse
from mailer.models import Campaign, Email, Event, Tenant
from mailer.settings import Settings
from mailer.status import Status
from mailer.submission import Intake, Submitter
from suppression import address, entries
from suppression.entries import NewEntry
from suppression.rules import STREAM_PROMOTIONAL, Origin, Reason
from tests.test_api_world import SETTINGS, Json, intake, prepared

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)
SOON = NOW + timedelta(hours=1)
TEMPLATE: Json = {
    "name": "offer",
    "stream": "promotional",
    "topic": "promotions",
    "variables": {
        "city": {"type": "string"},
        "points": {"type": "integer", "default": 0},
        "gold": {"type": "boolean", "default": False},
        "season": {"type": "string"},
    },
    "parts": {
        "en": {
            "subject": "{{ season }} in {{ city }}",
            "html": '{% extends "_base/layout.html" %}{% block content %}<p>{{ points }} {{ gold }}</p>{% endblock %}',
        }
    },
}
_email = SQLModel.metadata.tables["email"]


def asked(**more: object) -> Json:
    """Return a campaign with a literal body that is in order."""
    wanted: Json = {"name": "Spring", "topic": "newsletter", "subject": "Spring", "text": "It is here.", **more}
    return {name: value for name, value in wanted.items() if value is not None}


def offer(**more: object) -> Json:
    """Return a campaign with a template, whose recipients bring their city."""
    return asked(**{"topic": None, "subject": None, "text": None, "template": "offer", **more}) | (
        {} if "variables" in more else {"variables": {"season": "Spring"}}
    )


@dataclass
class World:
    """Verbs in transactions of their own, at a time that tests set."""

    database: Database
    context: Intake
    sender: Submitter
    now: datetime = NOW
    tenant: Tenant = field(default_factory=lambda: Tenant(key="default", name="", created_at=NOW))

    async def create(self, **more: object) -> str:
        draft = parse(CampaignDraft, more or asked())
        made = await self.database.run(
            lambda session: campaigns.create(session, self.sender, draft, self.context, self.now)
        )
        return made.id

    async def template(self, **more: object) -> None:
        body = catalogue.drafted(parse(TemplateDraft, {**TEMPLATE, **more}))
        await self.database.run(lambda session: catalogue.save(session, self.sender.tenant_id, body, self.now))

    async def add(self, campaign: str, people: Iterable[object]) -> Added:
        return await campaigns.add(self.upload(campaign), people)

    def upload(self, campaign: str) -> Upload:
        return Upload(
            database=self.database,
            intake=self.context,
            sender=self.sender,
            campaign_id=campaign,
            now=lambda: self.now,
        )

    async def start(self, campaign: str) -> Campaign:
        return await self.database.run(
            lambda session: campaigns.start(session, self.sender, campaign, self.context, self.now)
        )

    async def schedule(self, campaign: str, at: datetime) -> Campaign:
        return await self.database.run(
            lambda session: campaigns.schedule(session, self.sender, campaign, at, self.context, self.now)
        )

    async def pause(self, campaign: str, note: str | None = None) -> Campaign:
        return await self.database.run(lambda session: campaigns.pause(session, self.sender, campaign, note, self.now))

    async def resume(self, campaign: str) -> Campaign:
        return await self.database.run(
            lambda session: campaigns.resume(session, self.sender, campaign, self.context, self.now)
        )

    async def cancel(self, campaign: str) -> Campaign:
        return await self.database.run(lambda session: campaigns.cancel(session, self.sender, campaign, self.now))

    async def update(self, campaign: str, **change: object) -> Campaign:
        draft = parse(CampaignChange, change)
        return await self.database.run(
            lambda session: campaigns.update(session, self.sender, campaign, draft, self.context, self.now)
        )

    async def delete(self, campaign: str) -> None:
        await self.database.run(lambda session: campaigns.delete(session, self.sender, campaign, self.now))

    async def sweep(self) -> int:
        """Sweep until there is nothing to do, as the clock does; return how many calls that took."""
        calls = 0
        while await self.database.run(lambda session: campaigns.sweep(session, self.context, self.now)):
            calls += 1
            assert calls < 100
        return calls

    async def get(self, campaign: str) -> Campaign:
        return await self.database.read(lambda session: campaigns.get(session, self.sender.tenant_id, campaign))

    async def statuses(self, campaign: str) -> dict[str, int]:
        def verb(session: Session) -> dict[str, int]:
            mine = select(_email.c.status, func.count()).where(_email.c.campaign_id == campaign)
            return {str(status): number for status, number in session.execute(mine.group_by(_email.c.status)).all()}

        return await self.database.read(verb)

    async def emails(self, campaign: str) -> list[Email]:
        mine = pick(Email).where(Email.campaign_id == campaign).order_by(col(Email.id))
        return await self.database.read(lambda session: list(session.exec(mine)))

    async def figures(self, campaign: str) -> dict[str, float | None]:
        def verb(session: Session) -> dict[str, float | None]:
            found = campaigns.get(session, self.sender.tenant_id, campaign)
            report = reports.campaign_report(session, found, self.now)
            return {figure.name: figure.value for figure in report.figures}

        return await self.database.read(verb)

    async def told(self, campaign: str) -> list[str]:
        """Return the events of a campaign."""

        def verb(session: Session) -> list[str]:
            found = session.exec(pick(Event).where(col(Event.email_id).is_(None)).order_by(col(Event.id)))
            return [event.kind for event in found if (event.data or {}).get("campaign_id") == campaign]

        return await self.database.read(verb)

    async def deliver(self, campaign: str, number: int) -> None:
        """Send some held mail, as far as rows and sums know."""

        def verb(session: Session) -> None:
            some = select(_email.c.id).where(_email.c.campaign_id == campaign, _email.c.status == Status.HELD)
            sent = session.execute(
                update(_email)
                .where(_email.c.id.in_(some.limit(number).scalar_subquery()))
                .values(status=Status.SENT, sent_at=self.now, settled_at=self.now)
                .returning(*_email.c)
            ).all()
            tally = Tally()
            for row in sent:
                dims = counters.dimensions(tags=row.tags, topic=row.topic, template=row.template, campaign=campaign)
                tally.add(row.tenant_id, row.created_at.date(), row.stream, "sent", dims)
            tally.write(session)

        await self.database.run(verb)

    async def suppress(self, email: str, reason: Reason = Reason.UNSUBSCRIBE) -> None:
        prints = self.context.fingerprints
        new = NewEntry(
            tenant_id=self.sender.tenant_id,
            fingerprint=prints.of(self.sender.tenant_id, address.parse(email).canonical),
            key_id=prints.primary_id,
            reason=reason,
            scope=STREAM_PROMOTIONAL,
            origin=Origin.RECIPIENT,
        )
        await self.database.run(lambda session: entries.add(session, new, self.now))

    async def check_sums(self, campaign: str) -> None:
        """Hold every promise about numbers: requested is the sum over statuses, in the sums as in the rows."""
        figures, rows = await self.figures(campaign), Counter(await self.statuses(campaign))
        ended = ("suppressed", "sent", "bounced", "failed", "cancelled", "expired", "uncertain")
        assert figures["requested"] == rows.total()
        assert {name: figures[name] for name in ended} == {name: rows[name] for name in ended}
        assert figures["held"] == rows["held"]


async def world_of(database: Database, settings: Settings = SETTINGS) -> World:
    """Return a world of a prepared database."""
    tenant = await prepared(database, settings)
    return World(database, intake(settings), Submitter.trusted(tenant.id or 0), tenant=tenant)


def capturing(world: World) -> World:
    """Return the same world as a key that only captures sees it."""
    return replace(world, sender=replace(world.sender, captures=True))


def people(number: int, first: int = 0) -> list[str]:
    """Return addresses."""
    return [f"p{place}@example.org" for place in range(first, first + number)]
