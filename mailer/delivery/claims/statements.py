"""The statements behind intents and outcomes, built once: building one costs more than running it."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Date,
    Dialect,
    Integer,
    Select,
    String,
    Text,
    Update,
    and_,
    any_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from mailer import events, halts
from mailer.delivery.claims.rows import CAMPAIGN, EMAIL, TALLY
from mailer.models import CampaignStatus
from mailer.people import lacks_yes
from mailer.status import Status
from suppression import entries


def given(name: str, kind: TypeEngine[Any]) -> BindParameter[Any]:
    """Return a parameter of ours, which `prepare` knows by its prefix."""
    return bindparam(f"b_{name}", type_=kind, required=False)


#: The moment of a commit.
MOMENT = given("now", EMAIL.c.due_at.type)


def ours(which: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return what a lease (`b_lease`) still holds of some emails."""
    # Found by their ids: a plain comparison would offer PostgreSQL the index of leases, of which one holds thousands.
    mine = func.coalesce(EMAIL.c.lease, "") == given("lease", EMAIL.c.lease.type)
    return and_(which, mine, EMAIL.c.status == Status.SENDING)


def may_go() -> ColumnElement[bool]:
    """Return what an intent needs besides the lease: the last answer, and the only one that counts (spec section 4)."""
    runs = exists().where(CAMPAIGN.c.id == EMAIL.c.campaign_id, CAMPAIGN.c.status == CampaignStatus.RUNNING)
    asked = (EMAIL.c.tenant_id, EMAIL.c.fingerprint, EMAIL.c.stream, EMAIL.c.topic, EMAIL.c.leavable, MOMENT)
    return and_(
        EMAIL.c.address.is_not(None),
        or_(EMAIL.c.expires_at.is_(None), EMAIL.c.expires_at > MOMENT),
        or_(EMAIL.c.campaign_id.is_(None), runs),
        ~halts.stops(EMAIL.c.stream, EMAIL.c.tenant_id),
        ~entries.forbids(*asked),
        # Clauses of their own, each by its index: the person's other fingerprints, and a yes where the topic needs one.
        ~entries.forbids_kin(*asked),
        ~lacks_yes(EMAIL.c.tenant_id, EMAIL.c.fingerprint, EMAIL.c.topic, MOMENT),
    )


def among(*, arrays: bool) -> ColumnElement[bool]:
    """Return "the email is one of `b_ids`", one text whatever their number; without arrays they are a JSON list."""
    if arrays:
        return EMAIL.c.id == any_(given("ids", ARRAY(String)))
    listed = func.json_each(given("ids", Text())).table_valued("value")
    return EMAIL.c.id.in_(select(listed.c.value))


@lru_cache(maxsize=2)
def intent(*, arrays: bool) -> Update:
    """Return the statement that writes the intents that nothing forbids."""
    return (
        update(EMAIL)
        .where(ours(among(arrays=arrays)), may_go())
        .values(intent_at=MOMENT, attempts=EMAIL.c.attempts + 1)
    )


@lru_cache(maxsize=1)
def together() -> Select[Any]:
    """Return one statement that writes that mails were sent, the intents of the next ones, and what was counted.

    It answers which intents were granted, after a number that divides by zero where a row was not the lease's any more:
    then nothing is written. PostgreSQL runs it as a transaction of its own.
    """
    texts, numbers = ARRAY(String), ARRAY(Integer)
    marks = (given(name, ARRAY(Boolean)) for name in ("tracked", "tracked_links"))
    sent = func.unnest(given("sent", texts), given("replies", texts), *marks)
    said = sent.table_valued("id", "reply", "tracked", "tracked_links", name="sent").render_derived()
    settled = (
        update(EMAIL)
        .where(ours(EMAIL.c.id == said.c.id))
        .values(
            status=Status.SENT,
            reply=said.c.reply,
            tracked=said.c.tracked,
            tracked_links=said.c.tracked_links,
            sent_at=MOMENT,
            settled_at=MOMENT,
        )
        .returning(EMAIL.c.id, EMAIL.c.tenant_id)
        .cte("settled")
    )
    granted = intent(arrays=True).returning(EMAIL.c.id).cte("granted")
    kinds: tuple[TypeEngine[Any], ...] = (numbers, ARRAY(Date), texts, texts, texts, texts, numbers)
    names = [column.name for column in TALLY.c if column.name != "id"]
    arrays = (given(f"tally_{name}", kind) for name, kind in zip(names, kinds, strict=True))
    facts = func.unnest(*arrays).table_valued(*names, name="facts").render_derived()
    counted = insert(TALLY).from_select(names, select(*(facts.c[name] for name in names))).cte("counted")
    complete = select(func.count()).select_from(settled).scalar_subquery() == given("expected", Integer())
    return select(
        literal(1) / case((complete, 1), else_=0),
        func.array(select(granted.c.id).scalar_subquery()),
    ).add_cte(counted, events.announcing_sent(settled, MOMENT).cte("announced"))


@lru_cache(maxsize=2)
def settlement(*, listed: bool) -> Update:
    """Return the statement that writes an outcome, under the lease it was made with.

    `listed`: it writes all of a JSON list, `b_rows`, whose objects are what its parameters are otherwise.
    """
    said = _said(listed=listed)
    return (
        update(EMAIL)
        .where(ours(EMAIL.c.id == said("id", EMAIL.c.id.type)))
        .values(
            status=said("status", EMAIL.c.status.type),
            reply=said("reply", EMAIL.c.reply.type),
            tracked=said("tracked", EMAIL.c.tracked.type),
            tracked_links=said("tracked_links", EMAIL.c.tracked_links.type),
            maybe_duplicate=or_(EMAIL.c.maybe_duplicate, said("duplicate", Boolean())),
            due_at=func.coalesce(said("due_at", EMAIL.c.due_at.type), EMAIL.c.due_at),
            sent_at=case((said("sent", Boolean()), MOMENT), else_=EMAIL.c.sent_at),
            settled_at=MOMENT,
        )
    )


@lru_cache(maxsize=2)
def refusal(*, listed: bool) -> Update:
    """Return the statement that writes why an intent was refused, under the lease that asked; `listed` as above."""
    said, names = _said(listed=listed), ("status", "suppression_id", "suppression_reason")
    return (
        update(EMAIL)
        .where(ours(EMAIL.c.id == said("id", EMAIL.c.id.type)), EMAIL.c.intent_at.is_(None))
        .values(settled_at=MOMENT, **{name: said(name, EMAIL.c[name].type) for name in names})
    )


def _said(*, listed: bool) -> Callable[[str, TypeEngine[Any]], ColumnElement[Any]]:
    """Return what gives a value of the row that is written: a parameter, or that of each object of `b_rows`."""
    rows = func.json_each(given("rows", Text())).table_valued("value", name="listed")

    def said(name: str, kind: TypeEngine[Any]) -> ColumnElement[Any]:
        return func.json_extract(rows.c.value, f"$.b_{name}", type_=kind) if listed else given(name, kind)

    return said


class Prepared(NamedTuple):
    """A statement as its driver takes it: the text, and how its parameters are laid out and converted."""

    text: str
    names: tuple[str, ...]
    constants: Mapping[str, object]
    converters: Mapping[str, Callable[[Any], Any]]

    def arguments(self, values: Mapping[str, object]) -> tuple[object, ...]:
        """Return the parameters in the driver's order."""
        constants, converters = self.constants, self.converters
        return tuple([constants[name] if name in constants else converters[name](values[name]) for name in self.names])


def prepare(statement: Update | Select[Any], dialect: Dialect) -> Prepared:
    """Return a statement for a driver that is used without SQLAlchemy, which costs ten times the statement."""
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    constants: dict[str, object] = {}
    converters: dict[str, Callable[[Any], Any]] = {}
    for name in compiled.positiontup or ():
        bind = compiled.binds.get(name)
        converters[name] = converter(bind.type, dialect) if bind is not None else _same
        if not name.startswith("b_"):
            constants[name] = converters[name](compiled.params[name])
    return Prepared(str(compiled), tuple(compiled.positiontup or ()), constants, converters)


def converter(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any]:
    """Return what turns a value into what the driver takes."""
    return kind.dialect_impl(dialect).bind_processor(dialect) or _same


def _same(value: Any) -> Any:
    return value
