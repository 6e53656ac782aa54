"""Who gets no mail, and why."""

from sqlmodel import Session, col, select

from mailer import people
from mailer.drafts import LiftDraft, SuppressionDraft, parse
from mailer.errors import Invalid, Problem
from mailer.models import Topic
from mailer.web.api.calls import Answer, Call
from mailer.web.api.queries import CheckQuery, LiftQuery, SuppressionQuery
from suppression import address, entries, rules
from suppression.entries import Entry, Explanation, NewEntry, Question
from suppression.rules import Ender, Origin, Stream


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


async def check(call: Call) -> Answer:
    """Say whether an address may get this mail, and which rule decides."""
    asked = call.query(CheckQuery)
    first, *others = _prints(call, asked.email)

    def verb(session: Session) -> Explanation:
        topic = _topic(session, call.tenant_id, asked.topic, asked.stream)
        return entries.explain(session, call.tenant_id, Question(first, asked.stream, topic, tuple(others)), call.now)

    told = await call.read(verb)
    trace = [{"rule": each.rule, "matched": each.matched, "blocks": each.blocks} for each in told.trace]
    return Answer({"allowed": told.allowed, "entry": entry_view(told.entry) if told.entry else None, "trace": trace})


async def listing(call: Call) -> Answer:
    """List suppressions, the newest first."""
    asked = call.query(SuppressionQuery)
    fingerprint = _prints(call, asked.email)[0] if asked.email is not None else None

    def verb(session: Session) -> list[dict[str, object]]:
        found = entries.list_entries(
            session,
            call.tenant_id,
            limit=asked.limit + 1,
            now=call.now,
            after=asked.after,
            fingerprint=fingerprint,
            reason=asked.reason,
            live=asked.live,
        )
        return [entry_view(entry) for entry in found]

    found = await call.read(verb)
    return Answer({"data": found[: asked.limit], "has_more": len(found) > asked.limit})


async def add(call: Call) -> Answer:
    """Forbid mail to an address; adding twice is adding once."""
    draft = call.draft(SuppressionDraft)
    scope = draft.scope if "scope" in draft.model_fields_set else rules.rule_of(draft.reason).scopes[0]
    who, prints = address.parse(draft.email), call.service.intake.fingerprints

    def verb(session: Session) -> dict[str, object]:
        if scope.startswith(rules.TOPIC_PREFIX):
            _topic(session, call.tenant_id, scope.removeprefix(rules.TOPIC_PREFIX), None, path="scope")
        new = NewEntry(
            tenant_id=call.tenant_id,
            fingerprint=prints.of(call.tenant_id, who.canonical),
            key_id=prints.primary_id,
            reason=draft.reason,
            scope=rules.parse_scope(scope),
            origin=Origin.API,
            address=who.original,
            expires_at=draft.expires_at,
            note=draft.note,
        )
        entry, created = people.suppress(session, new, call.now)
        return {**entry_view(entry), "created": created}

    return Answer(await call.run(verb, conclusive=True))


async def lift(call: Call) -> Answer:
    """End an entry that an operator may end; it stays as history."""
    given = call.json() if call.raw.strip() else call.query(LiftQuery).model_dump(exclude_none=True)
    draft = parse(LiftDraft, given)

    def verb(session: Session) -> dict[str, object]:
        by = f"{Ender.OPERATOR}:{call.key.name}"
        return entry_view(people.lift(session, call.tenant_id, call.path("id"), by, draft.note, call.now))

    return Answer(await call.run(verb))


def _prints(call: Call, email: str) -> tuple[bytes, ...]:
    return call.service.intake.fingerprints.all_of(call.tenant_id, address.parse(email).canonical)


def _topic(
    session: Session, tenant_id: int, key: str | None, stream: Stream | None, *, path: str = "topic"
) -> rules.Topic | None:
    if key is None:
        return None
    statement = select(Topic).where(col(Topic.tenant_id) == tenant_id, col(Topic.key) == key)
    topic = session.exec(statement).one_or_none()
    if topic is None:
        raise Invalid(Problem(path, f"there is no topic {key}"))
    if stream is not None and topic.stream is not stream:
        raise Invalid(Problem(path, f"the topic {key} is {topic.stream}"))
    return rules.Topic(topic.key, topic.stream, people.may_leave(topic))
