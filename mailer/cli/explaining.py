"""Why mail goes or not, in words for people: one address in full, a list before it is sent to."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sqlmodel import Session

from mailer.cli import printing, running
from mailer.cli.tenants import chosen
from mailer.errors import Invalid, Problem
from mailer.service import Service
from mailer.web.explaining import checked, topic_of
from suppression import rules
from suppression.rules import Stream

#: Addresses a statement.
_CHUNK = 500
#: Evidence, in the order in which people ask for it.
_EVIDENCE = ("email_id", "campaign_id", "topic", "channel", "ip", "reply", "category", "provider")


def tell(told: Mapping[str, Any]) -> None:
    """Print the answer about one address."""
    if told["allowed"]:
        printing.line("allowed: nothing forbids it")
    elif told["entry"] is None:
        printing.line("not allowed: this topic goes only to those who said yes, and no yes is recorded")
    else:
        _deciding(told["entry"])
    columns = ("rule", "matched", "blocks", "since", "entry", "from email", "ended by")
    rows = [
        (
            each["rule"],
            "yes" if each["matched"] else "no",
            "yes" if each["blocks"] else "no",
            each["since"],
            each["entry_id"],
            each["email_id"],
            each["ended_by"],
        )
        for each in told["trace"]
    ]
    printing.table(columns, rows)
    for entry in told["history"]:
        ended = _day(entry["lifted_at"] or entry["expires_at"])
        by = f" by {entry['lifted_by']}" if entry["lifted_by"] else ""
        printing.line(f"past: {entry['reason']} ({entry['scope']}), {entry['id']}, ended {ended}{by}")


def _deciding(entry: Mapping[str, Any]) -> None:
    ended = rules.rule_of(entry["reason"]).ended_by
    printing.line(
        f"not allowed: {entry['reason']} ({entry['scope']}) since {_day(entry['created_at'])}, "
        f"brought by {entry['origin']}, ended by {ended}; {entry['id']}"
    )
    evidence = entry["evidence"] or {}
    if shown := [f"{name} {evidence[name]}" for name in _EVIDENCE if evidence.get(name)]:
        printing.line(f"evidence: {', '.join(shown)}")
    if entry["note"]:
        printing.line(f"note: {entry['note']}")


def dry_run(file: Path, stream: Stream, topic: str | None, *, tenant: str | None, as_json: bool) -> None:
    """Say for each address of a list what would become of its mail: as JSON a line each, else who would be left out."""
    sums: Counter[str] = Counter()

    async def work() -> None:
        lines = _lines(file)
        async with running.opened(running.settings()) as service:
            while emails := list(islice(lines, _CHUNK)):
                for each in await service.database.read(partial(_asked, service, emails, stream, topic, tenant)):
                    sums["allowed" if each["allowed"] else str(each["reason"])] += 1
                    _show(each, as_json=as_json)

    asyncio.run(work())
    words = ", ".join(f"{number} {reason}" for reason, number in sums.most_common())
    printing.note(f"{sums.total()} asked: {words or 'the list is empty'}")


def _asked(
    service: Service, emails: Sequence[str], stream: Stream, topic: str | None, tenant: str | None, session: Session
) -> list[dict[str, Any]]:
    owner = chosen(session, tenant)
    about = topic_of(session, owner, topic, stream)
    return checked(session, owner, emails, stream, about, service.intake.fingerprints, service.now())


def _show(each: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        printing.as_json(each)
    elif not each["allowed"]:
        printing.line(f"{each['email']}\t{each['reason']}")


def _lines(file: Path) -> Iterator[str]:
    if str(file) == "-":
        yield from (line.strip() for line in sys.stdin if line.strip())
        return
    try:
        with file.open(encoding="utf-8-sig") as lines:
            yield from (line.strip() for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(Problem("--file", f"cannot be read as text in UTF-8: {error}")) from None


def _day(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else "at an unknown time"
