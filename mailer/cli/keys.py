"""`mailer key`: what lets product code in."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer import tenancy
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.models import ApiKey, Scope
from mailer.service import Service

app = typer.Typer(help="Keys of product code.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    scope: Annotated[list[Scope], typer.Option(help="What the key may do; repeat it for more.")],
    inbox: Annotated[bool, typer.Option("--inbox", help="Mail sent with this key is captured, never sent.")] = False,
    tenant: Chosen = None,
) -> None:
    """Make a key and print it, this once, alone on stdout."""

    def make(service: Service, session: Session) -> str:
        owner = chosen(session, tenant)
        issued = tenancy.create_key(session, owner, name, scopes=scope, captures=inbox, now=service.now())
        return issued.plain

    printing.line(running.commit(make))


@app.command(name="list")
def listed(tenant: Chosen = None, as_json: Json = False) -> None:
    """List the keys; none of them can be shown again."""

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        return [_plain(key) for key in tenancy.keys(session, chosen(session, tenant))]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("id", "name", "scopes", "inbox", "created_at", "revoked_at")
    printing.table(columns, ([key[column] for column in columns] for key in found))


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or its name.")], tenant: Chosen = None, as_json: Json = False
) -> None:
    """End a key; from now on it opens nothing."""

    def end(service: Service, session: Session) -> dict[str, object]:
        return _plain(tenancy.revoke(session, chosen(session, tenant), key, service.now()))

    ended = running.commit(end)
    if as_json:
        printing.as_json(ended)
    else:
        printing.line(f"{ended['id']} is revoked")


def _plain(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes,
        "inbox": key.captures,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }
