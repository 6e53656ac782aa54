"""`mailer people`: what people may ask of us."""

import asyncio
from typing import Annotated

import typer

from mailer import erasure
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.drafts import parse
from mailer.drafts.people import EraseDraft
from mailer.erasure import Erased
from suppression import address as addresses

app = typer.Typer(help="What people may ask of us.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """What people may ask of us."""


@app.command()
def erase(
    address: Annotated[str, typer.Argument(help="The address of the person.")],
    note: Annotated[str | None, typer.Option(help="Who asked, and when; kept as evidence, without addresses.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Erase a person: cancel what waits, forget who they are, and keep that they want no mail."""
    draft, who = parse(EraseDraft, {"note": note} if note else {}), addresses.parse(address)

    async def work() -> Erased:
        async with running.opened(running.settings()) as service:
            owner = await service.database.read(lambda session: chosen(session, tenant))
            prints = service.intake.fingerprints.all_of(owner, who.canonical)
            return await erasure.everywhere(
                service.database,
                service.store,
                lambda session: erasure.erase(session, owner, prints, service.now(), draft.note),
                (who.original, who.envelope),
            )

    erased = asyncio.run(work())
    if as_json:
        printing.as_json(erasure.view(erased))
        return
    printing.line(
        f"erased: {erased.emails} emails name nobody any more, {erased.cancelled} that waited were cancelled, "
        f"{erased.in_flight} were on their way; {erased.suppression_id} keeps the person from getting more"
    )
