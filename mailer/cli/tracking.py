"""`mailer tracking`: who opened and clicked, judged and counted again; networks; people who open nothing."""

import csv
import os
import sys
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import people
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.counters import Tally
from mailer.errors import Invalid, Problem
from mailer.feedback.tracking import again, keeping, networks
from mailer.feedback.tracking.networks import Listed
from mailer.feedback.tracking.sightings import Class
from mailer.people import LastOpen
from mailer.service import Service

app = typer.Typer(help="Opens and clicks: who it was, and what they count.", no_args_is_help=True)
_PAGE = 500
_LONGEST = 3660
Since = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day on (UTC).")]


@app.command()
def reclassify(since: Since = None, tenant: Chosen = None, as_json: Json = False) -> None:
    """Judge the hits of the last 30 days again by the rules of today, and put right what was counted.

    Only hits that are tied to a person are stored one by one; of all others only sums are kept, and these stay.
    """

    async def work(service: Service) -> dict[str, object]:
        service.networks.look()
        kinds, database = service.networks.lists.kinds, service.database
        owner = await database.read(lambda session: chosen(session, tenant))
        first = since.date() if since else (service.now() - keeping.KEPT).date()
        hits = changed = 0
        last: str | None = ""
        while last is not None:
            step = await database.run(
                lambda session, last=last: again.reclassify(session, owner, first, kinds, last),  # type: ignore[misc]
                urgency=2,
            )
            hits, changed, last = hits + step.hits, changed + step.changed, step.last
        return {"hits": hits, "changed": changed}

    done = running.work(work)
    if as_json:
        printing.as_json(done)
        return
    printing.line(f"judged again: {done['hits']} hits, of which {done['changed']} are of another class or rule now")


@app.command()
def rebuild(
    since: Since = None,
    until: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Up to this day; today, if left out.")
    ] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Count opens and clicks again from the stored hits, for mail accepted on these days; seven, if none are given.

    Sums of mail that names nobody stay as they are. Days whose events were deleted must not be named: without its
    hits a mail counts as never opened. Run one at a time.
    """

    async def work(service: Service) -> dict[str, object]:
        owner = await service.database.read(lambda session: chosen(session, tenant))
        last = until.date() if until else service.now().date()
        first = since.date() if since else last - timedelta(days=6)
        if not first <= last <= first + timedelta(days=_LONGEST):
            raise Invalid(Problem("--since", "must not be after --until, nor more than ten years before"))
        changed = {}
        for number in range((last - first).days + 1):
            if put_right := await _rebuilt(service, owner, first + timedelta(days=number)):
                changed[str(first + timedelta(days=number))] = put_right
        return {"from": first, "to": last, "sums_changed": changed}

    done = running.work(work)
    if as_json:
        printing.as_json(done)
        return
    changed = done["sums_changed"]
    assert isinstance(changed, dict)
    printing.line(f"counted again: {done['from']} to {done['to']}, {sum(changed.values())} sums were put right")


async def _rebuilt(service: Service, owner: int, day: date) -> int:
    """Put one day right, and return how many sums were wrong."""
    database = service.database
    if database.on_postgresql:
        # Nobody counts this tenant's hits meanwhile: they wait in memory.
        def at_once(session: Session) -> int:
            keeping.alone(session, [owner])
            return _put_right(session, again.difference(session, owner, day))

        return await database.run(at_once)
    # One reader's snapshot, which holds up no writer.
    missing = await database.read(lambda session: again.difference(session, owner, day))
    return await database.run(lambda session: _put_right(session, missing), urgency=2)


def _put_right(session: Session, missing: Tally) -> int:
    number = len(missing.sums)
    missing.write(session)
    return number


@app.command(name="networks")
def read_networks(
    file: Annotated[
        Path, typer.Argument(help="The list as its owner publishes it: Apple's CSV, Google's JSON, lines.")
    ],
    rule: Annotated[str, typer.Option(help="The rule's name, which is kept with what it decides: `apple-relay`.")],
    kind: Annotated[Class, typer.Option("--class", help="What a hit from there is.")] = Class.MACHINE,
    of: Annotated[str | None, typer.Option("--of", help="Only of `open` or of `click`; both, if left out.")] = None,
) -> None:
    """Put a published list of networks into the file of MAILER_NETWORKS, in place of what it had under this rule.

    Servers read the file again within half a minute.
    """
    settings = running.settings()
    if not settings.networks:
        raise Invalid(Problem("MAILER_NETWORKS", "must name the file that lists are put into, for servers to read"))
    kept = Path(settings.networks)
    try:
        fresh = [Listed(kind, rule, network, of) for network in networks.published(file.read_bytes())]
    except OSError as error:
        raise Invalid(Problem("file", f"{file} cannot be read ({error.strerror})")) from None
    except ValueError as error:
        raise Invalid(Problem("file", f"is no list of networks: {error}")) from None
    old = kept.read_text("utf-8").splitlines() if kept.exists() else []
    others = [each for each in networks.parse(old) if each.rule != rule]
    lines = [each.line for each in (*others, *fresh)]
    # The whole file is read as a server would before it takes the old one's place.
    networks.build(networks.parse(lines))
    _replace(kept, lines)
    printing.line(f"{len(fresh)} networks of {rule} stand in {kept}, beside {len(others)} of other rules")


def _replace(path: Path, lines: Iterable[str]) -> None:
    beside = path.with_name(f".{path.name}.new")
    with beside.open("w", encoding="utf-8") as written:
        written.writelines(f"{line}\n" for line in lines)
        written.flush()
        os.fsync(written.fileno())
    beside.replace(path)


@app.command()
def quiet(
    before: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="Whose last open is known, and was before this day (UTC).")
    ],
    tenant: Chosen = None,
) -> None:
    """List who has not opened for long, `address,day` a line, where the tenant keeps the day of the last open.

    Who never opened is not among them: nothing tells them from who cannot be measured.
    """

    async def work(service: Service) -> None:
        owner = await service.database.read(lambda session: chosen(session, tenant))
        after = b""
        while found := await service.database.read(
            lambda session, after=after: people.quiet(session, owner, before.date(), after, _PAGE)  # type: ignore[misc]
        ):
            _print(last for _, last in found)
            after = found[-1][0]

    running.work(work)


def _print(some: Iterable[LastOpen]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerows(some)
