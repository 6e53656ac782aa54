"""Rows to deliver, and the plainest letters there are."""

import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, TypedDict, Unpack

from sqlalchemy import func, insert, update
from sqlalchemy import select as sql_select
from sqlmodel import Session, SQLModel, col, select

from mailer import ids
from mailer.counters import FACTS
from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.breaker import Breaker
from mailer.delivery.carrier import Ready
from mailer.delivery.claims import Ask, Job, Step, Worker
from mailer.delivery.connections import Connections
from mailer.delivery.envelope import Envelope
from mailer.delivery.limits import Limits, LocalStore
from mailer.delivery.outcomes import Retry
from mailer.delivery.pipeline import Pipeline, Route
from mailer.delivery.relay import connect, tls_context
from mailer.delivery.wire import Wire
from mailer.errors import MailerError
from mailer.models import Content, Email, Event, Tenant
from mailer.relays import Provider, Relay
from mailer.status import TRANSITIONS, Status
from suppression import entries
from suppression.entries import Entry, KeyProof, NewEntry
from suppression.rules import STREAM_PROMOTIONAL, Origin, Reason, Stream

T, P = Stream.TRANSACTIONAL, Stream.PROMOTIONAL
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
KEY = "k1"
TABLE = SQLModel.metadata.tables["email"]


class Fields(TypedDict, total=False):
    """What a test may say about the emails that it adds."""

    tenant_id: int
    status: Status
    urgency: int
    captured: bool
    due_at: datetime
    expires_at: datetime | None
    topic: str | None
    leavable: bool
    lease: str | None
    intent_at: datetime | None
    dated_at: datetime | None
    address: str | None
    fingerprint: bytes
    attempts: int
    tags: dict[str, str] | None


def found(session: Session) -> None:
    """Make the tenant and the content that every email here has, once."""
    if session.get(Tenant, 1) is None:
        session.add(Tenant(id=1, key="default", name="Ringwise", created_at=NOW))
        session.flush()
        session.add(KeyProof(key_id=KEY, proof="p", created_at=NOW))
        session.add(Content(id=1, tenant_id=1, digest="x", data={}, created_at=NOW))
        session.flush()


def add(
    session: Session, number: int, stream: Stream, now: datetime = NOW, *, prefix: str = "", **fields: Unpack[Fields]
) -> list[str]:
    """Add emails to `<prefix>0@example.org`, `<prefix>1@…`, due now; return their ids."""
    found(session)
    prefix = prefix or stream[0]
    rows: list[dict[str, object]] = []
    for place in range(number):
        address = f"{prefix}{place}@example.org"
        row: dict[str, object] = {
            "id": ids.new("em", now),
            "tenant_id": 1,
            "stream": stream,
            "status": Status.QUEUED,
            "urgency": 2,
            "captured": False,
            "due_at": now,
            "created_at": now,
            "content_id": 1,
            "locale": "en",
            "leavable": stream is P,
            "topic": "newsletter" if stream is P else None,
            "address": address,
            "fingerprint": fingerprint(address),
            "provider": "other",
            "from_address": "us@x.example",
            "from_name": "",
            "opens": "off",
            "clicks": "off",
            "attempts": 0,
            "tracked": False,
            "tracked_links": False,
            "maybe_duplicate": False,
        }
        rows.append({**row, **fields})
    session.execute(insert(TABLE), rows)
    return [str(row["id"]) for row in rows]


def fingerprint(address: str) -> bytes:
    """Return 16 bytes that stand for an address."""
    return address.encode()[:16].ljust(16, b".")


def statuses(session: Session) -> dict[Status, int]:
    """Return how many emails have which status."""
    found = session.execute(select(Email.status, func.count()).group_by(col(Email.status)))
    return {status: number for status, number in found}  # noqa: C416 - rows are no pairs for the type checker


def email(session: Session, identifier: str) -> Email:
    """Return one email as its row is now."""
    return session.exec(
        select(Email).where(col(Email.id) == identifier).execution_options(populate_existing=True)
    ).one()


def sums(session: Session) -> dict[str, int]:
    """Return what the counters say of all emails."""
    statement = (
        sql_select(FACTS.c.metric, func.sum(FACTS.c.amount)).where(FACTS.c.dimension == "all").group_by(FACTS.c.metric)
    )
    return {metric: int(amount) for metric, amount in session.execute(statement)}


def kinds(session: Session, identifier: str) -> list[str]:
    """Return what happened to an email."""
    return list(session.exec(select(Event.kind).where(col(Event.email_id) == identifier).order_by(col(Event.id))))


def opt_out(session: Session, job_fingerprint: bytes, now: datetime) -> Entry:
    """Add the entry of somebody who left all promotional mail."""
    return entries.add(
        session,
        NewEntry(
            tenant_id=1,
            fingerprint=job_fingerprint,
            key_id=KEY,
            reason=Reason.UNSUBSCRIBE,
            scope=STREAM_PROMOTIONAL,
            origin=Origin.RECIPIENT,
        ),
        now,
    )[0]


def claim(
    session: Session, stream: Stream, now: datetime = NOW, *, limit: int = 1000, holder: str = "me"
) -> tuple[Worker, list[Job]]:
    """Open a lease and claim under it."""
    lease = claims.open_lease(session, stream, holder, now)
    return Worker(lease), claims.claim(session, Ask(stream, None, lease, limit), now)


def commit(session: Session, steps: Sequence[Step], worker: Worker, now: datetime = NOW) -> list[bool]:
    """Commit steps and say why intents were refused, which a group commit does a moment later; return the granted."""
    claims.commit(session, steps, worker, now)
    refused = [step.intent for step in steps if step.intent is not None and not step.granted]
    claims.refuse(session, refused, worker, now)
    return [step.granted for step in steps]


def move(session: Session, identifiers: Sequence[str], **values: Any) -> None:
    """Change rows as somebody else would."""
    session.execute(update(TABLE).where(TABLE.c.id.in_(identifiers)).values(**values))


def make_due(session: Session) -> None:
    """Let the wait of everything that is deferred be over."""
    past = datetime.now(UTC) - timedelta(seconds=1)
    session.execute(update(TABLE).where(TABLE.c.status == Status.DEFERRED).values(due_at=past))


class Letters:
    """Composes the same short mail for everybody, with what never changes between attempts."""

    def __init__(self, *, body: bytes = b"Hello\r\n", broken: Mapping[str, Exception] | None = None) -> None:
        """Know the body, and for which addresses composing fails."""
        self.body, self.broken = body, dict(broken or {})
        self.smtputf8 = False

    async def prepare(self, jobs: Sequence[Job]) -> None:
        """Nothing is needed."""

    async def compose(
        self, jobs: Sequence[Job], *, rewritten: frozenset[str] | None = None
    ) -> Sequence[Ready | Exception]:
        """Return mails with their rows' ids and first dates."""
        return [self._composed(job) for job in jobs]

    def _composed(self, job: Job) -> Ready | Exception:
        if (error := self.broken.get(job.address or "")) is not None:
            return error
        if job.address is None:
            return MailerError("the address was erased")
        head = f"Message-ID: <{job.id}@x.example>\r\nDate: {job.dated_at:%c}\r\n\r\n".encode()
        data = head + self.body
        return Ready(Envelope(job.from_address, job.address, len(data), self.smtputf8), data, False)


def pipeline(
    database: Database,
    port: int,
    stream: Stream,
    *,
    connections: int = 4,
    letters: Letters | None = None,
    give_up: timedelta = timedelta(days=3),
    provider: Provider | None = None,
) -> Pipeline:
    """Return a pipeline to a relay of this machine."""
    relay = Relay(
        scheme="smtp",
        host="127.0.0.1",
        port=port,
        starttls="off",
        connections=connections,
        per_connection=None,
        provider=provider,
    )
    limits = Limits(stream, f"test:{random.random()}", LocalStore(monotonic), database)

    async def opened(relay: Relay) -> Wire:
        return await connect(relay, "us.example", tls_context(relay))

    taken = Connections([relay], opened, limits, Breaker(database, stream))
    retry = Retry([timedelta(minutes=1), timedelta(minutes=5)], give_up)
    return Pipeline(database, letters or Letters(), Route(stream), taken, retry, "test")


def watch_transitions(session: Session) -> None:
    """Have the database itself refuse a change of status that the table of transitions does not hold."""
    allowed = ", ".join(f"'{old}>{new}'" for old, targets in TRANSITIONS.items() for new in sorted(targets))
    change = "OLD.status || '>' || NEW.status"
    when = f"OLD.status <> NEW.status AND {change} NOT IN ({allowed})"
    if session.get_bind().dialect.name == "sqlite":
        session.connection().exec_driver_sql(
            f"CREATE TRIGGER watched BEFORE UPDATE OF status ON email WHEN {when} "
            f"BEGIN SELECT RAISE(ABORT, 'forbidden transition'); END"
        )
        return
    session.connection().exec_driver_sql(
        "CREATE OR REPLACE FUNCTION watched() RETURNS trigger LANGUAGE plpgsql AS $$ "
        f"BEGIN RAISE 'forbidden transition: %', {change}; END $$"
    )
    session.connection().exec_driver_sql(
        f"CREATE OR REPLACE TRIGGER watched BEFORE UPDATE OF status ON email FOR EACH ROW WHEN ({when}) "
        "EXECUTE FUNCTION watched()"
    )
