"""`mailer suppression`: who gets no mail, and why."""

import getpass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlmodel import Session

from mailer import people
from mailer.cli import printing, running
from mailer.cli.explaining import dry_run, tell
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.drafts import LiftDraft, SuppressionDraft, parse
from mailer.errors import Invalid, Problem
from mailer.people import Book
from mailer.service import Service
from mailer.web.explaining import entry_view, explained, topic_of
from suppression import address as addresses
from suppression import entries
from suppression.rules import Ender, Origin, Reason, Stream

app = typer.Typer(help="The list of what forbids mail.", no_args_is_help=True)

_Address = Annotated[str, typer.Argument(help="The address.")]


@app.command(name="list")
def listed(
    reason: Annotated[Reason | None, typer.Option(help="Only entries of this reason.")] = None,
    address: Annotated[str | None, typer.Option(help="Only entries of this address.")] = None,
    past: Annotated[bool, typer.Option("--past", help="Also what was lifted or has expired.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    after: Annotated[str | None, typer.Option(help="The id of the last entry of the page before.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """List entries, the newest first."""

    def find(service: Service, session: Session) -> list[dict[str, object]]:
        owner = chosen(session, tenant)
        found = entries.list_entries(
            session,
            owner,
            limit=limit + 1,
            now=service.now(),
            after=after,
            fingerprints=entries.family(session, owner, _fingerprints(service, owner, address)) if address else None,
            reason=reason,
            live=None if past else True,
        )
        return [entry_view(entry) for entry in found]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found[:limit], "has_more": len(found) > limit})
        return
    columns = ("id", "email", "reason", "scope", "origin", "created_at", "expires_at", "lifted_at", "note")
    printing.table(columns, ([entry[column] for column in columns] for entry in found[:limit]))
    if len(found) > limit:
        printing.note(f"there are more: --after {found[limit - 1]['id']}")


@app.command()
def add(
    address: _Address,
    reason: Annotated[Reason, typer.Option(help="Why.")] = Reason.MANUAL,
    scope: Annotated[
        str | None, typer.Option(help="all, stream:promotional, stream:transactional or topic:KEY; else the widest.")
    ] = None,
    expires_at: Annotated[str | None, typer.Option(help="When a soft bounce or a snooze ends (RFC 3339).")] = None,
    note: Annotated[str | None, typer.Option(help="A note for whoever reads the list.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Add an entry; adding twice is adding once."""
    given: dict[str, object] = {"email": address, "reason": reason, "expires_at": expires_at, "note": note}
    draft = parse(SuppressionDraft, {**given, **({"scope": scope} if scope else {})})

    def put(service: Service, session: Session) -> dict[str, object]:
        book = Book(chosen(session, tenant), Origin.ADMIN, service.intake.fingerprints)
        entry, created = people.forbid(session, book, draft, service.now())
        return {**entry_view(entry), "created": created}

    entry = running.commit(put)
    if as_json:
        printing.as_json(entry)
    else:
        printing.line(f"{entry['id']} {'added' if entry['created'] else 'stood already'}")


@app.command()
def lift(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The id of the entry, su_….")],
    note: Annotated[str, typer.Option(help="Why it is lifted; kept as evidence.")],
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Lift an entry that an operator may end; it stays as history."""
    draft = parse(LiftDraft, {"note": note})

    def end(service: Service, session: Session) -> dict[str, object]:
        by = f"{Ender.OPERATOR}:{user()}"
        return entry_view(people.lift(session, chosen(session, tenant), identifier, by, draft.note, service.now()))

    entry = running.commit(end)
    if as_json:
        printing.as_json(entry)
    else:
        printing.line(f"{entry['id']} is lifted")


@app.command()
def why(
    stream: Annotated[Stream, typer.Option(help="The stream of the mail.")],
    address: Annotated[str | None, typer.Argument(help="The address.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="Ask for a list instead: one address a line; - is stdin.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="The topic of the mail.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Say whether an address may get mail of a stream or topic, and which rule decides; a list before it is sent to."""
    if (address is None) == (file is None):
        raise Invalid(Problem("ADDRESS", "name one address, or a list with --file"))
    if file is not None:
        dry_run(file, stream, topic, tenant=tenant, as_json=as_json)
        return

    def ask(service: Service, session: Session) -> dict[str, Any]:
        owner = chosen(session, tenant)
        prints = _fingerprints(service, owner, address or "")
        return explained(session, owner, prints, stream, topic_of(session, owner, topic, stream), service.now())

    told = running.read(ask)
    if as_json:
        printing.as_json(told)
    else:
        tell(told)


def _fingerprints(service: Service, tenant_id: int, address: str) -> tuple[bytes, ...]:
    return service.intake.fingerprints.all_of(tenant_id, addresses.parse(address).canonical)


def user() -> str:
    """Return who runs this command, as the system knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
