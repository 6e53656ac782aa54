"""`mailer emails`: what became of each."""

from typing import Annotated, cast

import typer
from sqlmodel import Session

from mailer import emails
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.emails import Filter
from mailer.models import Email
from mailer.service import Service
from mailer.status import Status
from suppression import address
from suppression.rules import Stream

app = typer.Typer(help="Emails that were accepted, and what became of them.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the email, em_….")]


@app.command(name="list")
def listed(
    to: Annotated[str | None, typer.Option(help="Only emails to this address.")] = None,
    stream: Annotated[Stream | None, typer.Option(help="Only emails of this stream.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only emails of this status.")] = None,
    topic: Annotated[str | None, typer.Option(help="Only emails of this topic.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only emails of this tag, `name=value`.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    after: Annotated[str | None, typer.Option(help="The id of the last email of the page before.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """List emails, the newest first."""

    def find(service: Service, session: Session) -> tuple[list[dict[str, object]], bool]:
        owner, prints = chosen(session, tenant), tuple[bytes, ...]()
        if to is not None:
            prints = service.intake.fingerprints.all_of(owner, address.parse(to).canonical)
        wanted = Filter(prints=prints, stream=stream, status=status, topic=topic, tag=tag)
        page = emails.listing(session, owner, wanted, limit=limit, after=after)
        shown = emails.versions_of(session, page.emails)
        views = [emails.view(email, (), shown.get(email.content_id)) for email in page.emails]
        return [{name: value for name, value in view.items() if name != "events"} for view in views], page.has_more

    found, more = running.read(find)
    if as_json:
        printing.as_json({"data": found, "has_more": more})
        return
    columns = ("id", "to", "stream", "status", "template", "topic", "created_at", "sent_at")
    printing.table(columns, ([email[column] for column in columns] for email in found))
    if more:
        printing.note(f"there are more: --after {found[-1]['id']}")


@app.command()
def show(identifier: _Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Show one email with what happened to it."""

    def find(_service: Service, session: Session) -> dict[str, object]:
        return _whole(session, emails.get(session, chosen(session, tenant), identifier))

    email = running.read(find)
    if as_json:
        printing.as_json(email)
        return
    _tell(email)


@app.command()
def cancel(identifier: _Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Take an email back, unless its sending has begun."""

    def take(service: Service, session: Session) -> dict[str, object]:
        return _whole(session, emails.cancel(session, chosen(session, tenant), identifier, service.now()))

    email = running.commit(take)
    if as_json:
        printing.as_json(email)
    else:
        printing.line(f"{email['id']} {email['status']}")


def _tell(email: dict[str, object]) -> None:
    events = cast("list[dict[str, object]]", email["events"])
    fields = [(name, value) for name, value in email.items() if name != "events" and value not in (None, {}, "")]
    printing.table(("field", "value"), fields)
    rows = []
    for event in events:
        told = [f"{name}={value}" for name, value in event.items() if name not in ("type", "at")]
        rows.append((event["at"], event["type"], told))
    printing.table(("at", "event", "details"), rows)


def _whole(session: Session, email: Email) -> dict[str, object]:
    return emails.view(email, emails.events_of(session, email), emails.shown_of(session, email))
