"""`mailer suppression`: who gets no mail, and why."""

import getpass
from datetime import datetime
from typing import Annotated

import typer
from sqlmodel import Session, col, select

from mailer import people
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.drafts import LiftDraft, SuppressionDraft, parse
from mailer.errors import Invalid, Problem
from mailer.models import Topic
from mailer.service import Service
from mailer.web.api.suppressing import entry_view
from suppression import address as addresses
from suppression import entries, rules
from suppression.entries import Explanation, NewEntry, Question
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
            fingerprint=_fingerprints(service, owner, address)[0] if address is not None else None,
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
    draft = parse(SuppressionDraft, {**given, "scope": scope or rules.rule_of(reason).scopes[0]})

    def put(service: Service, session: Session) -> dict[str, object]:
        owner, read = chosen(session, tenant), addresses.parse(draft.email)
        if draft.scope.startswith(rules.TOPIC_PREFIX):
            _topic(session, owner, None, draft.scope.removeprefix(rules.TOPIC_PREFIX))
        new = NewEntry(
            tenant_id=owner,
            fingerprint=service.intake.fingerprints.of(owner, read.canonical),
            key_id=service.intake.fingerprints.primary_id,
            reason=draft.reason,
            scope=rules.parse_scope(draft.scope),
            origin=Origin.ADMIN,
            address=read.original,
            expires_at=draft.expires_at,
            note=draft.note,
        )
        entry, created = people.suppress(session, new, service.now())
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
    address: _Address,
    stream: Annotated[Stream, typer.Option(help="The stream of the mail.")],
    topic: Annotated[str | None, typer.Option(help="The topic of the mail.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Say whether an address may get mail of a stream or topic, and which rule decides."""

    def ask(service: Service, session: Session) -> Explanation:
        owner = chosen(session, tenant)
        first, *others = _fingerprints(service, owner, address)
        question = Question(first, stream, _topic(session, owner, stream, topic), tuple(others))
        return entries.explain(session, owner, question, service.now())

    told = running.read(ask)
    if as_json:
        printing.as_json(
            {
                "allowed": told.allowed,
                "entry": entry_view(told.entry) if told.entry else None,
                "trace": [{"rule": each.rule, "matched": each.matched, "blocks": each.blocks} for each in told.trace],
            }
        )
        return
    _tell(told)


def _tell(told: Explanation) -> None:
    if told.entry is None:
        printing.line("allowed: nothing forbids it")
    else:
        entry = told.entry
        ended = rules.rule_of(entry.reason).ended_by
        printing.line(
            f"not allowed: {entry.reason} ({entry.scope}) since {_day(entry.created_at)}, "
            f"brought by {entry.origin}, ended by {ended}; {entry.id}"
        )
    rows = [
        (
            each.rule,
            "yes" if each.matched else "no",
            "yes" if each.blocks else "no",
            each.entry.id if each.entry else "",
        )
        for each in told.trace
    ]
    printing.table(("rule", "matched", "blocks", "entry"), rows)
    for entry in told.history:
        printing.line(
            f"past: {entry.reason} ({entry.scope}), {entry.id}, ended {_day(entry.lifted_at or entry.expires_at)}"
        )


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "at an unknown time"


def _topic(session: Session, tenant_id: int, stream: Stream | None, key: str | None) -> rules.Topic | None:
    """Return the topic of a key; without a stream, whichever it belongs to."""
    if key is None:
        return None
    statement = select(Topic).where(col(Topic.tenant_id) == tenant_id, col(Topic.key) == key)
    found = session.exec(statement).one_or_none()
    if found is None:
        raise Invalid(Problem("topic", f"there is no topic {key}"))
    if stream is not None and found.stream is not stream:
        raise Invalid(Problem("topic", f"{key} belongs to the {found.stream} stream"))
    return rules.Topic(found.key, found.stream, people.may_leave(found))


def _fingerprints(service: Service, tenant_id: int, address: str) -> tuple[bytes, ...]:
    return service.intake.fingerprints.all_of(tenant_id, addresses.parse(address).canonical)


def user() -> str:
    """Return who runs this command, as the system knows them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
