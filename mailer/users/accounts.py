"""Users and their memberships: made, linked, disabled; never deleted, for the audit log names them."""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func
from sqlmodel import Session, SQLModel, col, select

from mailer import database, ids
from mailer.errors import Conflict, Invalid, NotFound, Problem
from mailer.models import LinkKind, Membership, RecoveryCode, Tenant, User, UserLink, UserRole
from mailer.users import knocking, signing
from mailer.users.signing import digest_of
from suppression import address

#: How long a one-time link is good.
LINK_LASTS = timedelta(days=3)
_LONGEST_NAME = 200
_member = SQLModel.metadata.tables[str(Membership.__tablename__)]


class Member(NamedTuple):
    """A user as a tenant knows them."""

    user: User
    role: UserRole


def canonical(email: str) -> str:
    """Return the one spelling of an address by which a user is known; raises `Invalid`."""
    try:
        return address.parse(email).canonical
    except address.AddressError as error:
        raise Invalid(Problem("email", str(error))) from None


def named(session: Session, email: str) -> User | None:
    """Return the user of an address; None where there is none, or it is no address."""
    try:
        wanted = address.parse(email).canonical
    except address.AddressError:
        return None
    return session.exec(select(User).where(User.email == wanted)).one_or_none()


def get(session: Session, user_id: str) -> User:
    """Return a user; raises `NotFound`."""
    if (user := session.get(User, user_id)) is None:
        raise NotFound("there is no such user")
    return user


def known(session: Session, email: str) -> User:
    """Return the user of an address; raises `NotFound`."""
    if (user := named(session, email)) is None:
        raise NotFound(f"there is no user {email}")
    return user


def create(session: Session, email: str, now: datetime, *, name: str = "") -> User:
    """Make a user without a password and without a membership; raises `Conflict` where there is one already."""
    wanted = canonical(email)
    if len(name.strip()) > _LONGEST_NAME:
        raise Invalid(Problem("name", f"must be at most {_LONGEST_NAME} characters long"))
    if named(session, wanted) is not None:
        raise Conflict(f"there is a user {wanted} already")
    user = User(id=ids.new("us", now), email=wanted, name=name.strip(), created_at=now)
    session.add(user)
    session.flush()
    return user


def by_ids(session: Session, user_ids: Sequence[str]) -> dict[str, User]:
    """Return users by their ids; those that there are not are left out."""
    found = session.exec(select(User).where(col(User.id).in_(user_ids))).all() if user_ids else ()
    return {user.id: user for user in found}


def exist(session: Session) -> bool:
    """Return whether anybody can sign in to the dashboard."""
    return session.exec(select(User.id).limit(1)).first() is not None


def everybody(session: Session) -> Sequence[User]:
    """Return every user by their address."""
    return session.exec(select(User).order_by(User.email)).all()


def tenants_of(session: Session) -> Mapping[str, Sequence[tuple[str, UserRole]]]:
    """Return for each user, by id, the tenants that they are members of and as what."""
    found: dict[str, list[tuple[str, UserRole]]] = {}
    statement = select(Membership.user_id, Tenant.key, Membership.role).join(
        Tenant, col(Tenant.id) == col(Membership.tenant_id)
    )
    for user_id, key, role in session.exec(statement.order_by(Tenant.key)):
        found.setdefault(user_id, []).append((key, UserRole(role)))
    return found


def members(session: Session, tenant_id: int) -> Sequence[Member]:
    """Return the members of a tenant by their addresses."""
    statement = (
        select(User, Membership.role)
        .join(Membership, col(Membership.user_id) == col(User.id))
        .where(Membership.tenant_id == tenant_id)
        .order_by(User.email)
    )
    return [Member(user, UserRole(role)) for user, role in session.exec(statement)]


def member(session: Session, tenant_id: int, user_id: str) -> Member:
    """Return one member of a tenant; raises `NotFound`."""
    row = session.get(Membership, (user_id, tenant_id))
    if row is None:
        raise NotFound("there is no such member")
    return Member(get(session, user_id), row.role)


def seat(session: Session, tenant_id: int, user: User, role: UserRole, now: datetime) -> None:
    """Give a user a role at a tenant, instead of the one they had; raises `Conflict` where no owner would be left."""
    if role is not UserRole.OWNER:
        _keep_an_owner(session, tenant_id, user.id)
    row = {"user_id": user.id, "tenant_id": tenant_id, "role": role, "created_at": now}
    session.execute(
        database.insert(session, _member)
        .values(row)
        .on_conflict_do_update(index_elements=["user_id", "tenant_id"], set_={"role": role})
    )
    session.expire_all()


def unseat(session: Session, tenant_id: int, user_id: str) -> None:
    """End a membership; raises `Conflict` where no owner would be left."""
    member(session, tenant_id, user_id)
    _keep_an_owner(session, tenant_id, user_id)
    session.execute(delete(Membership).where(*_of(tenant_id), col(Membership.user_id) == user_id))
    session.expire_all()


def is_wholly_under(session: Session, owner_id: str, user_id: str) -> bool:
    """Return whether a user is a member only where this other one is an owner.

    Only then may the owner make a link for them or disable them: else an owner of one tenant could enter another.
    """
    owned = select(Membership.tenant_id).where(Membership.user_id == owner_id, col(Membership.role) == UserRole.OWNER)
    elsewhere = (
        select(func.count())
        .select_from(Membership)
        .where(Membership.user_id == user_id, col(Membership.tenant_id).not_in(owned))
    )
    return session.exec(elsewhere).one() == 0


def make_link(session: Session, user: User, now: datetime, *, kind: LinkKind = LinkKind.PASSWORD) -> str:
    """Return the token of a fresh one-time link; earlier links of the same kind die."""
    session.execute(delete(UserLink).where(col(UserLink.user_id) == user.id, col(UserLink.kind) == kind))
    token = secrets.token_urlsafe(32)
    session.add(UserLink(digest=digest_of(token), user_id=user.id, kind=kind, ends_at=now + LINK_LASTS))
    session.flush()
    return token


def linked(session: Session, token: str, kind: LinkKind, now: datetime) -> User | None:
    """Return whom a one-time link is for; None where it is unknown, used, over, or its user is disabled."""
    link = session.get(UserLink, digest_of(token))
    if link is None or link.kind is not kind or now >= link.ends_at:
        return None
    user = get(session, link.user_id)
    return None if user.disabled_at is not None else user


def spend(session: Session, token: str, kind: LinkKind, now: datetime) -> User | None:
    """Use a one-time link up and return whom it was for; of two at once one gets the user."""
    user = linked(session, token, kind, now)
    if user is None:
        return None
    spent = delete(UserLink).where(col(UserLink.digest) == digest_of(token)).returning(col(UserLink.digest))
    return user if session.execute(spent).first() is not None else None


def set_password(session: Session, user: User, kept: str, *, but: str | None = None) -> None:
    """Keep a password as it was hashed; other sign-ins of the user end, and every link that could set another."""
    user.password = kept
    session.add(user)
    session.execute(delete(UserLink).where(col(UserLink.user_id) == user.id))
    signing.end_all(session, user.id, but=but)
    session.flush()


def disable(session: Session, user: User, now: datetime) -> None:
    """Let a user in no more, from the commit on; raises `Conflict` where a tenant would be left without an owner."""
    owned = select(Membership.tenant_id).where(Membership.user_id == user.id, col(Membership.role) == UserRole.OWNER)
    for tenant_id in session.exec(owned).all():
        _keep_an_owner(session, tenant_id, user.id)
    user.disabled_at = now
    session.add(user)
    session.execute(delete(UserLink).where(col(UserLink.user_id) == user.id))
    signing.end_all(session, user.id)
    session.flush()


def enable(session: Session, user: User) -> None:
    """Let a disabled user in again, with the password and the roles that they had."""
    user.disabled_at = None
    session.add(user)
    session.flush()


def reset(session: Session, user: User, now: datetime, *, second_factor: bool) -> str:
    """End the password, every sign-in and waiting time of a user, the second factor too if asked to.

    Return a link's token.
    """
    user.password = None
    if second_factor:
        user.totp, user.totp_at = None, None
        session.execute(delete(RecoveryCode).where(col(RecoveryCode.user_id) == user.id))
    session.add(user)
    signing.end_all(session, user.id)
    for door in (knocking.account(user.email), knocking.second(user.id)):
        knocking.let_in(session, door, ())
    return make_link(session, user, now)


def _keep_an_owner(session: Session, tenant_id: int, leaving: str) -> None:
    """Raise `Conflict` where nobody but the one who leaves is an owner that can sign in; tenants without any may be."""
    owners = (
        select(Membership.user_id)
        .join(User, col(User.id) == col(Membership.user_id))
        .where(*_of(tenant_id), col(Membership.role) == UserRole.OWNER, col(User.disabled_at).is_(None))
    )
    # Two owners who remove each other at the same moment would leave none.
    found = session.exec(owners.with_for_update() if database.on_postgresql(session) else owners).all()
    if list(found) == [leaving]:
        raise Conflict("this is the last owner: make somebody else an owner first")


def _of(tenant_id: int) -> tuple[ColumnElement[bool], ...]:
    return (col(Membership.tenant_id) == tenant_id,)
