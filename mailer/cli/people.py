"""`mailer people`: what people may ask of us."""

import asyncio
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import erasure, moving, people
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.drafts import parse
from mailer.drafts.people import Correction, EraseDraft
from mailer.erasure import Erased
from mailer.errors import Invalid, Problem
from mailer.service import Service
from suppression import address as addresses
from suppression import entries
from suppression.entries import KinKind

app = typer.Typer(help="What people may ask of us.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """What people may ask of us."""


@app.command()
def correct(
    address: Annotated[str, typer.Argument(help="The address by which the person is known.")],
    email: Annotated[
        str | None, typer.Option(help="Their present address; the one above is the former one then.")
    ] = None,
    locale: Annotated[str | None, typer.Option(help="The language of their mail: `en`, `uk`.")] = None,
    no_locale: Annotated[bool, typer.Option("--no-locale", help="Mail in the sender's language again.")] = False,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Put right how a person is reached: their address, their language.

    An opt-out of either address holds for both from then on. Mail for later goes to the present one.
    """
    if locale is not None and no_locale:
        raise Invalid(Problem("--no-locale", "takes the language away that --locale gives: leave one of them out"))
    given: dict[str, object] = {"email": email} if email is not None else {}
    if locale is not None or no_locale:
        given["locale"] = locale
    asked, former = parse(Correction, given), addresses.parse(address)
    present = addresses.parse(asked.email) if asked.email else former

    def put_right(service: Service, session: Session) -> dict[str, object]:
        owner, now = chosen(session, tenant), service.now()
        moved = moving.move(session, owner, former, present, service.intake, now)
        if "locale" in asked.model_fields_set:
            named = service.intake.fingerprints.named(owner, present.canonical)
            entries.relate(session, owner, [named], KinKind.KEY, now)
            person = (owner, next(iter(named)), asked.locale)
            people.choose_language(session, *person, address=present.original, now=now)
        return {"email": present.original, **moved._asdict()}

    done = running.commit(put_right)
    if as_json:
        printing.as_json(done)
        return
    printing.line(
        f"corrected: {done['emails']} mails that are for later go to the present address, {done['cancelled']} were"
        " cancelled since it has mail of the same campaign"
    )


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
