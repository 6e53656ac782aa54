"""Why does this mail go, or not: one answer for the API, the command line and the page."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from mailer import people
from mailer.errors import Invalid, Problem
from mailer.models import Topic
from suppression import address, entries, rules
from suppression.address import Fingerprints
from suppression.entries import Consulted, Entry, Question
from suppression.rules import Stream

#: Who may end it, where no entry decides but a yes is missing.
_BY_A_YES = "the person, by a recorded yes to the topic"


def entry_view(entry: Entry) -> dict[str, object]:
    """Return an entry as JSON shows it."""
    return {
        "id": entry.id,
        "email": entry.address,
        "reason": entry.reason,
        "scope": entry.scope,
        "origin": entry.origin,
        "created_at": entry.created_at,
        "expires_at": entry.expires_at,
        "lifted_at": entry.lifted_at,
        "lifted_by": entry.lifted_by,
        "lift_note": entry.lift_note,
        "note": entry.note,
        "evidence": entry.evidence,
    }


def topic_of(
    session: Session, tenant_id: int, key: str | None, stream: Stream | None, *, path: str = "topic"
) -> rules.Topic | None:
    """Return the topic of a key, whichever stream it belongs to where none is named; raises `Invalid` for `path`."""
    if key is None:
        return None
    topic = session.exec(select(Topic).where(col(Topic.tenant_id) == tenant_id, col(Topic.key) == key)).one_or_none()
    if topic is None:
        raise Invalid(Problem(path, f"there is no topic {key}"))
    if stream is not None and topic.stream is not stream:
        raise Invalid(Problem(path, f"the topic {key} is {topic.stream}"))
    return rules.Topic(topic.key, topic.stream, people.may_leave(topic))


def explained(
    session: Session, tenant_id: int, prints: Sequence[bytes], stream: Stream, topic: rules.Topic | None, now: datetime
) -> dict[str, object]:
    """Return whether a mailbox (its fingerprints, the primary first) may get a mail: every rule, and which decides."""
    question = Question(prints[0], stream, topic, tuple(prints[1:]))
    told = entries.explain(session, tenant_id, question, now)
    trace = [_consulted(each) for each in told.trace]
    missing = False
    if topic is not None and topic.key in people.asking(session, tenant_id):
        missing = not people.opted_in(session, tenant_id, [question], now)[0]
        trace.append(
            {
                "rule": people.NOT_OPTED_IN,
                "matched": missing,
                "blocks": missing,
                "since": None,
                "entry_id": None,
                "email_id": None,
                "ended_by": _BY_A_YES,
            }
        )
    return {
        "allowed": told.allowed and not missing,
        "reason": told.entry.reason if told.entry else people.NOT_OPTED_IN if missing else None,
        "entry": entry_view(told.entry) if told.entry else None,
        "trace": trace,
        "history": [entry_view(entry) for entry in told.history],
    }


def checked(
    session: Session,
    tenant_id: int,
    emails: Sequence[str],
    stream: Stream,
    topic: rules.Topic | None,
    prints: Fingerprints,
    now: datetime,
) -> list[dict[str, object]]:
    """Return what would become of a mail to each of many addresses, in their order and by one statement.

    One that is no address is told so; it stops nobody else's answer.
    """
    told: list[dict[str, object]] = [{"email": email} for email in emails]
    questions: dict[int, Question] = {}
    for place, email in enumerate(emails):
        try:
            first, *others = prints.all_of(tenant_id, address.parse(email).canonical)
        except address.AddressError as error:
            told[place] |= {"allowed": False, "reason": "no_address", "entry": None, "message": str(error)}
        else:
            questions[place] = Question(first, stream, topic, tuple(others))
    bars = people.barred(session, tenant_id, list(questions.values()), people.asking(session, tenant_id), now)
    for place, bar in zip(questions, bars, strict=True):
        told[place] |= {
            "allowed": bar is None,
            "reason": bar.reason if bar else None,
            "entry": entry_view(bar.entry) if bar and bar.entry else None,
        }
    return told


def enders(rule: str) -> str:
    """Return who may end what a rule found, as the end of a key of words: one for each set of enders."""
    if rule == people.NOT_OPTED_IN:
        return "yes"
    return "_".join(sorted(rules.rule_of(rules.Reason(rule)).enders))


def _consulted(each: Consulted) -> dict[str, object]:
    entry = each.entry
    return {
        "rule": each.rule,
        "matched": each.matched,
        "blocks": each.blocks,
        "since": entry.created_at if entry else None,
        "entry_id": entry.id if entry else None,
        "email_id": (entry.evidence or {}).get("email_id") if entry else None,
        "ended_by": each.ended_by,
    }
