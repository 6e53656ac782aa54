"""`mailer send`: one email, by the same way as product code's."""

from pathlib import Path
from typing import Annotated

import orjson
import typer
from sqlmodel import Session

from mailer import answers, catalogue, submission
from mailer.answers import Asked, Replay
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.cli.values import pairs, variables
from mailer.compose.templates import Content
from mailer.drafts import Draft, parse
from mailer.errors import Invalid, NotFound, Problem
from mailer.service import Service
from mailer.submission import Submitter
from suppression.rules import Stream

_Given = dict[str, object]

#: Keys of this command and of the API do not meet.
_ROUTE = "mailer send"
_LONGEST_KEY = 256

Var = Annotated[list[str] | None, typer.Option(help="A variable, `name=value`; JSON where it parses. Repeat it.")]
Document = Annotated[str | None, typer.Option(help="All variables as one JSON object.")]
Locale = Annotated[str | None, typer.Option(help="The language, `en` or `uk`.")]
Template = Annotated[str | None, typer.Option(help="The template.")]
Subject = Annotated[str | None, typer.Option(help="The subject of a literal body.")]
Html = Annotated[str | None, typer.Option(help="The HTML of a literal body; @FILE reads it.")]
Text = Annotated[str | None, typer.Option(help="The text of a literal body; @FILE reads it.")]
From = Annotated[str | None, typer.Option("--from", help="One of the tenant's addresses.")]
ReplyTo = Annotated[list[str] | None, typer.Option(help="Where answers go.")]
Tag = Annotated[list[str] | None, typer.Option(help="A tag for reports, `name=value`. Repeat it.")]


def add(app: typer.Typer) -> None:
    """Add the command of this group."""
    app.command()(send)


def send(
    stream: Annotated[Stream, typer.Option(help="The stream it belongs to.")],
    to: Annotated[list[str], typer.Option(help="To whom; repeat it for several (transactional only).")],
    cc: Annotated[list[str] | None, typer.Option(help="Who sees it too.")] = None,
    bcc: Annotated[list[str] | None, typer.Option(help="Who sees it unseen.")] = None,
    sender: From = None,
    reply_to: ReplyTo = None,
    template: Template = None,
    var: Var = None,
    variables_json: Document = None,
    locale: Locale = None,
    subject: Subject = None,
    html: Html = None,
    text: Text = None,
    topic: Annotated[str | None, typer.Option(help="The topic it belongs to.")] = None,
    tag: Tag = None,
    schedule_at: Annotated[str | None, typer.Option(help="When it goes (RFC 3339); at once, if left out.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When it is of no use any more (RFC 3339).")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="The same key and words again send nothing.")] = None,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Send an email: it is stored at once, and goes out by the server or workers that run."""
    given: _Given = {
        "stream": stream,
        "to": to,
        "cc": cc,
        "bcc": bcc,
        "from": sender,
        "reply_to": reply_to,
        "template": template,
        "locale": locale,
        "subject": subject,
        "html": body_of(html, "--html"),
        "text": body_of(text, "--text"),
        "topic": topic,
        "tags": pairs(tag, "--tag") or None,
        "scheduled_at": schedule_at,
        "expires_at": expires_at,
    }
    asked = {name: value for name, value in given.items() if value is not None}

    def submit(service: Service, session: Session) -> bytes:
        owner = chosen(session, tenant)
        filled = variables(var, variables_json, declared(session, owner, template))
        whole = {**asked, "variables": filled} if filled else asked
        return _once(service, session, owner, whole, idempotency_key)

    _tell(running.commit(submit), as_json=as_json)


def _once(service: Service, session: Session, owner: int, asked: _Given, key: str | None) -> bytes:
    """Accept a mail and return the answer; with a key that was used for the same before, return that answer."""
    if key is None:
        return _accept(service, session, owner, asked)
    if not 1 <= len(key) <= _LONGEST_KEY:
        raise Invalid(Problem("--idempotency-key", f"must have 1 to {_LONGEST_KEY} characters"))
    begun = answers.begin(session, Asked.of(owner, _ROUTE, key, orjson.dumps(asked)), service.now())
    if isinstance(begun, Replay):
        return begun.body
    answer = _accept(service, session, owner, asked)
    answers.finish(session, begun, 202, answer)
    return answer


def _accept(service: Service, session: Session, owner: int, asked: _Given) -> bytes:
    draft = parse(Draft, asked)
    accepted = submission.submit(session, Submitter.trusted(owner), draft, service.intake, service.now())
    placed = [
        {
            "id": email.id,
            "to": email.to,
            "status": email.status,
            "reason": email.bar.reason if email.bar else None,
        }
        for email in accepted.emails
    ]
    return orjson.dumps(placed)


def declared(session: Session, tenant_id: int, template: str | None) -> Content | None:
    """Return what a template declares; None where there is none, which others say better."""
    if template is None:
        return None
    try:
        return catalogue.current(session, tenant_id, template).body
    except NotFound:
        return None


def body_of(given: str | None, option: str) -> str | None:
    """Return a body as it was given; `@FILE` is read."""
    if given is None or not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Invalid(Problem(option, f"cannot read {given[1:]}: {why}")) from error


def _tell(answer: bytes, *, as_json: bool) -> None:
    placed = orjson.loads(answer)
    if as_json:
        printing.as_json(placed[0] if len(placed) == 1 else {"data": placed})
        return
    for email in placed:
        printing.line(f"{email['id']} {email['status']}" + (f" ({email['reason']})" if email["reason"] else ""))
