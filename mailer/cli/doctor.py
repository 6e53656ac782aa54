"""`mailer doctor`: does what we promise work here?"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from mailer import doctor
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.doctor import Asked, Report, Verdict
from mailer.errors import Invalid, Problem

app = typer.Typer(help="Tests of this installation.", no_args_is_help=True)

_SIGNS = {Verdict.OK: "ok", Verdict.WARNING: "look", Verdict.FAILED: "FAILED"}


@app.callback()
def group() -> None:
    """Tests of this installation."""


@app.command()
def unsubscribe(
    to: Annotated[
        str | None, typer.Option(help="Where the mail goes; a person who is made up, where the relay is the inbox.")
    ] = None,
    eml: Annotated[
        Path | None, typer.Option(help="A mail as it arrived, saved as a file; nothing is sent then.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="The topic of the mail; the first promotional one.")] = None,
    only_read: Annotated[bool, typer.Option("--only-read", help="Read the mail, and use none of its links.")] = False,
    wait: Annotated[float, typer.Option(min=1, max=600, help="Seconds that the mail may take to go.")] = 30,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Send a promotional mail, read it as it arrived, and unsubscribe as Gmail, Yahoo, Apple and odd programs do.

    What is left for the test is given back by the same link. Ends with 1 where something failed, or where a real relay
    took the mail and its file is still to be looked at (--eml).
    """
    if to is not None and eml is not None:
        raise Invalid(Problem("--eml", "is of a mail that was sent before: leave --to out"))
    raw = _read(eml)

    async def work() -> Report:
        async with running.opened(running.settings()) as service:
            owner = await service.database.read(lambda session: chosen(session, tenant))
            asked = Asked(owner, to, topic, raw, not only_read, timedelta(seconds=wait))
            return await doctor.examine(service, asked)

    report = asyncio.run(work())
    good = report.examined and doctor.holds(report.findings)
    if as_json:
        found = [each._asdict() for each in report.findings]
        printing.as_json({"ok": good, "examined": report.examined, "email_id": report.email_id, "findings": found})
    else:
        _tell(report)
    if not good:
        raise typer.Exit(1)


def _read(eml: Path | None) -> bytes | None:
    if eml is None:
        return None
    try:
        return eml.read_bytes()
    except OSError as error:
        raise Invalid(Problem("--eml", f"cannot read {eml}: {error.strerror}")) from error


def _tell(report: Report) -> None:
    if not report.examined:
        printing.line(f"sent: {report.email_id}. Not tested yet: save the mail as it arrived, with all its headers,")
        printing.line("and run `mailer doctor unsubscribe --eml FILE`")
        return
    printing.table(
        ("check", "", "what was found"), ([each.check, _SIGNS[each.verdict], each.message] for each in report.findings)
    )
    failed = sum(each.verdict is Verdict.FAILED for each in report.findings)
    doubts = sum(each.verdict is Verdict.WARNING for each in report.findings)
    works = "unsubscribing works" + (f"; {doubts} to look at" if doubts else "")
    printing.line(f"{failed} of {len(report.findings)} checks failed" if failed else works)
