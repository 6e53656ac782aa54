"""`mailer campaign`: one mail to many people, from the draft to the report."""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Annotated, NamedTuple, cast

import typer
from sqlmodel import Session

from mailer import campaigns, reports
from mailer.campaigns import Added, Format, Upload
from mailer.campaigns.drafts import CampaignDraft, Timing
from mailer.cli import printing, progress, running
from mailer.cli.reporting import Csv
from mailer.cli.reporting import shown as figure_shown
from mailer.cli.sending import (
    Document,
    From,
    Html,
    Locale,
    ReplyTo,
    Subject,
    Tag,
    Template,
    Text,
    Var,
    body_of,
    declared,
)
from mailer.cli.tenants import Chosen, Json, Utm, chosen
from mailer.cli.values import pairs, variables
from mailer.drafts import parse
from mailer.errors import Invalid, Problem
from mailer.models import Campaign, CampaignStatus
from mailer.service import Service
from mailer.submission import Submitter
from mailer.web.api.campaigning import added_view, view, views
from mailer.web.api.reporting import campaign_report
from mailer.web.reporting import Sheet

app = typer.Typer(help="Campaigns: one mail to many people on one topic.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the campaign, ca_….")]
_Shown = dict[str, object]
_Verb = Callable[[Service, Session, Submitter], Campaign]

_SUFFIXES = {".csv": Format.CSV, ".tsv": Format.CSV, ".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON}
_WATCHED = 1.0
_GOING = frozenset({CampaignStatus.SCHEDULED, CampaignStatus.RUNNING})


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What you call it; recipients never see it.")],
    topic: Annotated[str | None, typer.Option(help="Its topic; the template's own, if left out.")] = None,
    template: Template = None,
    var: Var = None,
    variables_json: Document = None,
    locale: Locale = None,
    subject: Subject = None,
    html: Html = None,
    text: Text = None,
    sender: From = None,
    reply_to: ReplyTo = None,
    tag: Tag = None,
    opens: Annotated[
        str | None, typer.Option(help="How opens are measured at most: off, aggregate, individual.")
    ] = None,
    clicks: Annotated[
        str | None, typer.Option(help="How clicks are measured at most: off, aggregate, individual.")
    ] = None,
    utm: Utm = None,
    schedule_at: Annotated[str | None, typer.Option(help="When it starts by itself (RFC 3339).")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it ends, whoever was reached (RFC 3339).")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Make a campaign that nobody is in yet, and print its id."""
    given: _Shown = {
        "name": name,
        "topic": topic,
        "template": template,
        "locale": locale,
        "subject": subject,
        "html": body_of(html, "--html"),
        "text": body_of(text, "--text"),
        "from": sender,
        "reply_to": reply_to,
        "tags": pairs(tag, "--tag") or None,
        "tracking": {name: mode for name, mode in (("opens", opens), ("clicks", clicks)) if mode} or None,
        "utm": pairs(utm, "--utm") or None,
        "scheduled_at": schedule_at,
        "expires_at": expires_at,
    }
    asked = {name: value for name, value in given.items() if value is not None}

    def make(service: Service, session: Session, who: Submitter) -> Campaign:
        filled = variables(var, variables_json, declared(session, who.tenant_id, template))
        draft = parse(CampaignDraft, {**asked, "variables": filled} if filled else asked)
        return campaigns.create(session, who, draft, service.intake, service.now())

    made = _changed(make, tenant)
    if as_json:
        printing.as_json(made)
    else:
        printing.line(str(made["id"]))


@app.command(name="list")
def listed(
    status: Annotated[CampaignStatus | None, typer.Option(help="Only campaigns of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    after: Annotated[str | None, typer.Option(help="The id of the last campaign of the page before.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """List campaigns, the newest first."""

    def find(service: Service, session: Session) -> tuple[list[_Shown], bool]:
        owner = chosen(session, tenant)
        page = campaigns.listing(session, owner, limit=limit, after=after, status=status)
        return views(session, page.campaigns, service.now()), page.has_more

    found, more = running.read(find)
    if as_json:
        printing.as_json({"data": found, "has_more": more})
        return
    columns, sums = ("id", "name", "status", "topic", "started_at"), ("requested", "held", "sent")
    rows = [
        [*(each[column] for column in columns), *(cast("_Shown", each["progress"])[name] for name in sums)]
        for each in found
    ]
    printing.table((*columns, *sums), rows)
    if more:
        printing.note(f"there are more: --after {found[-1]['id']}")


@app.command()
def show(identifier: _Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Show a campaign and how far it is."""

    def find(service: Service, session: Session) -> _Shown:
        return view(session, campaigns.get(session, chosen(session, tenant), identifier), service.now())

    found = running.read(find)
    if as_json:
        printing.as_json(found)
        return
    fields = {**found, **{f"progress: {name}": value for name, value in cast("_Shown", found["progress"]).items()}}
    fields |= {f"warning: {each['measure']}": each["reason"] for each in cast("list[_Shown]", found["warnings"])}
    del fields["progress"], fields["warnings"]
    printing.table(("field", "value"), [(name, value) for name, value in fields.items() if value not in (None, {}, [])])


@app.command()
def start(identifier: _Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Let a campaign run; a running server sends it."""
    _step(
        lambda service, session, who: campaigns.start(session, who, identifier, service.intake, service.now()),
        tenant,
        as_json=as_json,
    )


@app.command()
def schedule(
    identifier: _Id,
    at: Annotated[str, typer.Argument(metavar="TIME", help="When it starts (RFC 3339).")],
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Let a campaign start by itself at a time."""
    moment = parse(Timing, {"scheduled_at": at}).scheduled_at
    _step(
        lambda service, session, who: campaigns.schedule(
            session, who, identifier, moment, service.intake, service.now()
        ),
        tenant,
        as_json=as_json,
    )


@app.command()
def pause(
    identifier: _Id,
    note: Annotated[str | None, typer.Option(help="Why, for whoever finds it paused.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Stop a campaign at once; whoever has not got its mail waits."""
    _step(
        lambda service, session, who: campaigns.pause(session, who, identifier, note, service.now()),
        tenant,
        as_json=as_json,
    )


@app.command()
def resume(identifier: _Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Let a paused campaign go on."""
    _step(
        lambda service, session, who: campaigns.resume(session, who, identifier, service.intake, service.now()),
        tenant,
        as_json=as_json,
    )


@app.command()
def cancel(identifier: _Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """End a campaign at once; whoever has not got its mail does not get it."""
    _step(
        lambda service, session, who: campaigns.cancel(session, who, identifier, service.now()),
        tenant,
        as_json=as_json,
    )


def _changed(verb: _Verb, tenant: str | None) -> _Shown:
    def work(service: Service, session: Session) -> _Shown:
        changed = verb(service, session, Submitter.trusted(chosen(session, tenant)))
        return view(session, changed, service.now())

    return running.commit(work)


def _step(verb: _Verb, tenant: str | None, *, as_json: bool) -> None:
    changed = _changed(verb, tenant)
    if as_json:
        printing.as_json(changed)
    else:
        printing.line(f"{changed['id']} {changed['status']}")


@app.command()
def add(
    identifier: _Id,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV or NDJSON, a recipient a line; - reads stdin.")],
    form: Annotated[
        Format | None, typer.Option("--format", help="What the file is, where its name does not say.")
    ] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Add recipients; whoever is in the campaign already is left as they are, so an upload may simply be repeated."""
    chosen_form = form or _SUFFIXES.get(Path(file).suffix.lower())
    if chosen_form is None:
        raise Invalid(Problem("--format", "say csv or ndjson: the file's name does not tell"))
    size = None if file == "-" else Path(file).stat().st_size
    with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as source:
        added = asyncio.run(_upload(identifier, _Source(source, chosen_form, size), tenant))
    if as_json:
        printing.as_json(added_view(added))
    else:
        counts = ("new", "duplicates", "suppressed", "refused")
        printing.line(", ".join(f"{getattr(added, name):,} {name}" for name in counts))
        for refusal in added.lines:
            printing.note(f"line {refusal.line}: {refusal.reason}")
    if added.refused:
        raise typer.Exit(1)


class _Source(NamedTuple):
    """Where recipients are read from."""

    file: IO[bytes]
    form: Format
    #: In bytes; None where nobody knows.
    size: int | None


async def _upload(identifier: str, source: _Source, tenant: str | None) -> Added:
    async with running.opened(running.settings()) as service:
        owner = await service.database.read(lambda session: chosen(session, tenant))
        upload = Upload(
            database=service.database,
            intake=service.intake,
            sender=Submitter.trusted(owner),
            campaign_id=identifier,
            now=service.now,
        )
        with progress.reading(source.file, source.size, "adding") as pieces:
            return await upload.lines(pieces, source.form)


@app.command()
def report(
    identifier: _Id,
    watch: Annotated[bool, typer.Option("--watch", help="Print it every second until the campaign rests.")] = False,
    tenant: Chosen = None,
    as_json: Json = False,
    as_csv: Csv = False,
) -> None:
    """Print the numbers of a campaign, each with its formula."""

    def find(service: Service, session: Session) -> tuple[CampaignStatus, Sheet, reports.Report]:
        campaign = campaigns.get(session, chosen(session, tenant), identifier)
        told = reports.campaign_report(session, campaign, service.now())
        return campaign.status, campaign_report(session, campaign, service.now()), told

    while True:
        status, sheet, told = running.read(find)
        if as_json:
            printing.as_json(sheet.data)
        elif as_csv:
            sys.stdout.write(sheet.csv)
        else:
            rows = [(figure.name, figure_shown(figure), figure.formula) for figure in told.figures]
            printing.table(("figure", "number", "formula"), rows, title=f"{identifier}, {status}")
            if told.suppressed_by:
                printing.table(("suppressed by", "emails"), told.suppressed_by.items())
            _warn(sheet.data)
        if not watch or status not in _GOING:
            return
        sys.stdout.flush()
        time.sleep(_WATCHED)


def _warn(report: Mapping[str, object]) -> None:
    """Say where a scanner may have opted people out, and how that is undone."""
    for alarm in cast("list[dict[str, object]]", report["alarms"]):
        undone = (
            f"undone {alarm['undone_at']:%Y-%m-%d %H:%M}" if alarm["undone_at"] else "mailer suppression undo-alarm"
        )
        printing.line(
            f"alarm {alarm['id']}: {alarm['opt_outs']} opt-outs of the {alarm['kind']} {alarm['value']} "
            f"soon after delivery, perhaps a scanner's ({undone})"
        )
