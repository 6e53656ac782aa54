"""`mailer user`: who may sign in to the dashboard."""

import os
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import audit
from mailer.audit import COMMAND_LINE, Act
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.models import User, UserRole
from mailer.service import Service
from mailer.users import accounts
from suppression.rules import Stream

app = typer.Typer(help="Users of the dashboard.", no_args_is_help=True)

_Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]
_Url = Annotated[
    str, typer.Option(help="Where the dashboard is reached; MAILER_PUBLIC_URL, or this machine, if left out.")
]


@app.command()
def create(
    email: _Email,
    role: Annotated[UserRole, typer.Option(help="What the user may do for the tenant.")],
    name: Annotated[str, typer.Option(help="The user's name.")] = "",
    tenant: Chosen = None,
    url: _Url = "",
) -> None:
    """Make a user, or give one a role at another tenant; print a one-time link by which to set the password."""

    def make(service: Service, session: Session) -> str | None:
        owner, now = chosen(session, tenant), service.now()
        known = accounts.named(session, email)
        user = known or accounts.create(session, email, now, name=name)
        if known is None:
            audit.write(session, COMMAND_LINE, Act.USER_CREATED, now, tenant_id=owner, target=user.id)
        accounts.seat(session, owner, user, role, now)
        audit.write(
            session, COMMAND_LINE, Act.MEMBER_ADDED, now, tenant_id=owner, target=user.id, data={"role": role.value}
        )
        return None if user.password else accounts.make_link(session, user, now)

    token = running.commit(make)
    if token is None:
        printing.note("the user is a member now and signs in with the password that is set already")
    else:
        _print_link(token, url)


@app.command(name="list")
def listed(as_json: Json = False) -> None:
    """List the users and where they are members."""

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        seats = accounts.tenants_of(session)
        return [_plain(user, dict(seats.get(user.id, ()))) for user in accounts.everybody(session)]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("id", "email", "name", "roles", "password", "second_factor", "disabled_at")
    rows = [{**user, "roles": _roles(user["roles"])} for user in found]
    printing.table(columns, ([user[column] for column in columns] for user in rows))


@app.command()
def disable(email: _Email) -> None:
    """Let a user in no more: every sign-in ends now."""

    def end(service: Service, session: Session) -> None:
        user = accounts.known(session, email)
        accounts.disable(session, user, service.now())
        audit.write(session, COMMAND_LINE, Act.USER_DISABLED, service.now(), target=user.id)

    running.commit(end)
    printing.line(f"{email} is disabled")


@app.command()
def enable(email: _Email) -> None:
    """Let a disabled user in again, with the password and the roles that they had."""

    def begin(service: Service, session: Session) -> None:
        user = accounts.known(session, email)
        accounts.enable(session, user)
        audit.write(session, COMMAND_LINE, Act.USER_ENABLED, service.now(), target=user.id)

    running.commit(begin)
    printing.line(f"{email} may sign in again")


@app.command()
def reset(
    email: _Email,
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Turn the second factor off too: the device and the codes are lost.")
    ] = False,
    url: _Url = "",
) -> None:
    """End a user's password, sign-ins and waiting time, and print a one-time link by which to set another password."""

    def begin(service: Service, session: Session) -> str:
        user = accounts.known(session, email)
        token = accounts.reset(session, user, service.now(), second_factor=second_factor)
        audit.write(session, COMMAND_LINE, Act.USER_LINKED, service.now(), target=user.id)
        return token

    _print_link(running.commit(begin), url)


def _print_link(token: str, url: str) -> None:
    """Print the link alone on stdout; nothing is mailed, for there may be no relay yet."""
    here = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
    base = url or running.settings().base_url(Stream.TRANSACTIONAL) or here
    printing.line(f"{base.rstrip('/')}/app/password/{token}")
    printing.note(f"the link works once, for {accounts.LINK_LASTS.days} days; give it to the user on a safe way")


def _plain(user: User, roles: dict[str, UserRole]) -> dict[str, object]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "roles": roles,
        "password": user.password is not None,
        "second_factor": user.totp_at is not None,
        "created_at": user.created_at,
        "disabled_at": user.disabled_at,
    }


def _roles(roles: object) -> str:
    assert isinstance(roles, dict)
    return ", ".join(f"{key}: {role}" for key, role in roles.items())
