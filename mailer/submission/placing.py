"""Drafts -> rows that wait: asks the suppressions, stores the emails, counts them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import cast

from sqlmodel import Session, SQLModel

from mailer import counters, events, ids, people
from mailer.compose.errors import ContentError
from mailer.compose.templates import Urgency
from mailer.drafts import Draft
from mailer.errors import Forbidden, Invalid, Problem
from mailer.models import Email
from mailer.people import Barred, barred
from mailer.providers import provider_of
from mailer.status import Status
from mailer.submission import files, rows
from mailer.submission.deciding import Desk, Plan, Writing, plan, shown
from mailer.submission.files import Digest
from mailer.submission.inviting import invited, occasion_of, with_removal
from mailer.submission.parties import Accepted, Asking, House, Intake, Placed, Refused, Submitter, house_of
from suppression import entries
from suppression.entries import KinKind, Question

_email = SQLModel.metadata.tables[str(Email.__tablename__)]


def submit(session: Session, sender: Submitter, draft: Draft, context: Intake, now: datetime) -> Accepted:
    """Accept one draft, or raise `Invalid` or `Forbidden`; ring `accepted.stream` after your transaction's commit."""
    [accepted] = submit_together(session, [Asking(sender, draft)], context, now)
    if isinstance(accepted, Accepted):
        return accepted
    raise accepted


def submit_many(
    session: Session, sender: Submitter, drafts: Sequence[Draft], context: Intake, now: datetime
) -> list[Accepted | Refused]:
    """Accept or refuse each of many drafts, in their order; ring their streams once your transaction is committed."""
    return _accept(session, [Asking(sender, draft) for draft in drafts], Urgency.BULK, context, now)


def submit_together(
    session: Session, asked: Sequence[Asking], context: Intake, now: datetime
) -> list[Accepted | Refused]:
    """Accept or refuse what several senders ask at the same moment, each a single mail; answers keep the order.

    Each is decided by what its own sender may; ring the streams once your transaction is committed.
    """
    return _accept(session, asked, Urgency.SINGLE, context, now)


def _accept(
    session: Session, asked: Sequence[Asking], urgency: Urgency, context: Intake, now: datetime
) -> list[Accepted | Refused]:
    writing = Writing()
    senders = dict.fromkeys(each.sender for each in asked)
    houses = {tenant_id: house_of(session, tenant_id) for tenant_id in {sender.tenant_id for sender in senders}}
    desks = {sender: Desk(session, sender, context, now, houses[sender.tenant_id], writing) for sender in senders}
    plans = _plans(desks, asked, urgency)
    kept = files.keep(session, [file for each in plans if isinstance(each, Plan) for file in each.files])
    _relate(session, plans, context, now)
    answers, languages = _bars(session, plans, houses, now), _languages(session, plans)
    accepted = [
        _place(
            desks[each.sender],
            decided,
            [next(answers[each.sender.tenant_id]) for _ in decided.people],
            kept,
            languages=languages.get(each.sender.tenant_id, {}) if decided.draft.locale is None else {},
        )
        if isinstance(decided, Plan)
        else decided
        for each, decided in zip(asked, plans, strict=True)
    ]
    rows.insert(session, _email, writing.rows)
    events.announce(
        session, [events.queued(cast("int", each["tenant_id"]), str(each["id"]), now) for each in writing.rows]
    )
    events.write(session, writing.events)
    writing.count(now)
    writing.tally.write(session)
    return accepted


def _plans(desks: Mapping[Submitter, Desk], asked: Sequence[Asking], urgency: Urgency) -> list[Plan | Refused]:
    """Plan each draft; contents are looked up in one order, since a new one is stored.

    Two transactions that store the same new ones in another order would each wait for the other.
    """
    order = sorted(range(len(asked)), key=lambda place: _content_of(asked[place]))
    found = {place: _planned(desks[asked[place].sender], asked[place].draft, urgency) for place in order}
    return [found[place] for place in range(len(asked))]


def _content_of(asking: Asking) -> tuple[object, ...]:
    sender, draft = asking
    said = (draft.template, draft.locale, draft.subject, draft.html, draft.text)
    return sender.tenant_id, draft.stream, *[each or "" for each in said]


def _planned(desk: Desk, draft: Draft, urgency: Urgency) -> Plan | Refused:
    try:
        return plan(desk, draft, urgency)
    except ContentError as error:
        return Invalid(Problem("", str(error)))
    except (Invalid, Forbidden) as error:
        return error


def _relate(session: Session, plans: Sequence[Plan | Refused], context: Intake, now: datetime) -> None:
    """While there are several keys, keep beside the mail which fingerprints are one person's: an old link stops it."""
    if len(keys := context.fingerprints.key_ids) == 1:
        return
    people_of: dict[int, list[dict[bytes, str]]] = {}
    for each in plans:
        if isinstance(each, Plan):
            named = people_of.setdefault(each.tenant_id, [])
            named.extend(dict(zip(person.prints, keys, strict=True)) for person in each.people)
    for tenant_id in sorted(people_of):
        entries.relate(session, tenant_id, people_of[tenant_id], KinKind.KEY, now)


def _bars(
    session: Session, plans: Sequence[Plan | Refused], houses: Mapping[int, House], now: datetime
) -> Mapping[int, Iterator[Barred | None]]:
    """Return what forbids mail to each person of each plan, in order; each tenant is asked once.

    What ends before a mail is due does not end the mail.
    """
    questions: dict[int, list[Question]] = {}
    for each in plans:
        if isinstance(each, Plan):
            questions.setdefault(each.tenant_id, []).extend(
                Question(person.prints[0], each.draft.stream, each.topic, person.prints[1:], each.due)
                for person in each.people
            )
    return {
        tenant_id: iter(barred(session, tenant_id, asked, houses[tenant_id].asking, now))
        for tenant_id, asked in questions.items()
    }


def _languages(session: Session, plans: Sequence[Plan | Refused]) -> Mapping[int, Mapping[bytes, str]]:
    """Return the languages that people chose, where the request names none; each tenant is asked once."""
    asked: dict[int, list[bytes]] = {}
    for each in plans:
        if isinstance(each, Plan) and each.draft.locale is None:
            asked.setdefault(each.tenant_id, []).extend(one for person in each.people for one in person.prints)
    return {tenant_id: people.chosen_languages(session, tenant_id, prints) for tenant_id, prints in asked.items()}


def _place(
    desk: Desk,
    decided: Plan,
    answers: Sequence[Barred | None],
    kept: Mapping[Digest, int],
    *,
    languages: Mapping[bytes, str],
) -> Accepted:
    """Make the rows of one plan; several recipients share what their mail programs show, and the Message-ID."""
    draft, placed = decided.draft, list[Placed]()
    identifiers = [ids.new("em", desk.now) for _ in decided.people]
    details = decided.details
    if decided.files:
        details = {**details, "attachments": files.named(decided.files, kept)}
    if len(decided.people) > 1:
        details = {**details, "message_key": identifiers[0], "to": shown(draft.to), "cc": shown(draft.cc)}
    waits = Status.SCHEDULED if decided.shared["scheduled_at"] else Status.QUEUED
    topic = decided.topic.key if decided.topic else None
    dims = counters.dimensions(tags=draft.tags, topic=topic, template=draft.template)
    occasion, variables = occasion_of(decided.shared["template"], draft), decided.shared["variables"]
    for identifier, person, bar in zip(identifiers, decided.people, answers, strict=True):
        # What is only captured reaches nobody, so it may be tried as often as one likes.
        if occasion and not person.captured and (earlier := invited(desk, person, occasion, identifier)):
            placed.append(Placed(earlier.id, person.address.envelope, earlier.status))
            continue
        status = Status.SUPPRESSED if bar else waits
        desk.writing.rows.append(
            {
                **decided.shared,
                "id": identifier,
                "status": status,
                "variables": with_removal(desk, person, variables, identifier) if occasion else variables,
                "locale": next(filter(None, map(languages.get, person.prints)), decided.shared["locale"]),
                "captured": person.captured,
                "address": person.address.envelope,
                "name": person.name or None,
                "fingerprint": person.prints[0],
                "provider": provider_of(person.address.domain),
                "details": details or None,
                "settled_at": desk.now if bar else None,
                "suppression_id": bar.entry_id if bar else None,
                "suppression_reason": bar.reason if bar else None,
            }
        )
        desk.count(draft.stream, "requested", dims)
        if bar:
            desk.count(draft.stream, f"suppressed:{bar.reason}", dims)
            desk.tell(identifier, Status.SUPPRESSED, {"reason": bar.reason, "suppression_id": bar.entry_id})
        placed.append(Placed(identifier, person.address.envelope, status, bar))
    return Accepted(draft.stream, tuple(placed))
