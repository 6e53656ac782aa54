"""The suppression list: who gets no mail, why, since when, and who may end it."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import NamedTuple, TypeVar

from sqlmodel import Session
from starlette.responses import Response

from mailer import people, profiles, tenancy
from mailer.audit import Act
from mailer.drafts import LiftDraft, SuppressionDraft, parse
from mailer.errors import Invalid, NotFound, Problem
from mailer.feedback.optouts import How, Kind
from mailer.models import Topic
from mailer.people import Book
from mailer.profiles import Profile
from mailer.users.permissions import May
from mailer.web.dashboard import whom
from mailer.web.dashboard.asking import Asked, Screen
from suppression import address, entries, rules
from suppression.entries import Entry, Walked, Wanted
from suppression.rules import Ender, Origin, Reason

_PAGE = 50
#: One person's history is shown as a whole, up to this.
_OF_ONE = 200
#: What of the list is asked for by its state: the value of `Wanted.live`.
_STATES: Mapping[str, bool | None] = {"live": True, "past": False, "any": None}
_Word = TypeVar("_Word", bound=StrEnum)


class _Listed(NamedTuple):
    walked: Walked
    topics: Sequence[Topic]


async def show(asked: Asked) -> Response:
    """Show a page of the list, the newest entry first."""
    chosen = {name: asked.query(name, 60) for name in ("reason", "origin", "scope", "state", "after")}
    chosen["state"] = chosen["state"] if chosen["state"] in _STATES else "live"
    wanted = Wanted(
        _word(Reason, chosen["reason"]),
        _word(Origin, chosen["origin"]),
        chosen["scope"] or None,
        _STATES[chosen["state"]],
    )

    def look(session: Session) -> _Listed:
        walked = entries.walk(
            session, asked.tenant_id, wanted, limit=_PAGE, now=asked.now, after=chosen["after"] or None
        )
        return _Listed(walked, tenancy.topics(session, asked.tenant_id))

    found = await asked.read(look)
    kept = {name: value for name, value in chosen.items() if name != "after"}
    return _listing(
        asked,
        found,
        {
            "chosen": chosen,
            "filtered": any((wanted.reason, wanted.origin, wanted.scope, wanted.live is not True)),
            "newest": asked.at("/suppressions", **kept) if chosen["after"] else "",
            "older": asked.at("/suppressions", **kept, after=found.walked.after) if found.walked.after else "",
        },
    )


async def search(asked: Asked) -> Response:
    """Show what stands about one address, in force or over; it is posted, so that it stands in no log of addresses."""
    try:
        who = address.parse(asked.form.one("email").strip())
    except address.AddressError as error:
        raise Invalid(Problem("email", str(error))) from None
    prints = asked.service.intake.fingerprints.all_of(asked.tenant_id, who.canonical)

    def look(session: Session) -> _Listed:
        family = entries.family(session, asked.tenant_id, prints)
        found = entries.list_entries(session, asked.tenant_id, limit=_OF_ONE, now=asked.now, fingerprints=family)
        return _Listed(Walked(found, None), tenancy.topics(session, asked.tenant_id))

    found = await asked.read(look)
    chosen = dict.fromkeys(("reason", "origin", "scope", "after"), "") | {"state": "any"}
    return _listing(asked, found, {"chosen": chosen, "filtered": True, "whose": who.original})


def _listing(asked: Asked, found: _Listed, values: Mapping[str, object]) -> Response:
    return asked.page(
        "suppressions.html",
        {
            "entries": found.walked.entries,
            "scopes": scopes(asked, found.topics),
            "reasons": list(Reason),
            "origins": list(Origin),
            "now": asked.now,
            "step": entries.STEP,
            "whose": "",
            "newest": "",
            "older": "",
            **values,
        },
    )


async def show_one(asked: Asked) -> Response:
    """Show one entry with its evidence, and who may end it."""

    def look(session: Session) -> tuple[Entry, Sequence[Topic], dict[str, str]]:
        entry = _entry(session, asked)
        named = (entry.lifted_by or "", str((entry.evidence or {}).get("by")))
        return entry, tenancy.topics(session, asked.tenant_id), whom.operators(session, named)

    entry, topics, users = await asked.read(look)
    return asked.page(
        "suppression.html",
        {
            "entry": entry,
            "live": entry.live(asked.now),
            "liftable": rules.may_end(entry.reason, Ender.OPERATOR),
            "scopes": scopes(asked, topics),
            "users": users,
        },
    )


async def lift(asked: Asked) -> Response:
    """End an entry that an operator may end, with a note."""
    draft = parse(LiftDraft, {"note": asked.form.one("note")})

    def verb(session: Session) -> None:
        entry = _entry(session, asked)
        people.lift(session, asked.tenant_id, entry.id, asked.operator, draft.note, asked.now)
        asked.log(session, Act.SUPPRESSION_LIFTED, entry.id, reason=entry.reason.value)

    await asked.run(verb)
    return asked.to(f"/suppressions/{asked.param('id')}", done="suppression_lifted")


async def show_add(asked: Asked) -> Response:
    """Show the form for an entry by hand."""
    topics = await asked.read(lambda session: tenancy.topics(session, asked.tenant_id))
    values = {"reasons": list(Reason), "scopes": scopes(asked, topics), "rules": rules.RULES}
    return asked.page("suppressions-add.html", values)


async def add(asked: Asked) -> Response:
    """Forbid mail to an address; what a person asked support for counts as their own act."""
    form = asked.form
    given: dict[str, object] = {name: form.one(name).strip() for name in ("email", "reason", "note")}
    if scope := form.one("scope"):
        given["scope"] = scope
    if day := form.one("until").strip():
        given["expires_at"] = f"{day}T00:00:00Z"
    try:
        draft = parse(SuppressionDraft, given)
        verb = _left if draft.reason is Reason.UNSUBSCRIBE else _forbidden
        entry_id = await asked.run(partial(verb, asked, draft), conclusive=True)
    except Invalid as error:
        # The form knows days only, so its field has a name of its own.
        said = [each._replace(path="until") if each.path == "expires_at" else each for each in error.problems]
        raise Invalid(*said) from None
    return asked.to(f"/suppressions/{entry_id}", done="suppression_added")


def _forbidden(asked: Asked, draft: SuppressionDraft, session: Session) -> str:
    book = Book(asked.tenant_id, Origin.ADMIN, asked.service.intake.fingerprints)
    left = people.forbid(session, book, draft, asked.now)
    asked.log(session, Act.SUPPRESSION_ADDED, left.entry.id, reason=draft.reason.value, covers=left.entry.scope)
    return left.entry.id


def _left(asked: Asked, draft: SuppressionDraft, session: Session) -> str:
    scope = rules.parse_scope(draft.scope if "scope" in draft.model_fields_set else rules.STREAM_PROMOTIONAL)
    if draft.expires_at is not None:
        raise Invalid(Problem("expires_at", "an opt-out ends by the person alone: leave the day out"))
    if not rules.may_stand(Reason.UNSUBSCRIBE, scope):
        raise Invalid(Problem("scope", "nobody can leave all transactional mail: name one of its topics, or all"))
    profile = Profile.of(asked.tenant_id, address.parse(draft.email), asked.service.intake.fingerprints)
    how = How(Kind.SUPPORT, address=profile.who.original, evidence={"by": asked.operator}, note=draft.note or "")
    topic = scope.removeprefix(rules.TOPIC_PREFIX) if scope.startswith(rules.TOPIC_PREFIX) else None
    outcome = profiles.leave(session, profile, topic, how, asked.now, everything=scope == rules.ALL)
    (entry_id, *_) = outcome.entry_ids
    asked.log(session, Act.SUPPRESSION_ADDED, entry_id, reason=draft.reason.value, covers=str(outcome.scope))
    return entry_id


def _entry(session: Session, asked: Asked) -> Entry:
    entry = session.get(Entry, asked.param("id"))
    if entry is None or entry.tenant_id != asked.tenant_id:
        raise NotFound("there is no such suppression")
    return entry


def scopes(asked: Asked, topics: Sequence[Topic]) -> Sequence[tuple[str, str]]:
    """Return every scope that an entry of the tenant may have, in words."""
    whole = (rules.ALL, rules.STREAM_PROMOTIONAL, rules.STREAM_TRANSACTIONAL)
    said: list[tuple[str, str]] = [(scope, asked.say(f"covers_{scope.replace(':', '_')}")) for scope in whole]
    names = [(rules.topic_scope(topic.key), topic.name_in(asked.say.language)) for topic in topics]
    return [*said, *((scope, asked.say("covers_topic", topic=name)) for scope, name in names)]


def _word(kind: type[_Word], text: str) -> _Word | None:
    return kind(text) if text in set(kind) else None


SCREENS = (
    Screen("/suppressions", May.SEE_SUPPRESSIONS, show, search),
    Screen("/suppressions/add", May.EDIT_SUPPRESSIONS, show_add, add),
    Screen("/suppressions/{id}", May.SEE_SUPPRESSIONS, show_one, lift, may_act=May.EDIT_SUPPRESSIONS),
)
