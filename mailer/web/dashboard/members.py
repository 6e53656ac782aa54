"""Users of a tenant: who they are, what they may, a link for whoever has no password."""

from functools import partial
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer.audit import Act
from mailer.errors import Conflict, Invalid, Problem
from mailer.models import UserRole
from mailer.users import accounts
from mailer.users.accounts import Member
from mailer.users.permissions import ALLOWED, May
from mailer.web.dashboard.asking import Asked, Screen


class _Made(NamedTuple):
    """Whom an owner invited, and the one-time link to hand over; None where a password is theirs already."""

    email: str
    link: str | None


async def show(asked: Asked) -> Response:
    """Show the members of the tenant, the form for another, and what each role may."""
    members = await asked.read(lambda session: accounts.members(session, asked.tenant_id))
    return asked.page(
        "members.html",
        {"members": members, "roles": list(UserRole), "allowed": ALLOWED, "all": list(May), "made": asked.told},
    )


async def invite(asked: Asked) -> Response:
    """Make a user a member, and the user where there is none yet."""
    made = await asked.run(partial(_invite, asked))
    return asked.tell("/users", made._asdict())


async def show_one(asked: Asked) -> Response:
    """Show one member, and what an owner may do about them."""

    def look(session: Session) -> tuple[Member, bool]:
        member = accounts.member(session, asked.tenant_id, asked.param("id"))
        return member, accounts.is_wholly_under(session, asked.visit.user.id, member.user.id)

    member, under = await asked.read(look)
    return asked.page(
        "member.html",
        {
            "member": member,
            "roles": list(UserRole),
            "under": under,
            "self": member.user.id == asked.visit.user.id,
            "made": asked.told,
        },
    )


async def act_on_one(asked: Asked) -> Response:
    """Change a role, make a link, disable, enable or remove a member."""
    do = asked.form.one("do")
    if do == "link":
        made = await asked.run(partial(_link, asked))
        return asked.tell(f"/users/{asked.param('id')}", made._asdict())
    if do not in _ACTS:
        raise Invalid(Problem("do", f"must be one of link, {', '.join(_ACTS)}"))
    await asked.run(partial(_ACTS[do], asked))
    done = f"member_{do}"
    return asked.to("/users", done=done) if do == "remove" else asked.to(f"/users/{asked.param('id')}", done=done)


def _invite(asked: Asked, session: Session) -> _Made:
    form, now = asked.form, asked.now
    role = _role(form.one("role"))
    user = accounts.named(session, form.one("email"))
    if user is None:
        user = accounts.create(session, form.one("email"), now, name=form.one("name"))
        asked.log(session, Act.USER_CREATED, user.id)
    elif any(each.user.id == user.id for each in accounts.members(session, asked.tenant_id)):
        raise Invalid(Problem("email", "is a member already: change the role there"))
    accounts.seat(session, asked.tenant_id, user, role, now)
    asked.log(session, Act.MEMBER_ADDED, user.id, role=role.value)
    # Who is a member elsewhere too gets links from there, or from whoever runs the service: this owner could use one.
    if user.password is not None or not accounts.is_wholly_under(session, asked.visit.user.id, user.id):
        return _Made(user.email, None)
    return _Made(user.email, asked.link(accounts.make_link(session, user, now)))


def _change_role(asked: Asked, session: Session) -> None:
    member, role = accounts.member(session, asked.tenant_id, asked.param("id")), _role(asked.form.one("role"))
    accounts.seat(session, asked.tenant_id, member.user, role, asked.now)
    asked.log(session, Act.MEMBER_CHANGED, member.user.id, before=member.role.value, after=role.value)


def _remove(asked: Asked, session: Session) -> None:
    accounts.unseat(session, asked.tenant_id, asked.param("id"))
    asked.log(session, Act.MEMBER_REMOVED, asked.param("id"))


def _link(asked: Asked, session: Session) -> _Made:
    member = _under(asked, session)
    asked.log(session, Act.USER_LINKED, member.user.id)
    return _Made(member.user.email, asked.link(accounts.make_link(session, member.user, asked.now)))


def _disable(asked: Asked, session: Session) -> None:
    member = _under(asked, session)
    accounts.disable(session, member.user, asked.now)
    asked.log(session, Act.USER_DISABLED, member.user.id)


def _enable(asked: Asked, session: Session) -> None:
    member = _under(asked, session)
    accounts.enable(session, member.user)
    asked.log(session, Act.USER_ENABLED, member.user.id)


_ACTS = {"role": _change_role, "remove": _remove, "disable": _disable, "enable": _enable}


def _under(asked: Asked, session: Session) -> Member:
    """Return the member where every tenant of theirs has this owner; raises `Conflict`."""
    member = accounts.member(session, asked.tenant_id, asked.param("id"))
    if not accounts.is_wholly_under(session, asked.visit.user.id, member.user.id):
        raise Conflict("this user is a member elsewhere too: remove them here, or ask whoever runs this service")
    return member


def _role(text: str) -> UserRole:
    try:
        return UserRole(text)
    except ValueError:
        raise Invalid(Problem("role", f"must be one of {', '.join(UserRole)}")) from None


SCREENS = (
    Screen("/users", May.EDIT_USERS, show, invite),
    Screen("/users/{id}", May.EDIT_USERS, show_one, act_on_one),
)
