"""A dashboard over a real database, its users, and a browser of theirs without a window."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx2
from argon2 import PasswordHasher
from selectolax.lexbor import LexborHTMLParser as Page
from sqlmodel import Session, select

from mailer import tenancy
from mailer.models import AuditEntry, User, UserRole
from mailer.service import Service
from mailer.settings import Settings
from mailer.users import accounts, passwords
from mailer.web.app import create_app

HOST = "http://mail.example.org"
PASSWORD = "correct horse battery"
#: The real thing with less to do: 64 MiB for each of a few hundred sign-ins would be most of what these tests cost.
LIGHT = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
KEPT = LIGHT.hash(PASSWORD)
OWNER, MARKETER, SUPPORT, VIEWER = (f"{role}@ringwise.example" for role in UserRole)


@dataclass
class Browser:
    """What one person sees and does."""

    house: "House"
    client: httpx2.AsyncClient
    tenant: str = "default"
    last: httpx2.Response | None = field(default=None)

    @property
    def page(self) -> Page:
        """Return the page that was answered last."""
        assert self.last is not None
        return Page(self.last.text)

    @property
    def text(self) -> str:
        """Return what the page says."""
        assert self.last is not None
        return " ".join(self.page.body.text().split()) if self.page.body else ""

    async def get(self, path: str, **query: str) -> httpx2.Response:
        """Open a path of the dashboard: `/t/default/keys`, or `@/keys` at the tenant."""
        self.last = await self.client.get(self._path(path), params=query or None)
        return self.last

    async def post(self, path: str, fields: Mapping[str, object] | None = None, **more: object) -> httpx2.Response:
        """Send a form with the token that the page before it holds."""
        token = self.csrf()
        headers = {"Sec-Fetch-Site": "same-origin"}
        self.last = await self.client.post(
            self._path(path), data={"csrf": token, **(fields or {}), **more}, headers=headers
        )
        return self.last

    async def press(self, path: str, fields: Mapping[str, object] | None = None, **more: object) -> httpx2.Response:
        """Send a form that does something, and open the page that its answer leads to."""
        answer = await self.post(path, fields, **more)
        assert answer.status_code == 303, self.text
        self.last = await self.client.get(answer.headers["location"])
        return self.last

    def csrf(self) -> str:
        """Return the token in the forms of the page."""
        found = self.page.css_first("input[name=csrf]") if self.last is not None else None
        return (found.attributes["value"] or "") if found is not None else ""

    async def sign_in(self, email: str = OWNER, password: str = PASSWORD) -> httpx2.Response:
        """Go to the door and sign in."""
        await self.get("/sign-in")
        return await self.post("/sign-in", email=email, password=password)

    def _path(self, path: str) -> str:
        return f"/app/t/{self.tenant}{path[1:]}" if path.startswith("@") else f"/app{path}"


@dataclass
class House:
    """A service whose clock stands still until a test lets time pass."""

    service: Service
    time: datetime = field(default_factory=lambda: datetime(2026, 11, 20, 12, 0, tzinfo=UTC))

    def now(self) -> datetime:
        """Return the time of the house."""
        return self.time

    def later(self, **length: float) -> None:
        """Let time pass."""
        self.time += timedelta(**length)

    @asynccontextmanager
    async def browser(self, address: str = "192.0.2.7", **headers: str) -> AsyncIterator[Browser]:
        """Open a browser somewhere; it keeps cookies and follows nothing by itself."""
        app = create_app(self.service)
        transport = httpx2.ASGITransport(app=app, client=(address, 5000))
        async with httpx2.AsyncClient(transport=transport, base_url=HOST, headers=headers) as client:
            yield Browser(self, client)

    async def user(self, email: str = OWNER, role: UserRole = UserRole.OWNER, tenant: str = "default") -> User:
        """Make a user with the password of all users here, or give one another seat."""

        def verb(session: Session) -> User:
            owner = tenancy.only_tenant(session, tenant)
            user = accounts.named(session, email) or accounts.create(session, email, self.time)
            if user.password is None:
                accounts.set_password(session, user, KEPT)
            accounts.seat(session, owner.id or 0, user, role, self.time)
            session.refresh(user)
            return user

        return await self.service.database.run(verb)

    async def everybody(self) -> None:
        """Make a user of each role."""
        for email, role in zip((OWNER, MARKETER, SUPPORT, VIEWER), UserRole, strict=True):
            await self.user(email, role)

    async def customer(self, key: str = "customer") -> int:
        """Make another tenant."""
        made = await self.service.database.run(
            lambda session: tenancy.create_tenant(
                session, key, sender=f"{key.title()} <hello@{key}.example>", now=self.time
            )
        )
        return made.id or 0

    async def acts(self) -> list[str]:
        """Return what the audit log tells, the oldest first."""
        return await self.service.database.read(
            lambda session: [entry.act for entry in session.exec(select(AuditEntry).order_by(AuditEntry.id))]
        )


@asynccontextmanager
async def open_house(database_url: str, **settings: str) -> AsyncIterator[House]:
    """Prepare a service on a migrated database and open its dashboard."""
    with TemporaryDirectory() as folder:
        chosen = Settings(data_dir=str(Path(folder)), database_url=database_url, **settings)
        service = Service.build(chosen)
        house = House(service)
        heavy, passwords._HASHER = passwords._HASHER, LIGHT
        service.database.now = house.now  # type: ignore[method-assign]
        try:
            await service.prepare()
            yield house
        finally:
            passwords._HASHER = heavy
            await service.stop()
