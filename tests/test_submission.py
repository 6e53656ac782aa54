"""May this be asked for? Streams, topics, tenants' policies, and what is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session, col, select

from mailer import submission, tenancy
from mailer.database import Database
from mailer.drafts import Draft, TopicDraft, parse
from mailer.errors import Forbidden, Invalid
from mailer.models import Attachment, Email, Event, Opens, Tally, Tenant
from mailer.settings import Settings
from mailer.status import Status
from mailer.submission import Accepted, Intake, Refused, Submitter
from suppression import address, entries
from suppression.entries import NewEntry
from suppression.rules import ALL, STREAM_PROMOTIONAL, Origin, Reason, parse_scope
from tests import plans
from tests.test_api_world import SETTINGS, intake, mail, news, prepared, variables

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)


@dataclass
class World:
    """Tenant `default` over a database."""

    database: Database
    context: Intake
    sender: Submitter

    async def submit(self, **asked: object) -> Accepted:
        draft = parse(Draft, asked)
        return await self.database.run(
            lambda session: submission.submit(session, self.sender, draft, self.context, NOW)
        )

    async def submit_many(self, *asked: Mapping[str, object]) -> Sequence[Accepted | Refused]:
        drafts = [parse(Draft, each) for each in asked]
        return await self.database.run(
            lambda session: submission.submit_many(session, self.sender, drafts, self.context, NOW)
        )

    async def refused(self, **asked: object) -> list[str]:
        with pytest.raises(Invalid) as caught:
            await self.submit(**asked)
        return [problem.path for problem in caught.value.problems]

    async def emails(self) -> list[Email]:
        def verb(session: Session) -> list[Email]:
            return list(session.exec(select(Email).order_by(col(Email.id))))

        return await self.database.read(verb)

    async def last(self) -> Email:
        return (await self.emails())[-1]

    async def sums(self) -> dict[tuple[str, str, str], int]:
        def verb(session: Session) -> dict[tuple[str, str, str], int]:
            return {(row.dimension, row.value, row.metric): row.amount for row in session.exec(select(Tally))}

        return await self.database.read(verb)

    async def suppress(self, email: str, reason: Reason = Reason.MANUAL, scope: str = ALL) -> str:
        prints = self.context.fingerprints
        new = NewEntry(
            tenant_id=self.sender.tenant_id,
            fingerprint=prints.of(self.sender.tenant_id, address.parse(email).canonical),
            key_id=prints.primary_id,
            reason=reason,
            scope=parse_scope(scope),
            origin=Origin.API,
        )
        return (await self.database.run(lambda session: entries.add(session, new, NOW)))[0].id

    async def tenant(self, **changed: object) -> None:
        def verb(session: Session) -> None:
            tenant = session.get_one(Tenant, self.sender.tenant_id)
            for name, value in changed.items():
                setattr(tenant, name, value)

        await self.database.run(verb)


async def world_of(database: Database, settings: Settings = SETTINGS) -> World:
    tenant = await prepared(database, settings)
    return World(database, intake(settings), Submitter.trusted(tenant.id or 0))


@pytest.fixture
async def world(database: Database) -> World:
    return await world_of(database)


@pytest.fixture
async def small(sqlite: Database) -> World:
    return await world_of(sqlite)


async def test_a_mail_waits_as_one_row(world: World) -> None:
    accepted = await world.submit(**mail(to={"email": "Ann@Gmail.com", "name": "Ann"}, tags={"a": "b"}))
    email = await world.last()
    assert (email.id, email.status, accepted.status) == (accepted.id, Status.QUEUED, Status.QUEUED)
    assert (email.address, email.name, email.provider) == ("Ann@gmail.com", "Ann", "gmail")
    assert (email.due_at, email.created_at, email.scheduled_at) == (NOW, NOW, None)
    assert (email.urgency, email.captured, email.leavable, email.opens) == (1, False, False, Opens.OFF)
    assert email.fingerprint == world.context.fingerprints.of(email.tenant_id, "ann@gmail.com")
    assert (email.details, email.variables, email.tags) == (None, None, {"a": "b"})


async def test_product_code_joins_its_own_transaction(world: World) -> None:
    def broken(session: Session) -> None:
        submission.submit(session, world.sender, parse(Draft, mail()), world.context, NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await world.database.run(broken)
    assert await world.emails() == []
    assert await world.sums() == {}


async def test_who_may_not_send_a_stream_may_not(small: World) -> None:
    small.sender = replace(small.sender, scopes=frozenset({"send:transactional"}))
    with pytest.raises(Forbidden, match="send:promotional"):
        await small.submit(**news())
    small.sender = replace(small.sender, scopes=frozenset({"admin"}))
    assert (await small.submit(**news())).status is Status.QUEUED


async def test_a_template_and_a_topic_name_their_stream(small: World) -> None:
    assert await small.refused(**news(stream="transactional")) == ["stream", "topic"]
    welcome = {"template": "welcome", "variables": variables("welcome")}
    assert "stream" in await small.refused(stream="promotional", to="a@b.example", topic="newsletter", **welcome)
    assert await small.refused(**mail(topic="events")) == ["topic"]
    assert await small.refused(**news(topic="notifications")) == ["topic"]


async def test_a_topic_says_whether_its_mail_can_be_left(small: World) -> None:
    owed = parse(TopicDraft, {"key": "owed", "stream": "transactional", "opt_out": "never"})
    await small.database.run(lambda session: tenancy.create_topic(session, small.sender.tenant_id, owed))
    seen = []
    for asked in (mail(), mail(topic="owed"), mail(topic="notifications"), news()):
        await small.submit(**asked)
        email = await small.last()
        seen.append((email.topic, email.leavable))
    assert seen == [(None, False), ("owed", False), ("notifications", True), ("newsletter", True)]
    # A request may move mail to another topic, but not take away the way out that its template has.
    lead = {"template": "new-lead", "variables": variables("new-lead"), "stream": "transactional", "to": "a@b.example"}
    assert await small.refused(**lead, topic="owed") == ["topic"]
    assert (await small.submit(**lead)).status is Status.QUEUED


async def test_customers_mail_can_be_left_but_for_what_is_owed(small: World) -> None:
    await small.tenant(opt_out_in_every_mail=True)
    seen = {}
    for template in ("welcome", "invoice", "password-reset", "teammate-invite", "purchase-confirmation"):
        await small.submit(stream="transactional", to="a@b.example", template=template, variables=variables(template))
        seen[template] = (await small.last()).topic
    await small.submit(**mail())
    assert (await small.last()).topic == "notifications"
    assert seen == {
        "welcome": "notifications",
        "invoice": None,
        "password-reset": None,
        "teammate-invite": None,
        "purchase-confirmation": None,
    }


async def test_urgent_goes_before_singles_before_bulk(small: World) -> None:
    reset = {"template": "password-reset", "variables": variables("password-reset")}
    urgent = {"stream": "transactional", "to": "a@b.example", **reset}
    await small.submit(**mail())
    await small.submit(**urgent)
    await small.submit_many(mail(), urgent)
    assert [email.urgency for email in await small.emails()] == [1, 0, 2, 0]


async def test_tracking_is_lowered_and_never_raised(small: World) -> None:
    async def opens(asked: dict[str, object]) -> Opens:
        await small.submit(**asked)
        return (await small.last()).opens

    assert await opens(news()) is Opens.AGGREGATE
    assert await opens(news(tracking={"opens": "individual"})) is Opens.AGGREGATE
    assert await opens(news(tracking={"opens": "off"})) is Opens.OFF
    assert await opens(mail(tracking={"opens": "individual", "clicks": "individual"})) is Opens.OFF
    await small.tenant(promotional_opens=Opens.INDIVIDUAL)
    assert await opens(news()) is Opens.INDIVIDUAL
    assert await opens(news(tracking={"opens": "aggregate"})) is Opens.AGGREGATE


async def test_from_is_one_of_the_tenants_addresses(small: World) -> None:
    await small.submit(**mail(**{"from": {"email": "HELLO@ringwise.example", "name": "Ann of Ringwise"}}))
    email = await small.last()
    assert (email.from_address, email.from_name) == ("hello@ringwise.example", "Ann of Ringwise")
    assert await small.refused(**mail(**{"from": "hello@acme.example"})) == ["from"]


async def test_one_person_gets_one_mail_however_often_a_request_names_them(small: World) -> None:
    accepted = await small.submit(**mail(to=["ann@example.org", "ANN@example.org"], bcc="Ann@Example.org"))
    assert len(accepted.emails) == 1
    assert (await small.last()).details is None


async def test_what_few_mails_have_is_kept_in_details(small: World) -> None:
    files = [{"filename": "a.pdf", "content": "eA==", "content_type": "application/pdf", "content_id": "logo@x"}]
    await small.submit(**mail(reply_to=["b@b.example"], headers={"X-Trace": "1"}, attachments=[*files, *files]))
    stored = await small.database.read(lambda session: list(session.exec(select(Attachment))))
    assert [each.data for each in stored] == [b"x"]
    file = {"id": stored[0].id, "filename": "a.pdf", "content_type": "application/pdf", "content_id": "logo@x"}
    assert (await small.last()).details == {
        "reply_to": [["b@b.example", ""]],
        "headers": {"X-Trace": "1"},
        "attachments": [file, file],
    }


async def test_bytes_from_python_are_bound_too(small: World) -> None:
    with pytest.raises(Invalid, match="25 MB"):
        await small.submit(**mail(attachments=[{"filename": "a", "content": b"x" * (25 * 1024 * 1024 + 1)}]))


async def test_staging_captures_what_is_not_ours(sqlite: Database) -> None:
    world = await world_of(sqlite, replace(SETTINGS, only_to="*@Ours.example, ann@x.example"))
    for to in ("bob@ours.EXAMPLE", "Ann@x.example", "bob@x.example", "bob@ours.example.evil.example"):
        await world.submit(**mail(to=to))
    assert [email.captured for email in await world.emails()] == [False, False, True, True]


async def test_the_suppressions_are_asked_with_what_can_be_left(world: World) -> None:
    left = await world.suppress("ann@example.org", Reason.UNSUBSCRIBE, "topic:notifications")
    gone = await world.suppress("bob@example.org", Reason.HARD_BOUNCE)
    await world.suppress("cid@example.org", Reason.COMPLAINT, STREAM_PROMOTIONAL)
    results = await world.submit_many(
        mail(),
        mail(topic="notifications"),
        mail(to="BOB@example.org"),
        mail(to="cid@example.org"),
        news(to="cid@example.org"),
        news(),
    )
    placed = [result.emails[0] for result in results if isinstance(result, Accepted)]
    assert [each.status for each in placed] == ["queued", "suppressed", "suppressed", "queued", "suppressed", "queued"]
    assert [each.suppression.id if each.suppression else None for each in placed[:3]] == [None, left, gone]
    emails = await world.emails()
    assert [email.suppression_reason for email in emails] == [
        None,
        "unsubscribe",
        "hard_bounce",
        None,
        "complaint",
        None,
    ]
    told = await world.database.read(lambda session: list(session.exec(select(Event))))
    assert {event.kind for event in told} == {"email.suppressed"}
    assert {event.email_id for event in told} == {emails[1].id, emails[2].id, emails[4].id}


async def test_what_is_accepted_is_counted(world: World) -> None:
    await world.suppress("bob@example.org")
    tagged = {"tags": {"campaign": "spring"}}
    await world.submit_many(news(**tagged), news(to="bob@example.org", **tagged), mail(to="x@b.example"))
    sums = await world.sums()
    assert sums["all", "", "requested"] + 0 in (1, 2, 3)
    assert sums["tag", "campaign=spring", "requested"] == 2
    assert sums["tag", "campaign=spring", "suppressed:manual"] == 1
    assert sums["topic", "newsletter", "requested"] == sums["template", "newsletter", "requested"] == 2


async def test_a_batch_refuses_each_for_itself(small: World) -> None:
    results = await small.submit_many(mail(), mail(topic="nope"), news(stream="transactional"), mail())
    assert [type(result) for result in results] == [Accepted, Invalid, Invalid, Accepted]
    assert [email.id for email in await small.emails()] == [
        result.id for result in results if isinstance(result, Accepted)
    ]


async def test_expired_before_it_is_sent_is_refused(small: World) -> None:
    assert await small.refused(**mail(expires_at=NOW - timedelta(seconds=1))) == ["expires_at"]
    await small.submit(**mail(scheduled_at=NOW - timedelta(days=1), expires_at=NOW + timedelta(days=1)))
    email = await small.last()
    assert (email.status, email.due_at, email.scheduled_at) == (Status.QUEUED, NOW, None)
    await small.submit(**mail(scheduled_at=NOW + timedelta(days=1)))
    email = await small.last()
    assert (email.status, email.due_at) == (Status.SCHEDULED, NOW + timedelta(days=1))


async def test_a_thousand_are_taken_by_as_many_statements_as_ten(world: World) -> None:
    template = {"template": "welcome", "variables": variables("welcome")}
    await world.submit(**mail(to="warm@up.example"))

    def asked_for(session: Session, number: int) -> tuple[int, int]:
        asked = [{"stream": "transactional", "to": f"p{i}@n{number}.example", **template} for i in range(number)]
        drafts = [parse(Draft, each) for each in asked]

        def take() -> None:
            results = submission.submit_many(session, world.sender, drafts, world.context, NOW)
            assert all(isinstance(result, Accepted) for result in results)

        made = [statement.sql.startswith("INSERT INTO email ") for statement in plans.statements(session, take)]
        return made.count(True), made.count(False)

    few, beside_few = await world.database.run(lambda session: asked_for(session, 10))
    many, beside_many = await world.database.run(lambda session: asked_for(session, 1000))
    assert beside_many <= beside_few
    # SQLite takes 128 rows a statement, and their powers of two: 1000 = 7 * 128 + 64 + 32 + 8, 10 = 8 + 2.
    assert (few, many) == ((1, 1) if world.database.on_postgresql else (2, 10))


def offer(html: str) -> dict[str, object]:
    return {"stream": "promotional", "to": "ann@example.org", "topic": "newsletter", "subject": "Hi", "html": html}


async def test_promotional_html_that_gmail_would_clip_is_refused(world: World) -> None:
    edge = "<p>" + "x" * (95 * 1024 - 7) + "</p>"
    await world.submit(**offer(edge))
    for html in (edge + "x", "<p>" + "я" * 50_000):
        with pytest.raises(Invalid, match="Gmail clips a mail at 102 KB and would hide the unsubscribe link") as caught:
            await world.submit(**offer(html))
        assert [problem.path for problem in caught.value.problems] == ["html"]
    await world.submit(**mail(html=edge + "x"))


async def test_promotional_html_that_hides_its_footer_is_refused_at_once(world: World) -> None:
    await world.submit(**offer("<p>hi<!-- unclosed"))
    hidden = offer("<body hidden><p>hi</p></body>")
    for _ in range(2):
        assert await world.refused(**hidden) == ["html"]
    assert await world.refused(**offer("<div>" * 9000)) == ["html"]
    good, bad = await world.submit_many(offer("<p>hi</p>"), hidden)
    assert isinstance(good, Accepted)
    assert isinstance(bad, Invalid)
    assert len(await world.emails()) == 2


@pytest.mark.parametrize("number", [1, 127, 128, 129, 300])
async def test_of_many_mails_each_keeps_its_own_values(world: World, number: int) -> None:
    asked = [
        parse(Draft, mail(to={"email": f"p{each}@example.org", "name": f"P {each}" if each % 3 else ""}))
        for each in range(number)
    ]
    accepted = await world.database.run(
        lambda session: submission.submit_many(session, world.sender, asked, world.context, NOW)
    )
    named = {each.emails[0].id: place for place, each in enumerate(accepted) if isinstance(each, Accepted)}
    emails = await world.database.read(lambda session: session.exec(select(Email).order_by(col(Email.id))).all())
    kept = [(named[email.id], email.address, email.name) for email in emails]
    assert kept == [(each, f"p{each}@example.org", f"P {each}" if each % 3 else None) for each in range(number)]


#: What a draft may say of its own.
_SAID: Sequence[dict[str, object]] = (
    {},
    {"from": {"email": "hello@ringwise.example", "name": "Ann of Ringwise"}},
    {"from": {"email": "hello@ringwise.example", "name": "Bob of Ringwise"}},
    {"locale": "uk"},
    {"scheduled_at": "2027-03-02T10:00:00Z"},
    {"scheduled_at": "2027-03-02T11:00:00Z"},
    {"expires_at": "2027-03-02T10:00:00Z"},
    {"expires_at": "2027-03-01T09:00:00Z"},
    {"stream": "promotional"},
    {"stream": "transactional"},
    {"tracking": {"opens": "off"}},
    {"tracking": {"clicks": "off"}},
    {"topic": "product-news"},
    {"topic": "nothing-such"},
    {"tags": {"kind": "a"}},
    {"metadata": {"order": "b"}},
    {"variables": {}},
)


async def test_a_mail_among_many_is_what_it_is_alone(small: World) -> None:
    await small.tenant(promotional_opens=Opens.INDIVIDUAL, promotional_clicks=Opens.INDIVIDUAL)
    asked = [{**letter, **said} for letter in (mail(), news()) for said in _SAID]
    drafts = [parse(Draft, each) for each in [*asked, *reversed(asked)]]

    def decided(session: Session) -> list[tuple[object, object]]:
        def one(drafts: Sequence[Draft]) -> list[object]:
            answers = submission.submit_many(session, small.sender, drafts, small.context, NOW)
            return [row(session, answer) for answer in answers]

        return list(zip(one(drafts), [each for draft in drafts for each in one([draft])], strict=True))

    def row(session: Session, answer: Accepted | Refused) -> object:
        if not isinstance(answer, Accepted):
            return str(answer)
        return session.get_one(Email, answer.emails[0].id).model_dump(exclude={"id"})

    pairs = await small.database.run(decided)
    assert [together for together, _alone in pairs] == [alone for _together, alone in pairs]
    refused = [together for together, _alone in pairs if isinstance(together, str)]
    assert 0 < len(refused) < len(pairs) / 2


async def test_what_stays_inside_decides_nothing_about_what_leaves(sqlite: Database) -> None:
    relay = "smtp://127.0.0.1:25?starttls=off"
    world = await world_of(
        sqlite, replace(SETTINGS, only_to="*@ours.example", promotional_relay=relay, public_url="http://us.example")
    )
    inside, outside = await world.submit_many(news(to="ann@elsewhere.example"), news(to="bob@ours.example"))
    assert isinstance(inside, Accepted)
    assert isinstance(outside, Invalid)
