"""`mailer render`: look at a template before anybody gets it."""

from enum import StrEnum
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import catalogue
from mailer.cli import printing, running
from mailer.cli.sending import Document, Var
from mailer.cli.tenants import Chosen, chosen
from mailer.cli.values import variables
from mailer.inbox import Reading
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
        owner = chosen(session, tenant)
        body = catalogue.current(session, owner, template).body
        values = {**body.schema.example(), **variables(var, variables_json, body)}
        return catalogue.preview(body, catalogue.look_of(session, owner, body, values, locale=locale), service.now())

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
