"""Drafts -> rows that wait: asks the suppressions, stores the emails, counts them."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, SQLModel

from mailer import counters, ids
from mailer.compose.errors import ContentError
from mailer.compose.templates import Urgency
from mailer.drafts import Draft
from mailer.errors import Forbidden, Invalid, Problem
from mailer.models import Email
from mailer.providers import provider_of
from mailer.status import Status
from mailer.submission.deciding import Desk, Plan, plan, shown
from mailer.submission.parties import Accepted, Intake, Placed, Refused, Submitter, house_of
from suppression import entries
from suppression.entries import Entry, Question

_email = SQLModel.metadata.tables[str(Email.__tablename__)]
_event = SQLModel.metadata.tables["event"]


def submit(session: Session, sender: Submitter, draft: Draft, context: Intake, now: datetime) -> Accepted:
    """Accept one draft, or raise `Invalid` or `Forbidden`; ring `accepted.stream` after your transaction's commit."""
    accepted = accept(
        Desk(session, sender, context, now, house_of(session, sender.tenant_id)), [draft], Urgency.SINGLE
    )[0]
    if isinstance(accepted, Accepted):
        return accepted
    raise accepted


def submit_many(
    session: Session, sender: Submitter, drafts: Sequence[Draft], context: Intake, now: datetime
) -> list[Accepted | Refused]:
    """Accept or refuse each of many drafts, in their order; ring their streams once your transaction is committed."""
    return accept(Desk(session, sender, context, now, house_of(session, sender.tenant_id)), drafts, Urgency.BULK)


def accept(desk: Desk, drafts: Sequence[Draft], urgency: Urgency) -> list[Accepted | Refused]:
    """Accept or refuse each draft at a desk, in their order."""
    plans: list[Plan | Refused] = []
    for draft in drafts:
        try:
            plans.append(plan(desk, draft, urgency))
        except ContentError as error:
            plans.append(Invalid(Problem("", str(error))))
        except (Invalid, Forbidden) as error:
            plans.append(error)
    questions = [
        Question(person.prints[0], each.draft.stream, each.topic, person.prints[1:])
        for each in plans
        if isinstance(each, Plan)
        for person in each.people
    ]
    answers = iter(entries.check_many(desk.session, desk.sender.tenant_id, questions, desk.now))
    accepted = [
        _place(desk, each, [next(answers) for _ in each.people]) if isinstance(each, Plan) else each for each in plans
    ]
    if desk.rows:
        desk.session.execute(_email.insert(), desk.rows)
    if desk.events:
        desk.session.execute(_event.insert(), desk.events)
    desk.tally.write(desk.session)
    return accepted


def _place(desk: Desk, decided: Plan, answers: Sequence[Entry | None]) -> Accepted:
    """Make the rows of one plan; several recipients share what their mail programs show, and the Message-ID."""
    draft, placed = decided.draft, list[Placed]()
    identifiers = [ids.new("em", desk.now) for _ in decided.people]
    details = decided.details
    if len(decided.people) > 1:
        details = {**details, "message_key": identifiers[0], "to": shown(draft.to), "cc": shown(draft.cc)}
    waits = Status.SCHEDULED if decided.shared["scheduled_at"] else Status.QUEUED
    topic = decided.topic.key if decided.topic else None
    dims = counters.dimensions(tags=draft.tags, topic=topic, template=draft.template)
    for identifier, person, entry in zip(identifiers, decided.people, answers, strict=True):
        status = Status.SUPPRESSED if entry else waits
        desk.rows.append(
            {
                **decided.shared,
                "id": identifier,
                "status": status,
                "captured": person.captured,
                "address": person.address.envelope,
                "name": person.name or None,
                "fingerprint": person.prints[0],
                "provider": provider_of(person.address.domain),
                "details": details or None,
                "settled_at": desk.now if entry else None,
                "suppression_id": entry.id if entry else None,
                "suppression_reason": entry.reason.value if entry else None,
            }
        )
        desk.count(draft.stream, "requested", dims)
        if entry:
            desk.count(draft.stream, f"suppressed:{entry.reason}", dims)
            desk.tell(identifier, Status.SUPPRESSED, {"reason": entry.reason.value, "suppression_id": entry.id})
        placed.append(Placed(identifier, person.address.envelope, status, entry))
    return Accepted(draft.stream, tuple(placed))
