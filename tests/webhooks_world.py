"""A tenant with an endpoint, a real server behind it, and a deliverer over a real database."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import orjson
from sqlmodel import Session, col, select

from mailer import events, submission, tenancy
from mailer.database import Database
from mailer.drafts import Draft, parse
from mailer.models import Webhook, WebhookDelivery
from mailer.outside import Guard, Outside
from mailer.sealing import Seals
from mailer.settings import Settings
from mailer.submission import Submitter
from mailer.webhooks import Deliverer, Hooks, endpoints
from mailer.webhooks.endpoints import Wanted
from tests import hooks as servers
from tests.hooks import Server
from tests.test_api_world import intake

SETTINGS = Settings(from_="Ringwise <hello@ringwise.example>", postal_address="1 Main Street, Kyiv")
QUICK = (timedelta(milliseconds=100),) * 9


@dataclass
class World:
    """What a test of webhooks needs."""

    database: Database
    server: Server
    hooks: Hooks
    tenant_id: int
    webhook: Webhook
    secret: str
    running: list[Deliverer] = field(default_factory=list)

    async def endpoint(self, kinds: Sequence[str] | None = None, url: str = "") -> Webhook:
        """Make one more endpoint."""
        wanted = Wanted(url or self.server.url, kinds)
        made = await self.database.run(
            lambda session: endpoints.create(session, self.hooks, self.tenant_id, wanted, self.now())
        )
        return made.webhook

    def now(self) -> datetime:
        """Return the present moment."""
        return datetime.now(UTC)

    async def send(self, *to: str, **more: object) -> list[str]:
        """Accept a mail for each of some people, and return the ids."""
        people = to or ("ann@example.org",)
        common = {"stream": "transactional", "subject": "Hello", "text": "It works.", **more}
        drafts = [parse(Draft, {**common, "to": address}) for address in people]
        sender = Submitter.trusted(self.tenant_id)

        def verb(session: Session) -> list[str]:
            taken = [submission.submit(session, sender, draft, intake(), self.now()) for draft in drafts]
            return [placed.id for accepted in taken for placed in accepted.emails]

        return await self.database.run(verb)

    async def tell(self, kind: str, email_id: str | None = None, **data: object) -> str:
        """Have something happen, and return the event's id."""
        row = events.row(self.tenant_id, kind, data, self.now(), email_id=email_id)
        await self.database.run(lambda session: events.write(session, [row]))
        return str(row["id"])

    def deliver(self, waits: Sequence[timedelta] = QUICK, patience: float = 5.0) -> Deliverer:
        """Start a deliverer."""
        outside = Outside(Guard(loopback=True), patience=patience)
        made = Deliverer(self.database, outside, self.hooks.seals, waits=waits)
        self.running.append(made)
        self._tasks.append(asyncio.ensure_future(made.run()))
        return made

    _tasks: list[asyncio.Future[None]] = field(default_factory=list)

    async def log(self, webhook: Webhook | None = None) -> list[WebhookDelivery]:
        """Return every message to an endpoint, the oldest first."""
        mine = select(WebhookDelivery).where(WebhookDelivery.webhook_id == (webhook or self.webhook).id)
        return await self.database.read(
            lambda session: list(session.exec(mine.order_by(col(WebhookDelivery.number))).all())
        )

    async def fresh(self, webhook: Webhook | None = None) -> Webhook:
        """Return an endpoint as it stands."""

        def verb(session: Session) -> Webhook:
            return session.get_one(Webhook, (webhook or self.webhook).id)

        return await self.database.read(verb)

    async def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"not so after {seconds} s: {self.heard}"
            await asyncio.sleep(0.02)

    async def until_log(
        self, condition: Callable[[list[WebhookDelivery]], object], webhook: Webhook | None = None, seconds: float = 30
    ) -> list[WebhookDelivery]:
        """Wait until the messages to an endpoint are so, and return them."""
        end = time.monotonic() + seconds
        log = await self.log(webhook)
        while not condition(log):
            assert time.monotonic() < end, [(each.kind, each.state, each.answer) for each in log]
            await asyncio.sleep(0.05)
            log = await self.log(webhook)
        return log

    async def until_settled(self, webhook: Webhook | None = None) -> list[WebhookDelivery]:
        """Wait until no message waits."""
        return await self.until_log(lambda log: all(each.state != "waiting" for each in log), webhook)

    @property
    def heard(self) -> list[tuple[str, str | None]]:
        """Return the kind and the email of each request, in the order in which they came."""
        bodies = [orjson.loads(asked.body) for asked in self.server.asked]
        return [(body["type"], body["data"].get("email_id")) for body in bodies]

    async def close(self) -> None:
        """Stop every deliverer."""
        for each in self.running:
            await each.stop()
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def open_world(database: Database) -> AsyncIterator[World]:
    """Make one; its first endpoint wants everything."""
    hooks = Hooks(Seals("k1:" + "secret" * 6, "webhook"), Guard(loopback=True))
    tenant = await database.run(lambda session: tenancy.prepare(session, SETTINGS, datetime.now(UTC)))
    assert tenant.id is not None
    tenant_id = tenant.id
    async with servers.server() as server:
        wanted = Wanted(server.url)
        made = await database.run(
            lambda session: endpoints.create(session, hooks, tenant_id, wanted, datetime.now(UTC))
        )
        world = World(database, server, hooks, tenant_id, made.webhook, made.secret)
        try:
            yield world
        finally:
            await world.close()
