"""Signed-in browsers: a random token each, its hash in a row, two ends."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, update
from sqlmodel import Session, SQLModel, col, select

from mailer import ids
from mailer.models import Membership, SignIn, Tenant, User, UserRole

#: Over after so long without a request, and after so long in any case.
IDLE = timedelta(hours=8)
LONGEST = timedelta(days=7)
#: How long the second factor is waited for.
PATIENCE = timedelta(minutes=10)
#: How exactly `seen_at` is kept: a write for every page would be too many.
NOTICED = timedelta(minutes=1)
_FORGOTTEN = 1000
_sign_in = SQLModel.metadata.tables[str(SignIn.__tablename__)]


class Browser(NamedTuple):
    """From where somebody signs in."""

    client: str = ""
    agent: str = ""


class Opened(NamedTuple):
    """A new sign-in, and the token that the browser keeps."""

    sign_in: SignIn
    token: str


class Seat(NamedTuple):
    """A tenant that a user is a member of, and as what."""

    tenant: Tenant
    role: UserRole

    @property
    def tenant_id(self) -> int:
        """Return the number of the tenant; every stored one has it."""
        assert self.tenant.id is not None
        return self.tenant.id


class Visit(NamedTuple):
    """Who asks: the user, by which sign-in, and where they are members, by the tenants' keys."""

    user: User
    sign_in: SignIn
    seats: Mapping[str, Seat]


def open_one(session: Session, user: User, browser: Browser, now: datetime, *, proven: bool) -> Opened:
    """Sign a user in with a fresh token; unless `proven`, it is good for showing the second factor only."""
    token = secrets.token_urlsafe(32)
    row = SignIn(
        id=ids.new("si", now),
        digest=digest_of(token),
        user_id=user.id,
        proven=proven,
        created_at=now,
        seen_at=now,
        ends_at=now + (LONGEST if proven else PATIENCE),
        client=browser.client[:50],
        agent=browser.agent[:120],
    )
    session.add(row)
    session.flush()
    return Opened(row, token)


def visit(session: Session, token: str, now: datetime) -> Visit | None:
    """Return who has this token; None where it is unknown, over, or its user is disabled."""
    statement = (
        select(SignIn, User).join(User, col(User.id) == col(SignIn.user_id)).where(SignIn.digest == digest_of(token))
    )
    found = session.exec(statement).first()
    if found is None:
        return None
    row, user = found
    if user.disabled_at is not None or now >= row.ends_at or now - row.seen_at >= IDLE:
        return None
    return Visit(user, row, seats(session, user.id) if row.proven else {})


def seats(session: Session, user_id: str) -> Mapping[str, Seat]:
    """Return where a user is a member, by the tenants' keys."""
    statement = (
        select(Tenant, Membership.role)
        .join(Membership, col(Membership.tenant_id) == col(Tenant.id))
        .where(Membership.user_id == user_id)
        .order_by(Tenant.key)
    )
    return {tenant.key: Seat(tenant, UserRole(role)) for tenant, role in session.exec(statement)}


def notice(session: Session, sign_in_id: str, now: datetime) -> None:
    """Write down that a sign-in is used."""
    session.execute(update(_sign_in).where(_sign_in.c.id == sign_in_id).values(seen_at=now))


def end(session: Session, sign_in_id: str) -> None:
    """End one sign-in; its token opens nothing from the commit on."""
    session.execute(delete(SignIn).where(col(SignIn.id) == sign_in_id))


def end_all(session: Session, user_id: str, *, but: str | None = None) -> int:
    """End every sign-in of a user, or all but one, and return how many that were."""
    ended = delete(SignIn).where(col(SignIn.user_id) == user_id, col(SignIn.id) != (but or ""))
    return len(session.execute(ended.returning(col(SignIn.id))).all())


def listing(session: Session, user_id: str, now: datetime) -> Sequence[SignIn]:
    """Return where a user is signed in, the newest first."""
    mine = select(SignIn).where(SignIn.user_id == user_id, col(SignIn.proven).is_(True), col(SignIn.ends_at) > now)
    return session.exec(mine.where(col(SignIn.seen_at) > now - IDLE).order_by(col(SignIn.id).desc())).all()


def forget(session: Session, now: datetime) -> None:
    """Forget sign-ins that are over, some at a time."""
    over = (_sign_in.c.ends_at <= now) | (_sign_in.c.seen_at <= now - IDLE)
    old = select(_sign_in.c.id).where(over).limit(_FORGOTTEN)
    session.execute(_sign_in.delete().where(_sign_in.c.id.in_(old.scalar_subquery())))


def digest_of(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
