"""`mailer render`: look at a template before anybody gets it."""

from enum import StrEnum
from typing import Annotated

import typer
from sqlmodel import Session, col, select

from mailer import catalogue
from mailer.catalogue import Look
from mailer.cli import printing, running
from mailer.cli.sending import Document, Var
from mailer.cli.tenants import Chosen, chosen
from mailer.cli.values import variables
from mailer.compose.letter import Sender, TopicInfo
from mailer.compose.templates import Content
from mailer.inbox import Reading
from mailer.models import Identity, Tenant, Topic
from mailer.people import may_leave
from mailer.service import Service


class Part(StrEnum):
    """What is shown of a mail."""

    SUBJECT = "subject"
    HTML = "html"
    TEXT = "text"


def add(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command()(render)


def render(
    template: Annotated[str, typer.Argument(help="The template.")],
    locale: Annotated[str | None, typer.Option(help="The language; the tenant's, if left out.")] = None,
    var: Var = None,
    variables_json: Document = None,
    part: Annotated[Part | None, typer.Option(help="Only this; subject and text, if left out.")] = None,
    tenant: Chosen = None,
) -> None:
    """Show a template, filled with its own examples and what you give; nothing is sent."""

    def preview(service: Service, session: Session) -> Reading:
        owner = session.get_one(Tenant, chosen(session, tenant))
        body = catalogue.current(session, chosen(session, tenant), template).body
        values = {**body.schema.example(), **variables(var, variables_json, body)}
        return catalogue.preview(body, _look(session, owner, body, locale, values), service.now())

    shown = running.read(preview)
    match part:
        case Part.SUBJECT:
            printing.line(shown.subject)
        case Part.HTML:
            printing.line(shown.html or "")
        case Part.TEXT:
            printing.line(shown.text or "")
        case None:
            printing.line(f"{shown.subject}\n\n{shown.text or ''}")


def _look(session: Session, tenant: Tenant, body: Content, locale: str | None, values: dict[str, object]) -> Look:
    mine = col(Identity.tenant_id) == tenant.id
    identity = session.exec(select(Identity).where(mine, col(Identity.stream) == body.stream)).first()
    found = select(Topic).where(col(Topic.tenant_id) == tenant.id, col(Topic.key) == body.topic)
    topic = session.exec(found).one_or_none() if body.topic else None
    sender = Sender(
        identity.address if identity else "sender@preview.invalid",
        identity.name if identity else tenant.name,
        tenant.postal_address or None,
    )
    leavable = topic is not None and may_leave(topic)
    info = TopicInfo(topic.key, topic.names) if topic is not None and leavable else None
    return Look(sender=sender, locale=locale or tenant.locale, variables=values, topic=info)
