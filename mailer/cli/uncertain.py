"""`mailer uncertain`: mail of which nobody knows whether it went, and what a person decides about it."""

import asyncio
import getpass
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlmodel import Session

from mailer import emails, uncertain
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.drafts import parse
from mailer.emails import Filter
from mailer.errors import Invalid, MailerError, Problem
from mailer.service import Service
from mailer.status import Status
from mailer.uncertain import Decision, Resolution
from mailer.web.api.operating import ResolveDraft
from suppression.rules import Ender

app = typer.Typer(
    help="Mail that a crash left in doubt: it may have gone, and is not sent twice unless you say so.",
    no_args_is_help=True,
)

_Campaign = Annotated[str | None, typer.Option(help="Only mail of this campaign.")]


@app.command(name="list")
def listed(
    campaign: _Campaign = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    after: Annotated[str | None, typer.Option(help="The id of the last email of the page before.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """List uncertain emails, the newest first."""

    def find(_service: Service, session: Session) -> tuple[list[dict[str, object]], bool]:
        wanted = Filter(status=Status.UNCERTAIN, campaign_id=campaign)
        page = emails.listing(session, chosen(session, tenant), wanted, limit=limit, after=after)
        shown = emails.versions_of(session, page.emails)
        views = [
            {**emails.view(email, (), shown.get(email.content_id)), "intent_at": email.intent_at}
            for email in page.emails
        ]
        return [{name: value for name, value in view.items() if name != "events"} for view in views], page.has_more

    found, more = running.read(find)
    if as_json:
        printing.as_json({"data": found, "has_more": more})
        return
    columns = ("id", "to", "stream", "campaign_id", "topic", "created_at", "intent_at")
    printing.table(columns, ([email[column] for column in columns] for email in found))
    if more:
        printing.note(f"there are more: --after {found[-1]['id']}")


@app.command()
def resolve(
    resolution: Annotated[
        Resolution, typer.Option("--as", help="sent: it went; failed: it did not, let it be; again: send it again.")
    ],
    identifiers: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of emails, em_….")] = None,
    every: Annotated[bool, typer.Option("--all", help="All uncertain emails instead of some ids.")] = False,
    campaign: _Campaign = None,
    note: Annotated[str | None, typer.Option(help="How you know; kept as an event of each email.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before mail is sent again.")] = False,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Say what became of uncertain emails."""
    asked = list(dict.fromkeys(identifiers or ()))
    if every == bool(asked):
        raise Invalid(Problem("ID", "name some emails, or say --all"))
    if campaign is not None and not every:
        raise Invalid(Problem("--campaign", "goes with --all"))
    draft = parse(ResolveDraft, {"as": resolution, "note": note})
    decision = Decision(draft.as_, f"{Ender.OPERATOR}:{_user()}", draft.note)
    resolved = asyncio.run(_resolve(decision, asked, campaign, tenant, yes=yes))
    left = len(asked) - resolved if asked else 0
    if as_json:
        printing.as_json({"as": resolution, "resolved": resolved, "left": left})
    else:
        printing.line(f"{resolved} resolved as {resolution}")
    if left:
        printing.note(f"{left} stay as they are: they are not uncertain, or their campaign has ended")
        raise typer.Exit(1)


async def _resolve(
    decision: Decision, asked: Sequence[str], campaign: str | None, tenant: str | None, *, yes: bool
) -> int:
    """Resolve chunk by chunk, each in a transaction of its own, and return how many were."""
    async with running.opened(running.settings()) as service:
        owner = await service.database.read(lambda session: chosen(session, tenant))

        def count(session: Session) -> int:
            return len(asked) or uncertain.number(session, owner, campaign_id=campaign)

        total = await service.database.read(count)
        if decision.resolution is Resolution.AGAIN and total and not yes:
            await asyncio.to_thread(_confirm, total)
        resolved = 0
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        quiet = not sys.stderr.isatty()
        with Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet) as progress:
            task = progress.add_task("resolving", total=total)
            async for chunk in _chunks(service, owner, asked, campaign):

                def verb(session: Session, chunk: Sequence[str] = chunk) -> list[str]:
                    return uncertain.resolve(session, owner, chunk, decision, service.now())

                resolved += len(await service.database.run(verb))
                progress.advance(task, len(chunk))
        return resolved


async def _chunks(
    service: Service, owner: int, asked: Sequence[str], campaign: str | None
) -> AsyncIterator[Sequence[str]]:
    """Give the ids that were asked for, or page through all that are uncertain."""
    for start in range(0, len(asked), uncertain.CHUNK):
        yield asked[start : start + uncertain.CHUNK]
    if asked:
        return
    after: str | None = None
    while True:

        def page(session: Session, after: str | None = after) -> Sequence[str]:
            return uncertain.waiting(session, owner, limit=uncertain.CHUNK, campaign_id=campaign, after=after)

        found = await service.database.read(page)
        if not found:
            return
        yield found
        after = found[-1]


def _confirm(number: int) -> None:
    """Ask whether mail is really sent again; raises where it is not, or where nobody is there to be asked."""
    if not sys.stdin.isatty():
        raise Invalid(Problem("--yes", "is needed to send again what may have gone: nobody is here to be asked"))
    printing.note(
        f"{number} emails may have arrived already, and whoever got one gets it twice. Send them again? [y/N]"
    )
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise MailerError("nothing is sent again")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"
