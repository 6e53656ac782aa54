"""Mail and people for the dashboard to show: accepted the real way, sent by a word, heard about as others tell it."""

from collections.abc import Mapping
from datetime import timedelta

from selectolax.lexbor import LexborNode
from sqlmodel import Session, col, select, update

from mailer import catalogue, events, ids, submission, tenancy
from mailer.counters import Tally
from mailer.drafts import Draft, parse
from mailer.feedback import optouts
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.feedback.optouts import How
from mailer.models import Campaign, CampaignStatus, Email, Event
from mailer.status import Status
from mailer.submission import Submitter
from suppression import address
from suppression.rules import Stream
from suppression.token import OptOut
from tests.dashboard.house import House

ANN = "ann@example.org"
HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
POSTAL = "Ringwise Ltd, 12 Bell Lane, Kyiv"


async def ready(house: House) -> None:
    """Let the tenant send promotional mail."""

    def verb(session: Session) -> None:
        tenancy.only_tenant(session, "default").postal_address = POSTAL

    await house.service.database.run(verb)


async def accepted(house: House, to: object = ANN, **more: object) -> Email:
    """Accept a mail: promotional of the newsletter, unless something else is said."""
    draft: dict[str, object] = {"stream": "promotional", "to": to, "subject": "News of bells", "html": "<p>Ding</p>"}
    draft |= {"topic": "newsletter", **more}
    asked = parse(Draft, {name: value for name, value in draft.items() if value is not None})

    def verb(session: Session) -> Email:
        sender = Submitter.trusted(tenancy.only_tenant(session, "default").id or 0)
        accepted = submission.submit(session, sender, asked, house.service.intake, house.now())
        return session.get_one(Email, accepted.id)

    return await house.service.database.run(verb)


def templated(name: str) -> dict[str, object]:
    """Return what a mail of a template of ours is asked for with."""
    body = catalogue.shipped()[name][1]
    asked: dict[str, object] = {"template": name, "variables": body.schema.example(), "stream": body.stream.value}
    return {**asked, "topic": body.topic, "subject": None, "html": None}


async def become(house: House, email: Email, status: Status, **more: object) -> Email:
    """Write down what a worker would have."""
    values: dict[str, object] = {"status": status, **more}
    if status in (Status.SENT, Status.UNCERTAIN):
        values |= {"intent_at": house.now(), "attempts": 1, "settled_at": house.now()}
    if status is Status.SENT:
        values |= {"sent_at": house.now(), "reply": "250 2.0.0 taken as <b>42</b>"}

    def verb(session: Session) -> Email:
        session.execute(update(Email).where(col(Email.id) == email.id).values(**values))
        kept = session.get_one(Email, email.id, populate_existing=True)
        if status is Status.SENT and email.status is not status:
            tally = Tally()
            tally.count(kept, Status.SENT, house.now())
            tally.write(session)
        return kept

    return await house.service.database.run(verb)


def text_of(node: LexborNode, selector: str) -> str:
    """Return the words of the first element that fits, empty where there is none."""
    found = node.css_first(selector)
    return found.text() if found is not None else ""


async def sent(house: House, to: object = ANN, **more: object) -> Email:
    """Accept a mail that a relay then took."""
    return await become(house, await accepted(house, to, **more), Status.SENT)


async def told(house: House, email: Email, kind: Kind = Kind.BOUNCED, **more: object) -> None:
    """Let somebody whom we believe tell of a mail."""
    house.later(minutes=1)
    said: dict[str, object] = {"source": "dsn", "category": Category.MAILBOX_FULL, **more}
    await house.service.hear([(Report(kind, **said), Proof("return_path", email.id))])  # type: ignore[arg-type]


async def left(house: House, email: Email, **more: str) -> None:
    """Let a person follow the link of a mail and leave."""
    from_mail = OptOut(
        email.tenant_id, email.fingerprint or b"", Stream.PROMOTIONAL, email.topic, ids.to_bytes(email.id)
    )
    how = How(optouts.Kind.LINK, **more)  # type: ignore[arg-type]
    await house.service.database.run(
        lambda session: optouts.opted_out(session, from_mail, how, house.now()), conclusive=True, urgency=0
    )


async def happened(house: House, email: Email, kind: str, data: Mapping[str, object]) -> None:
    """Write an event of a mail down."""
    row = events.row(email.tenant_id, kind, data, house.now(), email_id=email.id)
    await house.service.database.run(lambda session: events.write(session, [row]))


async def campaign(house: House, name: str) -> str:
    """Make a campaign that is over."""

    def verb(session: Session) -> str:
        of = session.exec(select(Email)).first()
        assert of is not None
        made = Campaign(
            id="ca_" + "0" * 25 + "1",
            tenant_id=1,
            name=name,
            status=CampaignStatus.COMPLETED,
            stream=Stream.PROMOTIONAL,
            topic="newsletter",
            content_id=of.content_id,
            locale="en",
            from_address="news@ringwise.example",
            created_at=house.now() - timedelta(days=1),
            started_at=house.now() - timedelta(hours=1),
            ended_at=house.now() + timedelta(hours=1),
        )
        session.add(made)
        session.flush()
        return made.id

    return await house.service.database.run(verb)


def fingerprint(house: House, email: str = ANN, tenant_id: int = 1) -> str:
    """Return how paths name a person."""
    return house.service.intake.fingerprints.of(tenant_id, address.parse(email).canonical).hex()


async def emails(house: House) -> list[Email]:
    """Return every mail, the oldest first."""
    return await house.service.database.read(
        lambda session: list(session.exec(select(Email).order_by(col(Email.id))).all())
    )


async def kinds(house: House, email: Email) -> list[str]:
    """Return what is written down of a mail."""
    found = select(Event.kind).where(Event.email_id == email.id).order_by(col(Event.id))
    return await house.service.database.read(lambda session: list(session.exec(found).all()))
