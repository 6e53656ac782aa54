"""A small real service behind the API's routes, for the tests of the API."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import httpx2
from pydantic import TypeAdapter
from sqlmodel import Session, col, select
from starlette.applications import Starlette

from mailer import receiving, tenancy
from mailer.catalogue import shipped
from mailer.database import Database
from mailer.feedback.hearing import Heard, hear
from mailer.feedback.inbound import Mailroom, Proof, Report
from mailer.inbox import Store
from mailer.links import Links
from mailer.models import Email, Tenant
from mailer.outside import Guard
from mailer.sealing import Seals
from mailer.settings import Settings
from mailer.submission import Intake
from mailer.web import api
from mailer.webhooks import Hooks
from suppression.address import Fingerprints
from suppression.rules import Stream
from suppression.token import Ring

Json = dict[str, object]
ALL_SCOPES = ("send:transactional", "send:promotional", "read", "suppressions", "admin")
SETTINGS = Settings(from_="Ringwise <hello@ringwise.example>", postal_address="1 Main Street, Kyiv")
_json = TypeAdapter(Json)


@dataclass
class Small:
    """What the routes need, and the bells that were rung."""

    database: Database
    settings: Settings
    intake: Intake
    store: Store
    hooks: Hooks
    rung: list[Stream] = field(default_factory=list)

    def ring(self, stream: Stream) -> None:
        self.rung.append(stream)

    @property
    def mailroom(self) -> Mailroom:
        return receiving.mailroom(self.database, self.intake.links, self._hear)

    async def _hear(self, reports: Sequence[tuple[Report, Proof]]) -> list[Heard]:
        return await self.database.run(lambda session: hear(session, reports, self.now()), conclusive=True)

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)


@dataclass
class Api:
    """A client of one tenant."""

    service: Small
    http: httpx2.AsyncClient
    tenant_id: int
    key: str

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        authorization = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        content = body if isinstance(body, bytes) else None
        return await self.http.request(
            method,
            path,
            json=None if content is not None else body,
            content=content,
            headers={**authorization, **named},
        )

    async def post(self, path: str, body: object = None, **headers: str) -> httpx2.Response:
        return await self.call("POST", path, body, **headers)

    async def get(self, path: str) -> httpx2.Response:
        return await self.call("GET", path)

    async def with_key(self, *scopes: str, captures: bool = False) -> "Api":
        issued = await self.service.database.run(
            lambda session: tenancy.create_key(
                session, self.tenant_id, "other", scopes=scopes, captures=captures, now=self.service.now()
            )
        )
        return Api(self.service, self.http, self.tenant_id, issued.plain)

    async def of_tenant(self, key: str, **more: str) -> "Api":
        """Make another tenant, and return its client."""

        def made(session: Session) -> tuple[int, str]:
            now = self.service.now()
            tenant = tenancy.create_tenant(session, key, sender=f"news@{key}.example", now=now, **more)
            assert tenant.id is not None
            return tenant.id, tenancy.create_key(session, tenant.id, "all", scopes=ALL_SCOPES, now=now).plain

        tenant_id, plain = await self.service.database.run(made)
        return Api(self.service, self.http, tenant_id, plain)


def data(response: httpx2.Response) -> Json:
    """Return an answer's JSON object."""
    return _json.validate_json(response.content)


def rows(response: httpx2.Response) -> list[Json]:
    """Return what an answer lists."""
    return cast("list[Json]", data(response)["data"])


def paths(response: httpx2.Response) -> list[str]:
    """Return where a problem says that the errors stand."""
    assert response.headers["content-type"] == "application/problem+json"
    return [str(error["path"]) for error in cast("list[Json]", data(response)["errors"])]


async def stored(api: Api) -> list[Email]:
    """Return every email as its row is now, in the order of their ids."""

    def verb(session: Session) -> list[Email]:
        return list(session.exec(select(Email).order_by(col(Email.id))))

    return await api.service.database.read(verb)


def variables(template: str) -> Mapping[str, object]:
    """Return values that a shipped template takes."""
    return shipped()[template][1].schema.example()


def mail(**more: object) -> Json:
    """Return a transactional mail that is in order."""
    return {"stream": "transactional", "to": "ann@example.org", "subject": "Hello", "text": "It works.", **more}


def news(**more: object) -> Json:
    """Return a promotional mail that is in order."""
    wanted = {"template": "newsletter", "variables": variables("newsletter")}
    return {"stream": "promotional", "to": "ann@example.org", **wanted, **more}


def intake(settings: Settings = SETTINGS) -> Intake:
    """Return what submission needs to know of a process."""
    ring = "k1:" + "secret" * 6
    return Intake(settings=settings, fingerprints=Fingerprints(ring), links=Links(settings, Ring(ring)))


async def prepared(database: Database, settings: Settings = SETTINGS) -> Tenant:
    """Make the tenant `default`."""
    return await database.run(lambda session: tenancy.prepare(session, settings, datetime.now(UTC)))


@asynccontextmanager
async def world(
    database: Database, settings: Settings = SETTINGS, scopes: Iterable[str] = ALL_SCOPES
) -> AsyncIterator[Api]:
    """Serve the API over a migrated database, to a client with a key of tenant `default`."""
    tenant = await prepared(database, settings)
    assert tenant.id is not None
    tenant_id = tenant.id
    with ExitStack() as ending:
        store = Store(Path(ending.enter_context(TemporaryDirectory())) / "inbox.db")
        ending.callback(store.close)
        service = Small(
            database,
            settings,
            intake(settings),
            store,
            Hooks(Seals("k1:" + "secret" * 6, "webhook"), Guard(loopback=True)),
        )
        issued = await database.run(
            lambda session: tenancy.create_key(session, tenant_id, "all", scopes=scopes, now=service.now())
        )
        app = Starlette(routes=api.routes(service))
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://mailer.test") as http:
            yield Api(service, http, tenant_id, issued.plain)
