"""`mailer inbound parse`: what is understood of mails that came back; nothing is recorded."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from mailer.causes import code_of
from mailer.cli import printing
from mailer.feedback.inbound import Kind, Reading, Report
from mailer.feedback.inbound.parsing import LONGEST, read

#: The first kind of report that a mail holds says what the mail is.
_KINDS = ((Kind.BOUNCED, "bounce"), (Kind.COMPLAINED, "complaint"), (Kind.UNSUBSCRIBED, "optout"))
_DROPPED = {"auto_reply": "autoreply", "challenge": "autoreply", "unsubscribe": "optout"}

Files = Annotated[list[Path], typer.Argument(help="Raw mails (.eml), `-` for standard input.", show_default=False)]


def parse(files: Files, json: Annotated[bool, typer.Option("--json", help="One object a file.")] = False) -> None:
    """Show what is understood of raw mails: bounces, complaints, automatic replies. Nothing is recorded."""
    readings = [(str(file), read(_beginning(file))) for file in files]
    if json:
        for file, reading in readings:
            printing.as_json(shown(file, reading))
        return
    rows = [row for file, reading in readings for row in _rows(file, reading)]
    printing.table(("file", "kind", "recipient", "hard", "category", "status", "code", "rule", "said"), rows)


def kind_of(reading: Reading) -> str:
    """Return what a mail is: bounce, complaint, optout, autoreply or other."""
    told = {report.kind for report in reading.reports}
    return next((word for kind, word in _KINDS if kind in told), _DROPPED.get(reading.dropped or "", "other"))


def shown(file: str, reading: Reading) -> dict[str, object]:
    """Return what is printed of a mail (spec section 12)."""
    return {
        "file": file,
        "kind": kind_of(reading),
        "dropped": reading.dropped,
        "recipients": [_recipient(report) for report in reading.reports],
    }


def _recipient(report: Report) -> dict[str, object]:
    return {
        "address": report.recipient,
        "hard": report.hard,
        "category": report.category,
        "status": report.status,
        "code": code_of(report.diagnostic or "") or None,
        "told": report.kind,
        "rule": report.rule,
        "diagnostic": report.diagnostic,
        "message_id": report.message_id,
        "return_path": report.return_path,
    }


def _rows(file: str, reading: Reading) -> Sequence[Sequence[object]]:
    if not reading.reports:
        return [(file, kind_of(reading), "", "", reading.dropped, "", "", "", "")]
    return [
        (
            *(file, report.kind, report.recipient, "yes" if report.hard else "no", report.category, report.status),
            *(code_of(report.diagnostic or "") or None, report.rule, report.diagnostic),
        )
        for report in reading.reports
    ]


def _beginning(file: Path) -> bytes:
    """Return as much of a mail as is looked at."""
    if str(file) == "-":
        return sys.stdin.buffer.read(LONGEST)
    try:
        with file.open("rb") as stream:
            return stream.read(LONGEST)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from error
