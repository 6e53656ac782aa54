"""Recipients -> rows that are held: each a row of `email` from the moment of adding, one for each address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeAlias, cast

import orjson
from sqlalchemy import (
    ARRAY,
    ColumnElement,
    FromClause,
    LargeBinary,
    Text,
    bindparam,
    case,
    column,
    func,
    select,
    true,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert
from sqlmodel import Session, SQLModel

from mailer import catalogue, counters, events, ids
from mailer.campaigns.planning import captured, desk_of, get, taken
from mailer.campaigns.reading import Recipient, Wanted
from mailer.compose.templates import Urgency
from mailer.database import on_postgresql
from mailer.errors import Conflict
from mailer.models import Campaign, CampaignStatus, Email
from mailer.people import Barred, barred, chosen_languages
from mailer.providers import provider_of
from mailer.status import Status
from mailer.submission import Intake, Submitter
from mailer.submission.deciding import NOTHING_YET, Desk, Person, person_of
from suppression import entries
from suppression.entries import KinKind, Question
from suppression.lines import Refusal
from suppression.rules import Topic

_Row: TypeAlias = dict[str, object]

_email = SQLModel.metadata.tables[str(Email.__tablename__)]

#: How many recipients one transaction adds at most.
CHUNK = 1000
#: On SQLite others wait for the one writer: some 20 ms.
CHUNK_ON_SQLITE = 400
#: How many refused lines an answer shows.
SHOWN = 100
#: A few hundred values a query: SQLite bounds their number.
_ASKED = 500
#: Bytes of a fingerprint.
_PRINT = 16
_OVER = (CampaignStatus.CANCELLED, CampaignStatus.EXPIRED)
#: The columns in which the rows of one chunk differ, besides what follows from them.
_OWN = (
    "id",
    "captured",
    "address",
    "name",
    "fingerprint",
    "provider",
    "locale",
    "variables",
    "suppression_id",
    "suppression_reason",
)


@dataclass(slots=True)
class Added:
    """What became of recipients; each counts once, so their sum is how many there were."""

    #: They will get the mail.
    new: int = 0
    #: They are in the campaign already, or were named before.
    duplicates: int = 0
    #: They are in the campaign, and a suppression forbids the mail.
    suppressed: int = 0
    #: Their lines could not be used.
    refused: int = 0
    #: The first of the refused lines.
    lines: list[Refusal] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Return what is written down of it."""
        return {"new": self.new, "suppressed": self.suppressed, "refused": self.refused}

    def refuse(self, refusal: Refusal) -> None:
        """Count a line that adds nobody."""
        self.refused += 1
        if len(self.lines) < SHOWN:
            self.lines.append(refusal)

    def plus(self, other: "Added") -> None:
        """Count what another chunk added."""
        self.new += other.new
        self.duplicates += other.duplicates
        self.suppressed += other.suppressed


def wanted(session: Session, tenant_id: int, campaign_id: str) -> Wanted:
    """Return what recipients of a campaign must and may bring; raises `Conflict` where nobody can be added any more."""
    campaign = get(session, tenant_id, campaign_id)
    _check_open(campaign)
    return Wanted.of(catalogue.kept(session, campaign.content_id).body.schema, campaign.variables or {})


def add_recipients(
    session: Session,
    sender: Submitter,
    campaign_id: str,
    recipients: Sequence[Recipient],
    context: Intake,
    now: datetime,
) -> Added:
    """Add at most `CHUNK` recipients to a campaign, whatever its state short of its end; a completed one runs again.

    Nobody is in a campaign twice, so whatever was cut off can simply be sent again.
    """
    # Adders of one campaign take turns; so do an adder and the clock that is about to complete it.
    campaign = taken(session, sender, campaign_id)
    _check_open(campaign)
    if campaign.expires_at is not None and campaign.expires_at <= now:
        raise Conflict("the campaign's expires_at has passed: nobody can be added any more")
    desk = desk_of(session, sender, context, now)
    people = _unique(desk, campaign, recipients)
    spoken = _spoken(session, campaign, [(person.prints, recipient.locale) for person, recipient in people])
    topic = desk.house.topics.get(campaign.topic)
    if len(keys := context.fingerprints.key_ids) > 1:
        kin = [dict(zip(person.prints, keys, strict=True)) for person, _ in people]
        entries.relate(session, campaign.tenant_id, kin, KinKind.KEY, now)
    due = _due(campaign, now)
    questions = [Question(person.prints[0], campaign.stream, topic, person.prints[1:], due) for person, _ in people]
    answers = barred(session, campaign.tenant_id, questions, desk.house.asking, now)
    rows = [
        _row(person, recipient.variables, bar, now) | {"locale": locale}
        for (person, recipient), bar, locale in zip(people, answers, spoken, strict=True)
    ]
    rows = _insert(session, _shared(campaign, topic, now), rows)
    _record(desk, campaign, rows)
    suppressed = sum(row["suppression_reason"] is not None for row in rows)
    added = Added(len(rows) - suppressed, len(recipients) - len(rows), suppressed)
    if added.new and campaign.status is CampaignStatus.COMPLETED:
        campaign.status, campaign.ended_at = CampaignStatus.RUNNING, None
        session.flush()
    return added


def _due(campaign: Campaign, now: datetime) -> datetime:
    """Return when the mail would go at the earliest; what ends before then bars nobody (the intent asks again)."""
    if campaign.status is CampaignStatus.SCHEDULED and campaign.scheduled_at is not None:
        return max(now, campaign.scheduled_at)
    running = campaign.status in (CampaignStatus.RUNNING, CampaignStatus.COMPLETED)
    # A draft or a paused campaign may go at any time, so nothing that passes by itself may end its mail now.
    return now if running else datetime.max.replace(tzinfo=UTC)


def _check_open(campaign: Campaign) -> None:
    if campaign.status in _OVER:
        raise Conflict(f"the campaign is {campaign.status}: nobody can be added any more")


def _spoken(session: Session, campaign: Campaign, people: Sequence[tuple[tuple[bytes, ...], str | None]]) -> list[str]:
    """Return the language of each one's mail: what the list says, what the person chose, the campaign's.

    The first of them that the content has as it is now; the campaign's own is the tenant's where nobody named another.
    """
    content = catalogue.kept(session, campaign.content_id).body
    if len(content.parts) == 1:
        return [campaign.locale] * len(people)
    asked = [one for prints, _named in people for one in prints]
    chosen = chosen_languages(session, campaign.tenant_id, asked)
    return [
        next(
            (each for each in (named, *map(chosen.get, prints)) if each is not None and content.speaks(each)),
            campaign.locale,
        )
        for prints, named in people
    ]


def _unique(desk: Desk, campaign: Campaign, recipients: Sequence[Recipient]) -> list[tuple[Person, Recipient]]:
    """Return each person once who is not known by an older key, as they were first named."""
    found: dict[bytes, tuple[Person, Recipient]] = {}
    everything = captured(campaign)
    for recipient in recipients:
        person = person_of(desk, recipient.address, recipient.name)
        if everything:
            person = person._replace(captured=True)
        found.setdefault(person.prints[0], (person, recipient))
    older = [fingerprint for person, _ in found.values() for fingerprint in person.prints[1:]]
    known = _known(desk.session, campaign.tenant_id, campaign.id, older)
    return [each for each in found.values() if known.isdisjoint(each[0].prints)]


def _known(session: Session, tenant_id: object, campaign_id: object, asked: Sequence[object]) -> set[bytes]:
    """Return the fingerprints that are in the campaign already."""
    mine = (_email.c.tenant_id == tenant_id, _email.c.campaign_id == campaign_id)
    found: set[bytes] = set()
    for start in range(0, len(asked), _ASKED):
        among = _email.c.fingerprint.in_(asked[start : start + _ASKED])
        found.update(session.execute(select(_email.c.fingerprint).where(*mine, among)).scalars())
    return found


def _row(person: Person, own: Mapping[str, object], bar: Barred | None, now: datetime) -> _Row:
    return {
        "id": ids.new("em", now),
        "status": Status.SUPPRESSED if bar else Status.HELD,
        "captured": person.captured,
        "address": person.address.envelope,
        "name": person.name or None,
        "fingerprint": person.prints[0],
        "provider": provider_of(person.address.domain),
        # As text, which both drivers take as it is.
        "variables": orjson.dumps(own).decode() if own else None,
        "settled_at": now if bar else None,
        "suppression_id": bar.entry_id if bar else None,
        "suppression_reason": bar.reason if bar else None,
    }


def _shared(campaign: Campaign, topic: Topic | None, now: datetime) -> dict[str, object]:
    """Return the columns in which all rows of a chunk are alike; what else they share, composing asks the campaign."""
    return {
        "tenant_id": campaign.tenant_id,
        "campaign_id": campaign.id,
        "stream": campaign.stream,
        "urgency": int(Urgency.BULK),
        "due_at": now,
        "created_at": now,
        "expires_at": campaign.expires_at,
        "content_id": campaign.content_id,
        "template": campaign.template,
        "topic": campaign.topic,
        "leavable": topic is not None and topic.may_leave,
        "from_address": campaign.from_address,
        "from_name": campaign.from_name,
        "tags": campaign.tags,
        "opens": campaign.opens,
        "clicks": campaign.clicks,
        **NOTHING_YET,
    }


def _insert(session: Session, shared: Mapping[str, object], rows: Sequence[_Row]) -> list[_Row]:
    """Insert who is not in the campaign yet, in one statement; return their rows."""
    if not rows:
        return []
    given: dict[str, object] = {f"all_{name}": value for name, value in shared.items()}
    if on_postgresql(session):
        given |= {f"own_{name}": [row[name] for row in rows] for name in _OWN}
    else:
        named = itemgetter(*(name for name in _OWN if name != "fingerprint"))
        given["own_rows"] = orjson.dumps([named(row) for row in rows]).decode()
        given["own_prints"] = b"".join(cast("bytes", row["fingerprint"]) for row in rows)
    statement = _many(tuple(shared), arrays=on_postgresql(session))
    inserted = set(session.connection().execute(statement, given).scalars())
    return [row for row in rows if row["id"] in inserted]


@lru_cache(maxsize=2)
def _many(shared: tuple[str, ...], *, arrays: bool) -> ReturningInsert[Any]:
    """Return the statement that inserts many rows which share all but a few columns.

    Its unique index finds who is there already: a question before it would be answered by the plan that PostgreSQL made
    while the table was small.
    """
    source, own = _unnested() if arrays else _listed()
    held = own["suppression_reason"].is_(None)
    moment = bindparam("all_created_at", type_=_email.c.created_at.type)
    values: dict[str, ColumnElement[Any]] = {
        **{name: bindparam(f"all_{name}", type_=_email.c[name].type) for name in shared},
        **own,
        "status": case((held, Status.HELD.value), else_=Status.SUPPRESSED.value),
        "settled_at": case((~held, moment)),
    }
    # SQLite takes what follows a SELECT without WHERE for the ON of a join.
    chosen = select(*values.values()).select_from(source).where(true())
    into = (postgresql.insert if arrays else sqlite.insert)(_email).from_select(list(values), chosen)
    skipping = into.on_conflict_do_nothing(index_elements=["tenant_id", "fingerprint", "campaign_id"])
    return skipping.returning(_email.c.id)


_Source: TypeAlias = tuple[FromClause, dict[str, ColumnElement[Any]]]


def _unnested() -> _Source:
    """Return PostgreSQL's rows of arrays, a column each."""
    kinds = {name: Text() if name == "variables" else _email.c[name].type for name in _OWN}
    arrays = [bindparam(f"own_{name}", type_=ARRAY(kind)) for name, kind in kinds.items()]
    source = func.unnest(*arrays).table_valued(*(column(name, kind) for name, kind in kinds.items()), name="given")
    source = source.render_derived()
    own: dict[str, ColumnElement[Any]] = {name: source.c[name] for name in _OWN}
    return source, own | {"variables": sql_cast(source.c.variables, _email.c.variables.type)}


def _listed() -> _Source:
    """Return SQLite's rows of a JSON list, and the fingerprints, which JSON cannot hold, cut out of one value."""
    source = func.json_each(bindparam("own_rows", type_=Text())).table_valued("key", "value", name="given")
    names = [name for name in _OWN if name != "fingerprint"]
    own: dict[str, ColumnElement[Any]] = {
        name: func.json_extract(source.c.value, f"$[{place}]") for place, name in enumerate(names)
    }
    prints = bindparam("own_prints", type_=LargeBinary())
    return source, own | {"fingerprint": func.substr(prints, source.c.key * _PRINT + 1, _PRINT)}


def _record(desk: Desk, campaign: Campaign, rows: Sequence[_Row]) -> None:
    """Count the rows, and note the suppressed ones."""
    dims = counters.dimensions(
        tags=campaign.tags, topic=campaign.topic, template=campaign.template, campaign=campaign.id
    )
    mine = (campaign.tenant_id, desk.now.date(), campaign.stream)
    if rows:
        desk.writing.tally.add(*mine, "requested", dims, len(rows), at=desk.now)
    for row in rows:
        if row["suppression_reason"] is not None:
            desk.writing.tally.add(*mine, f"suppressed:{row['suppression_reason']}", dims, at=desk.now)
            told = {"reason": row["suppression_reason"], "suppression_id": row["suppression_id"]}
            desk.tell(str(row["id"]), Status.SUPPRESSED, told)
    desk.writing.tally.write(desk.session)
    events.announce(desk.session, [events.queued(campaign.tenant_id, str(row["id"]), desk.now) for row in rows])
    events.write(desk.session, desk.writing.events)
