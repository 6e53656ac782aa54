"""`mailer webhook`: who is told of what, and what became of each message."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from sqlmodel import Session

from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.drafts import parse
from mailer.models import DeliveryState, Webhook
from mailer.service import Service
from mailer.webhooks import deliveries, endpoints, signing
from mailer.webhooks.deliveries import Window
from mailer.webhooks.drafts import ReplayDraft, RotateDraft, WebhookDraft
from mailer.webhooks.endpoints import Made, Wanted

app = typer.Typer(help="Webhooks: programs that are told what happens.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="The endpoint's id, we_….")]
Secret = Annotated[str | None, typer.Option(help="A secret of yours, whsec_…; one is made if left out.")]
_COLUMNS = ("id", "url", "events", "enabled", "failing_since", "disabled_why")
_LOG = ("id", "type", "state", "at", "tries", "status_code", "took_ms", "answer")


@app.command()
def create(
    url: Annotated[str, typer.Argument(help="Where messages go: https, and reachable by everybody.")],
    event: Annotated[
        list[str] | None, typer.Option(help="An event that it wants; repeat it. All, if left out.")
    ] = None,
    description: Annotated[str, typer.Option(help="What it is for.")] = "",
    secret: Secret = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Make an endpoint and print its secret, this once, alone on stdout."""
    draft = parse(WebhookDraft, {"url": url, "events": event or None, "description": description, "secret": secret})

    async def make(service: Service) -> Made:
        await endpoints.check(service.hooks.guard, draft.url)
        own = signing.parse(draft.secret) if draft.secret else None
        wanted = Wanted(draft.url, draft.events, draft.description, own)
        return await service.database.run(
            lambda session: endpoints.create(session, service.hooks, chosen(session, tenant), wanted, service.now())
        )

    _show_secret(running.work(make), as_json=as_json)


@app.command(name="list")
def listed(tenant: Chosen = None, as_json: Json = False) -> None:
    """List the endpoints; which of them fail or are disabled, and why."""

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        return [endpoints.view(each) for each in endpoints.listing(session, chosen(session, tenant))]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
    else:
        printing.table(_COLUMNS, ([each[column] for column in _COLUMNS] for each in found))


@app.command()
def show(
    webhook: Id,
    state: Annotated[DeliveryState | None, typer.Option(help="Only messages that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many messages.")] = 20,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Show an endpoint and its newest messages, with what came of the last try of each."""

    def find(_service: Service, session: Session) -> tuple[dict[str, object], list[dict[str, object]]]:
        found = endpoints.get(session, chosen(session, tenant), webhook)
        log = deliveries.listing(session, found, limit=limit, state=state)
        return endpoints.view(found), [deliveries.view(each) for each in log]

    found, log = running.read(find)
    if as_json:
        printing.as_json({**found, "deliveries": log})
        return
    printing.table(("", ""), found.items())
    printing.table(_LOG, ([each[column] for column in _LOG] for each in log))


@app.command(name="test")
def try_out(webhook: Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Send a test message; a running server delivers it within a second: look at `show`."""

    def ask(service: Service, session: Session) -> str:
        return deliveries.test(session, _taken(session, tenant, webhook), service.now())

    identifier = running.commit(ask)
    if as_json:
        printing.as_json({"id": identifier})
    else:
        printing.line(identifier)


@app.command()
def replay(
    webhook: Id,
    message: Annotated[str | None, typer.Option("--id", help="One message, by its webhook-id.")] = None,
    since: Annotated[str | None, typer.Option(help="What happened from then on: 2027-03-01T09:30:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="And before; now, if left out.")] = None,
    missed: Annotated[bool, typer.Option("--missed", help="Only what was given up or never told.")] = False,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Send messages again; their ids stay."""
    given: dict[str, object] = {"id": message, "since": since, "until": until}
    draft = parse(ReplayDraft, {name: value for name, value in given.items() if value is not None} | {"missed": missed})

    def again(service: Service, session: Session) -> int:
        found = _taken(session, tenant, webhook)
        if draft.id is not None:
            deliveries.replay_one(session, found, draft.id, service.now())
            return 1
        window = Window(draft.since or datetime.min.replace(tzinfo=UTC), draft.until or service.now(), draft.missed)
        return deliveries.replay(session, found, window, service.now())

    number = running.commit(again)
    if as_json:
        printing.as_json({"replayed": number})
    else:
        printing.line(f"{number} messages are sent again")


@app.command()
def rotate(webhook: Id, secret: Secret = None, tenant: Chosen = None, as_json: Json = False) -> None:
    """Make a new secret and print it, this once; for a day the old one signs beside it."""
    draft = parse(RotateDraft, {"secret": secret})
    own = signing.parse(draft.secret) if draft.secret else None

    def turn(service: Service, session: Session) -> Made:
        return endpoints.rotate(session, service.hooks, _taken(session, tenant, webhook), service.now(), own)

    _show_secret(running.commit(turn), as_json=as_json)


@app.command()
def enable(webhook: Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Tell an endpoint again; what happened meanwhile is sent by `replay --missed`."""
    made = running.commit(
        lambda _service, session: endpoints.view(endpoints.enable(session, _taken(session, tenant, webhook)))
    )
    _say(made, "is enabled", as_json=as_json)


@app.command()
def disable(webhook: Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Tell an endpoint nothing more."""
    made = running.commit(
        lambda service, session: endpoints.view(
            endpoints.disable(session, _taken(session, tenant, webhook), service.now())
        )
    )
    _say(made, "is disabled", as_json=as_json)


@app.command()
def delete(webhook: Id, tenant: Chosen = None, as_json: Json = False) -> None:
    """Delete an endpoint, what waits for it, and its log."""
    running.commit(lambda _service, session: endpoints.delete(session, _taken(session, tenant, webhook)))
    _say({"id": webhook, "deleted": True}, "is deleted", as_json=as_json)


def _taken(session: Session, tenant: str | None, webhook: str) -> Webhook:
    return endpoints.get(session, chosen(session, tenant), webhook, to_change=True)


def _show_secret(made: Made, *, as_json: bool) -> None:
    if as_json:
        printing.as_json({**endpoints.view(made.webhook), "secret": made.secret})
        return
    printing.note(made.webhook.id)
    printing.line(made.secret)


def _say(made: dict[str, object], words: str, *, as_json: bool) -> None:
    if as_json:
        printing.as_json(made)
    else:
        printing.line(f"{made['id']} {words}")
