"""`mailer tenant`: who sends."""

from typing import Annotated

import typer
from sqlmodel import Session

from mailer import tenancy
from mailer.cli import printing, running
from mailer.drafts import TenantChange, parse
from mailer.errors import NotFound
from mailer.models import ConsentRule, Opens, OptOutScope, Tenant
from mailer.service import Service

app = typer.Typer(help="Senders: the company itself, and its customers.", no_args_is_help=True)

#: Where a command belongs to one tenant; asked for only where there are several.
Chosen = Annotated[str | None, typer.Option("--tenant", help="The tenant's key; needed only where there are several.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def chosen(session: Session, key: str | None) -> int:
    """Return the id of the tenant that a command is about."""
    tenant = tenancy.only_tenant(session, key)
    if tenant.id is None:
        raise NotFound(f"the tenant {tenant.key} is not stored yet")
    return tenant.id


@app.command()
def create(
    key: Annotated[str, typer.Argument(help="A short name: lower-case letters, digits, hyphens.")],
    sender: Annotated[str, typer.Option("--from", help="Its From, as `Ringwise <hello@ringwise.example>`.")],
    postal_address: Annotated[str, typer.Option(help="Its postal address; promotional mail needs one.")] = "",
    name: Annotated[str, typer.Option(help="Its name; the one of its From, if left out.")] = "",
    as_json: Json = False,
) -> None:
    """Make a tenant with identities, topics and lists of its own."""

    def make(service: Service, session: Session) -> dict[str, object]:
        made = tenancy.create_tenant(
            session, key, sender=sender, postal_address=postal_address, name=name, now=service.now()
        )
        return _plain(made)

    made = running.commit(make)
    if as_json:
        printing.as_json(made)
    else:
        printing.line(str(made["key"]))


@app.command(name="set")
def change(
    key: Annotated[str, typer.Argument(help="Its short name.")],
    name: Annotated[str | None, typer.Option(help="Its name, as recipients read it.")] = None,
    postal_address: Annotated[str | None, typer.Option(help="Its postal address.")] = None,
    opt_out_scope: Annotated[
        OptOutScope | None, typer.Option(help="What an unsubscribe link leaves: the whole stream, or its topic.")
    ] = None,
    opt_out_in_every_mail: Annotated[
        bool | None, typer.Option(help="Whether transactional mail without a topic can be left too.")
    ] = None,
    transactional_opens: Annotated[Opens | None, typer.Option(help="How opens are measured, at most.")] = None,
    promotional_opens: Annotated[Opens | None, typer.Option(help="How opens are measured, at most.")] = None,
    consent: Annotated[ConsentRule | None, typer.Option(help="When a person may be measured individually.")] = None,
    last_open_only: Annotated[
        bool | None, typer.Option(help="Whether only the day of a person's last open is kept of individual measuring.")
    ] = None,
    locale: Annotated[str | None, typer.Option(help="The language of mail that names none: `en`, `uk`.")] = None,
    complaints_block: Annotated[
        bool | None, typer.Option(help="Whether who complained gets no transactional mail either.")
    ] = None,
    keep_ip: Annotated[bool | None, typer.Option(help="Whether network addresses are kept as evidence.")] = None,
    soft_bounces: Annotated[
        int | None, typer.Option(help="After so many soft bounces an address gets no promotional mail for a while.")
    ] = None,
    soft_bounce_days: Annotated[
        int | None, typer.Option(help="Within how many days they count, and for how many days it gets none.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change a tenant's settings; what is not given stays."""
    given = {
        "name": name,
        "postal_address": postal_address,
        "opt_out_scope": opt_out_scope,
        "opt_out_in_every_mail": opt_out_in_every_mail,
        "transactional_opens": transactional_opens,
        "promotional_opens": promotional_opens,
        "consent": consent,
        "last_open_only": last_open_only,
        "locale": locale,
        "complaints_block": complaints_block,
        "keep_ip": keep_ip,
        "soft_bounces": soft_bounces,
        "soft_bounce_days": soft_bounce_days,
    }
    asked = parse(TenantChange, {field: value for field, value in given.items() if value is not None})

    def save(_service: Service, session: Session) -> dict[str, object]:
        return _plain(tenancy.change_tenant(session, tenancy.only_tenant(session, key), asked))

    made = running.commit(save)
    if as_json:
        printing.as_json(made)
        return
    printing.table(("setting", "value"), ((setting, made[setting]) for setting in made))


@app.command(name="list")
def listed(as_json: Json = False) -> None:
    """List the tenants."""
    found = running.read(lambda _service, session: [_plain(tenant) for tenant in tenancy.tenants(session)])
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("key", "name", "postal_address", "locale", "created_at")
    printing.table(columns, ([tenant[column] for column in columns] for tenant in found))


def _plain(tenant: Tenant) -> dict[str, object]:
    return {
        "key": tenant.key,
        "name": tenant.name,
        "postal_address": tenant.postal_address,
        "opt_out_scope": tenant.opt_out_scope,
        "opt_out_in_every_mail": tenant.opt_out_in_every_mail,
        "transactional_opens": tenant.transactional_opens,
        "promotional_opens": tenant.promotional_opens,
        "consent": tenant.consent,
        "last_open_only": tenant.last_open_only,
        "locale": tenant.locale,
        "complaints_block": tenant.complaints_block,
        "keep_ip": tenant.keep_ip,
        "soft_bounces": tenant.soft_bounces,
        "soft_bounce_days": tenant.soft_bounce_days,
        "created_at": tenant.created_at,
    }
