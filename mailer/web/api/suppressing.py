"""Who gets no mail, and why."""

from sqlmodel import Session

from mailer import people
from mailer.audit import Act
from mailer.drafts import CheckDraft, LiftDraft, SuppressionDraft, parse
from mailer.people import Book
from mailer.web.api.calls import Answer, Call
from mailer.web.api.queries import CheckQuery, LiftQuery, SuppressionQuery
from mailer.web.explaining import checked, entry_view, explained, topic_of
from suppression import address, entries
from suppression.rules import Ender, Origin


async def check(call: Call) -> Answer:
    """Say whether an address may get this mail, every rule that was asked, and which one decides."""
    asked = call.query(CheckQuery)
    prints = _prints(call, asked.email)

    def verb(session: Session) -> dict[str, object]:
        topic = topic_of(session, call.tenant_id, asked.topic, asked.stream)
        return explained(session, call.tenant_id, prints, asked.stream, topic, call.now)

    return Answer(await call.read(verb))


async def check_list(call: Call) -> Answer:
    """Say for up to 500 addresses whether each may get this mail; nothing is sent by that."""
    draft = call.draft(CheckDraft)

    def verb(session: Session) -> list[dict[str, object]]:
        topic = topic_of(session, call.tenant_id, draft.topic, draft.stream)
        prints = call.service.intake.fingerprints
        return checked(session, call.tenant_id, draft.emails, draft.stream, topic, prints, call.now)

    return Answer({"data": await call.read(verb)})


async def listing(call: Call) -> Answer:
    """List suppressions, the newest first."""
    asked = call.query(SuppressionQuery)

    def verb(session: Session) -> list[dict[str, object]]:
        prints = _prints(call, asked.email) if asked.email is not None else None
        found = entries.list_entries(
            session,
            call.tenant_id,
            limit=asked.limit + 1,
            now=call.now,
            after=asked.after,
            fingerprints=entries.family(session, call.tenant_id, prints) if prints else None,
            reason=asked.reason,
            live=asked.live,
        )
        return [entry_view(entry) for entry in found]

    found = await call.read(verb)
    return Answer({"data": found[: asked.limit], "has_more": len(found) > asked.limit})


async def add(call: Call) -> Answer:
    """Forbid mail to an address; adding twice is adding once."""
    draft = call.draft(SuppressionDraft)
    book = Book(call.tenant_id, Origin.API, call.service.intake.fingerprints)

    def verb(session: Session) -> dict[str, object]:
        entry, created = people.forbid(session, book, draft, call.now)
        return {**entry_view(entry), "created": created}

    return Answer(await call.run(verb, conclusive=True))


async def lift(call: Call) -> Answer:
    """End an entry that an operator may end; it stays as history."""
    given = call.json() if call.raw.strip() else call.query(LiftQuery).model_dump(exclude_none=True)
    draft = parse(LiftDraft, given)

    def verb(session: Session) -> dict[str, object]:
        by = f"{Ender.OPERATOR}:{call.key.name}"
        call.log(session, Act.SUPPRESSION_LIFTED, call.path("id"))
        return entry_view(people.lift(session, call.tenant_id, call.path("id"), by, draft.note, call.now))

    return Answer(await call.run(verb))


def _prints(call: Call, email: str) -> tuple[bytes, ...]:
    return call.service.intake.fingerprints.all_of(call.tenant_id, address.parse(email).canonical)
