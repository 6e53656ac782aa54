"""`mailer suppression import` and `export`: other systems' lists in, ours out."""

import asyncio
import csv
import hashlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, Annotated, NamedTuple

import typer

from mailer.cli import printing, progress, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.errors import Invalid, Problem
from mailer.exchanging import Export, Import, Imported, Order, options_of
from suppression.exchange import FormName, Options, Syntax
from suppression.lines import Refusal
from suppression.rules import Reason

_SHOWN = 100
_PIECE = 1024 * 1024


class _Source(NamedTuple):
    """The list that is read, and how."""

    file: IO[bytes]
    #: In bytes; None where nobody knows.
    size: int | None
    digest: str | None
    form: str
    options: Options
    dry_run: bool
    resume: bool


def add(app: typer.Typer) -> None:
    """Add the commands to the group `suppression`."""
    app.command(name="import")(import_)
    app.command()(export)


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The list, CSV or NDJSON; - reads stdin.")],
    form: Annotated[FormName, typer.Option("--from", help="Whose list it is.")] = FormName.LIST,
    reason: Annotated[Reason | None, typer.Option(help="Why, for lines of a plain list that do not say.")] = None,
    scope: Annotated[str | None, typer.Option(help="How far opt-outs reach that do not say: all, …")] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="GROUP=KEY: who left that group, list or tag leaves this topic; KEY alone: every group."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be added.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(metavar="OUT", help="Write each refused line's number and reason there, as CSV.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an import of this very file was cut off.")
    ] = False,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Bring in a suppression list; it only ever forbids more, and bringing it in twice is doing it once."""
    options = options_of(reason, scope, topic or ())
    if file == "-" and resume:
        raise Invalid(Problem("--resume", "needs a file: what came through a pipe is not known again"))
    lines: list[Refusal] = []
    with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as opened:
        size = None if file == "-" else Path(file).stat().st_size
        digest = None if file == "-" or dry_run else _digest(Path(file))
        source = _Source(opened, size, digest, form.value, options, dry_run, resume)
        with _rejects(rejects, append=resume) as write:

            def refused(refusal: Refusal) -> None:
                write(refusal)
                if len(lines) < _SHOWN:
                    lines.append(refusal)

            told = asyncio.run(_import(source, refused, tenant))
    if as_json:
        printing.as_json({**asdict(told), "lines": [refusal._asdict() for refusal in lines]})
    else:
        _tell(told, lines)
    if told.refused:
        raise typer.Exit(1)


async def _import(source: _Source, refused: Callable[[Refusal], object], tenant: str | None) -> Imported:
    async with running.opened(running.settings()) as service:
        owner = await service.database.read(lambda session: chosen(session, tenant))
        order = Order(
            database=service.database,
            fingerprints=service.intake.fingerprints,
            tenant_id=owner,
            form=source.form,
            now=service.now,
            dry_run=source.dry_run,
        )
        asked = Import(order=order, options=source.options, digest=source.digest, resume=source.resume)
        with progress.reading(source.file, source.size, "reading") as pieces:
            return await asked.lines(pieces, refused)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _rejects(path: Path | None, *, append: bool) -> Iterator[Callable[[Refusal], object]]:
    if path is None:
        yield lambda _refusal: None
        return
    with path.open("a" if append else "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(Refusal._fields)
        yield writer.writerow


def _tell(told: Imported, lines: list[Refusal]) -> None:
    counts = ", ".join(f"{number:,} {name}" for name, number in told.counts.items())
    printing.line(f"{counts}{' (nothing was written)' if told.dry_run else ''}")
    if told.resumed_at:
        printing.note(f"went on behind byte {told.resumed_at:,}")
    for kind, number in sorted(told.kinds.items()):
        printing.line(f"  {number:,} {kind}")
    for group, number in sorted(told.widened.items()):
        printing.note(
            f"group {group}: {number:,} left the whole promotional stream; --topic '{group}=KEY' leaves one topic"
        )
    for refusal in lines:
        printing.note(f"line {refusal.line}: {refusal.reason}")
    if told.refused > len(lines):
        printing.note(f"and {told.refused - len(lines):,} more lines: --rejects OUT writes all of them")


def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where the list is written; - is stdout.")] = "-",
    syntax: Annotated[Syntax, typer.Option("--format", help="How it is written.")] = Syntax.CSV,
    reason: Annotated[Reason | None, typer.Option(help="Only entries of this reason.")] = None,
    past: Annotated[bool, typer.Option("--past", help="Also what was lifted or has expired.")] = False,
    tenant: Chosen = None,
) -> None:
    """Carry the suppression list out; `suppression import` reads it back."""

    async def work(target: IO[bytes]) -> None:
        async with running.opened(running.settings()) as service:
            owner = await service.database.read(lambda session: chosen(session, tenant))
            order = Export(
                database=service.database,
                tenant_id=owner,
                syntax=syntax,
                now=service.now,
                reason=reason,
                past=past,
            )
            async for piece in order.pieces():
                target.write(piece)

    with nullcontext(sys.stdout.buffer) if file == "-" else Path(file).open("wb") as target:
        asyncio.run(work(target))
        target.flush()
