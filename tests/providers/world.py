"""The API as providers meet it, over a real database, with a mail that a relay took."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx2
from sqlalchemy import update
from sqlmodel import Session, SQLModel, col, select
from starlette.applications import Starlette

from mailer.database import Database
from mailer.feedback.inbound.providers import Arrival
from mailer.models import Email, Event, Told
from mailer.status import Status
from mailer.web.api.routing import routes
from suppression.entries import Entry
from tests.providers import signing
from tests.providers.signing import Amazon
from tests.test_api_world import SETTINGS, Api, data, mail
from tests.test_api_world import world as api_world

ALL = replace(
    SETTINGS,
    ses_topics=signing.TOPIC,
    sendgrid_public_key=signing.public(signing.sendgrid_key()),
    mailgun_signing_key=signing.MAILGUN_KEY,
    postmark_secret=signing.POSTMARK_SECRET,
    inbound_secret=signing.SECRET,
)
EMAIL = SQLModel.metadata.tables["email"]


@dataclass
class World:
    """A client without a key, and what it did to the database."""

    api: Api
    http: httpx2.AsyncClient
    amazon: Amazon

    async def call(self, provider: str, arrival: Arrival) -> httpx2.Response:
        """Post what a provider would."""
        path = f"/v1/inbound/{provider}" + (f"/{arrival.secret}" if arrival.secret else "")
        return await self.http.post(path, content=arrival.body, headers=dict(arrival.headers))

    async def sent(self, to: str = "ann@example.org") -> str:
        """Return the id of a mail to a person that a relay took."""
        identifier = str(data(await self.api.post("/v1/emails", mail(to=to)))["id"])
        now = datetime.now(UTC)
        values = {"status": Status.SENT, "attempts": 1, "intent_at": now, "sent_at": now, "settled_at": now}
        changed = update(EMAIL).where(EMAIL.c.id == identifier).values(**values)
        await self.api.service.database.run(lambda session: session.execute(changed))
        return identifier

    async def status(self, identifier: str) -> Status:
        """Return how a mail stands."""
        return await self.api.service.database.read(lambda session: session.get_one(Email, identifier).status)

    async def known(self) -> tuple[list[str], list[str], int]:
        """Return the kinds of events, the reasons of entries, and how many reports were kept."""

        def verb(session: Session) -> tuple[list[str], list[str], int]:
            kinds = session.exec(select(Event.kind).where(col(Event.kind).startswith("email.")))
            entries = session.exec(select(Entry)).all()
            return sorted(kinds), sorted(entry.reason for entry in entries), len(session.exec(select(Told)).all())

        return await self.api.service.database.read(verb)


@asynccontextmanager
async def world(database: Database) -> AsyncIterator[World]:
    """Serve the API with every provider set up."""
    now = datetime.now(UTC)
    amazon = signing.amazon(
        signing.certificate(begins=now.replace(year=now.year - 1), ends=now.replace(year=now.year + 1))
    )
    async with api_world(database, ALL) as api:
        app = Starlette(routes=routes(api.service, amazon.fetch))
        app.router.redirect_slashes = False
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://mailer.test") as http:
            yield World(api, http, amazon)
