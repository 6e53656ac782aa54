"""Who uses the dashboard: users, where they belong, how they signed in; and who did what."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, Index, LargeBinary
from sqlmodel import Field, SQLModel

from mailer.models.columns import Json, choice


class UserRole(StrEnum):
    """What a user is to a tenant; `users.permissions` says what each may."""

    OWNER = "owner"
    MARKETER = "marketer"
    SUPPORT = "support"
    VIEWER = "viewer"


class LinkKind(StrEnum):
    """What a one-time link is for."""

    #: Set a password, the first or another.
    PASSWORD = "password"
    #: Sign in: the demo's way in.
    ENTER = "enter"


class User(SQLModel, table=True):
    """A person who signs in; never deleted, for the audit log names them."""

    __tablename__ = "user_account"

    id: str = Field(primary_key=True, max_length=40)
    #: Canonical, so that one mailbox is one user.
    email: str = Field(unique=True, max_length=320)
    name: str = Field(default="", max_length=200)
    #: As argon2 writes it down; None until one is set by a link.
    password: str | None = Field(default=None, max_length=200)
    #: The language of the pages; empty: as the browser asks.
    locale: str = Field(default="", max_length=10)
    #: The secret of the second factor, sealed with the ring of `MAILER_SECRET_KEYS`.
    totp: bytes | None = Field(default=None, sa_type=LargeBinary)
    #: Asked for at every sign-in from then on; None while its first code was not shown.
    totp_at: datetime | None = None
    #: The step of the last code that was taken: each is good for one use (RFC 6238 section 5.2).
    totp_step: int = Field(default=0, sa_type=BigInteger)
    created_at: datetime
    disabled_at: datetime | None = None


class Membership(SQLModel, table=True):
    """A user's role at a tenant; who has none there sees nothing of it."""

    user_id: str = Field(foreign_key="user_account.id", primary_key=True, max_length=40)
    tenant_id: int = Field(foreign_key="tenant.id", primary_key=True, index=True)
    role: UserRole = Field(sa_type=choice(UserRole))
    created_at: datetime


class SignIn(SQLModel, table=True):
    """One browser in which a user is signed in. Of its token only the SHA-256 is kept."""

    __tablename__ = "sign_in"

    id: str = Field(primary_key=True, max_length=40)
    digest: str = Field(unique=True, max_length=64)
    user_id: str = Field(foreign_key="user_account.id", index=True, max_length=40)
    #: False while the second factor is waited for.
    proven: bool
    created_at: datetime
    #: To the minute.
    seen_at: datetime
    #: Over then, whatever was done in it.
    ends_at: datetime
    #: From which network address, and with which program.
    client: str = Field(default="", max_length=50)
    agent: str = Field(default="", max_length=120)


class UserLink(SQLModel, table=True):
    """A one-time link for a user. Of its token only the SHA-256 is kept."""

    __tablename__ = "user_link"

    digest: str = Field(primary_key=True, max_length=64)
    user_id: str = Field(foreign_key="user_account.id", index=True, max_length=40)
    kind: LinkKind = Field(sa_type=choice(LinkKind))
    ends_at: datetime


class RecoveryCode(SQLModel, table=True):
    """What stands for the second factor once, where the device is lost; its row goes with its use."""

    __tablename__ = "recovery_code"

    user_id: str = Field(foreign_key="user_account.id", primary_key=True, max_length=40)
    digest: str = Field(primary_key=True, max_length=64)


class Knock(SQLModel, table=True):
    """How often was tried to get in, at an account and from a network, since it last worked."""

    #: `account:` or `code:` and a hash, `network:192.0.2.0/24`.
    key: str = Field(primary_key=True, max_length=80)
    tries: int
    last_at: datetime = Field(index=True)
    #: Nobody is heard before then.
    until: datetime


class AuditEntry(SQLModel, table=True):
    """Who did what to what, when: written in the transaction of the act, never changed."""

    __tablename__ = "audit"
    __table_args__ = (Index("audit_listed", "tenant_id", "id"), Index("audit_user", "user_id", "id"))

    id: str = Field(primary_key=True, max_length=40)
    #: Whose affairs; None where an act is about the user alone, such as a sign-in.
    tenant_id: int | None = Field(default=None, foreign_key="tenant.id")
    at: datetime
    #: Of `user_account`; None: somebody at the command line or with a key, or unknown at the door.
    user_id: str | None = Field(default=None, max_length=40)
    #: `dashboard`, `command line` or `API`.
    via: str = Field(max_length=20)
    #: Such as `key.created`.
    act: str = Field(max_length=40)
    #: The id or the name of what it was done to.
    target: str = Field(default="", max_length=160)
    #: What tells more: never an address, a token or a text of somebody's.
    data: dict[str, object] | None = Field(default=None, sa_type=Json)
    #: From which network address.
    client: str = Field(default="", max_length=50)
