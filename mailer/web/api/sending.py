"""Sending: one mail, many mails, a look at one."""

import asyncio
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from sqlmodel import Session
from starlette.responses import Response

from mailer import catalogue, drafts, emails, submission
from mailer.catalogue import Look
from mailer.compose.templates import Content
from mailer.drafts import Draft, RenderDraft, Reschedule
from mailer.errors import Forbidden, Invalid, NotFound, Problem, UnknownTemplate
from mailer.models import Email
from mailer.status import Status
from mailer.submission import Accepted, Placed, Refused
from mailer.web import problems
from mailer.web.api.calls import BULK, NO_STORE, URGENT, USUAL, Answer, Call
from mailer.web.api.gathering import Single, Told
from mailer.web.api.once import Work, asked_by, once
from mailer.web.explaining import entry_view
from suppression.rules import Stream


async def send(call: Call) -> Answer | Response:
    """Accept one mail."""
    data = call.json()
    draft = drafts.parse(Draft, data)
    asked = asked_by(call)

    def answered(accepted: Accepted) -> Told:
        return Told(HTTPStatus.ACCEPTED, Answer(_told(accepted, data)).body)

    told = await call.gathering.submit(Single(draft, call.key.digest, asked, answered))
    if isinstance(told, Told):
        return Response(told.body, told.status.value, headers=NO_STORE, media_type="application/json")

    def verb(session: Session) -> Sequence[Accepted | Refused]:
        return [submission.submit(session, call.sender(session), draft, call.service.intake, call.now)]

    def alone(results: Sequence[Accepted | Refused]) -> Answer:
        return Answer(_told(results[0], data), HTTPStatus.ACCEPTED)

    urgency = URGENT if draft.stream is Stream.TRANSACTIONAL else USUAL
    return await once(call, Work(verb, alone, _rung, urgency), asked)


async def send_batch(call: Call) -> Answer | Response:
    """Accept many mails, each for itself."""
    items = _items(call.json())
    parsed = [_parsed(item) for item in items]
    good = [draft for draft in parsed if isinstance(draft, Draft)]

    def verb(session: Session) -> Sequence[Accepted | Refused]:
        placed = iter(submission.submit_many(session, call.sender(session), good, call.service.intake, call.now))
        return [next(placed) if isinstance(draft, Draft) else draft for draft in parsed]

    def told(results: Sequence[Accepted | Refused]) -> Answer:
        data = [_told(result, item) for result, item in zip(results, items, strict=True)]
        return Answer({"data": data}, HTTPStatus.ACCEPTED)

    return await once(call, Work(verb, told, _rung, BULK), asked_by(call))


def _items(data: object) -> list[object]:
    """Return what a batch holds; only its frame is checked here, so that one bad mail spoils no other."""
    if not isinstance(data, dict):
        raise Invalid(Problem("", "must be an object"))
    found = [Problem(str(name)[:200], "is not a field that is known here") for name in data if name != "emails"]
    items = data.get("emails")
    if not isinstance(items, list):
        found.append(Problem("emails", "must be a list" if "emails" in data else "is required"))
    elif not 1 <= len(items) <= drafts.MOST_EMAILS:
        found.append(Problem("emails", f"must hold 1 to {drafts.MOST_EMAILS} emails, not {len(items)}"))
    if found or not isinstance(items, list):
        raise Invalid(*found)
    return items


def _parsed(item: object) -> Draft | Invalid:
    try:
        return drafts.parse(Draft, item)
    except Invalid as error:
        return error


def _told(result: Accepted | Refused, asked: object) -> dict[str, object]:
    """Return what became of a mail; the request alone decides whether that is a list, not how many were the same."""
    if not isinstance(result, Accepted):
        return problems.describe(result)
    fields = asked if isinstance(asked, dict) else {}
    if not (isinstance(fields.get("to"), list) or fields.get("cc") or fields.get("bcc")):
        return _placed(result.emails[0])
    return {"data": [{**_placed(placed), "to": placed.to} for placed in result.emails]}


def _placed(placed: Placed) -> dict[str, object]:
    told: dict[str, object] = {"id": placed.id, "status": placed.status}
    if placed.suppression is not None:
        told["suppression"] = entry_view(placed.suppression)
    elif placed.bar is not None:
        told["reason"] = placed.bar.reason
    return told


def _rung(results: Iterable[Accepted | Refused]) -> set[Stream]:
    """Return whom to ring for what can go now; what is scheduled is found when it is due."""
    return {
        result.stream
        for result in results
        if isinstance(result, Accepted) and any(placed.status is Status.QUEUED for placed in result.emails)
    }


async def cancel(call: Call) -> Answer:
    """Take an email back."""

    def verb(session: Session) -> Email:
        _sendable(session, call)
        return emails.cancel(session, call.tenant_id, call.path("id"), call.now)

    email = await call.run(verb, urgency=URGENT)
    return Answer({"id": email.id, "status": email.status})


async def reschedule(call: Call) -> Answer:
    """Give a waiting email another time."""
    draft = call.draft(Reschedule)

    def verb(session: Session) -> Email:
        _sendable(session, call)
        return emails.reschedule(session, call.tenant_id, call.path("id"), draft.scheduled_at, call.now)

    email = await call.run(verb, urgency=URGENT)
    if email.status is Status.QUEUED:
        call.service.ring(email.stream)
    return Answer({"id": email.id, "status": email.status, "scheduled_at": email.scheduled_at})


def _sendable(session: Session, call: Call) -> None:
    """Refuse to touch mail of a stream that the key may not send."""
    stream = emails.get(session, call.tenant_id, call.path("id")).stream
    if not call.submitter.may_send(stream):
        raise Forbidden(f"the key lacks the scope send:{stream}")


async def render(call: Call) -> Answer:
    """Show what a mail would look like; nothing is stored or sent."""
    draft = call.draft(RenderDraft)
    body, look = await call.read(
        lambda session: (body := _body(session, call, draft), _look(session, call, draft, body))
    )
    reading = await asyncio.to_thread(catalogue.preview, body, look, call.now)
    return Answer({"subject": reading.subject, "html": reading.html, "text": reading.text})


def _body(session: Session, call: Call, draft: RenderDraft) -> Content:
    if draft.template is None:
        stream = draft.stream or Stream.TRANSACTIONAL
        return catalogue.written(stream, draft.subject or "", draft.html, draft.text, locale=draft.locale or "en")
    try:
        body = catalogue.current(session, call.tenant_id, draft.template).body
    except NotFound as error:
        raise UnknownTemplate(Problem("template", str(error))) from None
    if draft.stream is not None and draft.stream is not body.stream:
        raise Invalid(Problem("stream", f"the template {draft.template} is {body.stream}"))
    return body


def _look(session: Session, call: Call, draft: RenderDraft, body: Content) -> Look:
    return catalogue.look_of(session, call.tenant_id, body, draft.variables, locale=draft.locale, topic=draft.topic)
