"""`mailer suppression optout`: somebody wrote to support that they want no more of it."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer.cli import printing, running
from mailer.cli.suppressions import user
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.drafts import Address, Body, Note, TopicKey, parse
from mailer.errors import Invalid, Problem
from mailer.feedback.optouts import OnBehalf, leave_on_behalf
from mailer.service import Service
from suppression import rules
from suppression.rules import Ender, Scope


class _Asked(Body):
    email: Address
    topic: TopicKey | None = None
    note: Note


def add(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command()(optout)


def optout(
    address: Annotated[str, typer.Argument(help="Whose.")],
    note: Annotated[str, typer.Option(help="What shows it, such as the ticket; kept as evidence.")],
    topic: Annotated[str | None, typer.Option(help="Only this topic; else all promotional mail.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All promotional mail and every notification that may be left.")
    ] = False,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Opt a person out who asked support for it: it counts as their own act, and only they can end it."""
    if topic is not None and everything:
        raise Invalid(Problem("topic", "is part of --all: leave one of them out"))
    asked = parse(_Asked, {"email": address, "topic": topic, "note": note})

    scope = rules.topic_scope(asked.topic) if asked.topic else rules.ALL if everything else rules.STREAM_PROMOTIONAL

    def put(service: Service, session: Session) -> dict[str, object]:
        by = f"{Ender.OPERATOR}:{user()}"
        whom = OnBehalf(chosen(session, tenant), asked.email, scope, by, asked.note)
        outcome = leave_on_behalf(session, whom, service.intake.fingerprints, service.now())
        return {"id": outcome.entry_ids[0], "scope": Scope(outcome.scope), "created": outcome.created}

    done = running.commit(put)
    if as_json:
        printing.as_json(done)
    else:
        printing.line(f"{done['id']} {done['scope']}: {'opted out' if done['created'] else 'had left already'}")
