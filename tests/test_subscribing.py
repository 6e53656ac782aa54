"""Opt in: one mail to whoever was named, and nothing more before the mailbox itself says yes."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import urlsplit

import httpx2
import pytest
from sqlmodel import Session, col, select

from mailer import people, subscribing
from mailer.database import Database
from mailer.feedback import optouts
from mailer.feedback.optouts import How, Kind
from mailer.models import Consent, Email, Opens, OptIn, Person, Tenant, Topic, Visibility
from mailer.people import Leaving
from mailer.status import Status
from mailer.web.recipient.subscribing import wording
from suppression import rules
from suppression.address import parse
from suppression.entries import Entry, NewEntry
from suppression.rules import Origin, Reason, Stream
from suppression.token import OptOut, Purpose
from tests.recipients.world import ANN, BOB, PRINTS, RESUBSCRIBED, Answer, World, open_world

FORM = {"tenant": "t1", "source": "subscribe page", "locale": "en"}


@pytest.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with open_world(database) as world:
        yield world


async def opt_ins(world: World) -> list[OptIn]:
    return list(await world.database.read(lambda session: session.exec(select(OptIn).order_by(col(OptIn.id))).all()))


async def emails(world: World) -> list[Email]:
    return list(await world.database.read(lambda session: session.exec(select(Email).order_by(col(Email.id))).all()))


async def consents(world: World) -> list[Consent]:
    return list(await world.database.read(lambda session: session.exec(select(Consent)).all()))


async def ask(world: World, email: str = ANN, *topics: str, **more: str) -> Answer:
    return await world.post("/subscribe", email=email, topic=list(topics or ("newsletter",)), **{**FORM, **more})


async def confirm_path(world: World) -> str:
    variables = (await emails(world))[-1].variables
    assert variables is not None
    return urlsplit(str(variables["confirm_url"])).path


def print_of(email: str = ANN) -> bytes:
    return PRINTS.of(1, parse(email).canonical)


async def test_the_form_offers_public_promotional_topics_and_ticks_what_was_asked_only(world: World) -> None:
    def hide(session: Session) -> None:
        topic = session.exec(select(Topic).where(Topic.tenant_id == 1, Topic.key == "surveys")).one()
        topic.visibility = Visibility.PRIVATE
        session.add(topic)

    await world.database.run(hide)
    page = (await world.get("/subscribe?tenant=t1&topic=events")).text
    assert page.count("checked") == 1
    assert 'value="events" checked' in page
    assert 'value="newsletter"' in page
    assert 'value="surveys"' not in page
    assert 'value="new-lead"' not in page
    assert 'lang="uk"' in (await world.get("/subscribe?tenant=t1", "uk")).text
    assert (await world.get("/subscribe/?tenant=t1")).status == 200


@pytest.mark.parametrize("tenant", ["", "nobody", "T1", "%00", "a%0d%0ab"])
async def test_a_form_of_nobody_is_not_there(world: World, tenant: str) -> None:
    assert (await world.get(f"/subscribe?tenant={tenant}")).status == 404
    assert (await world.post(f"/subscribe?tenant={tenant}", email=ANN, topic="newsletter")).status == 404
    assert await opt_ins(world) == []


async def test_asking_sends_one_mail_without_tracking_and_permits_nothing(world: World) -> None:
    answer = await ask(world, "Ann.Weaver@Example.org", "newsletter", "events")
    assert answer.status == 200
    assert "Now check your mailbox" in answer.text
    [mail], [opt_in] = await emails(world), await opt_ins(world)
    assert (mail.template, mail.stream, mail.topic) == ("confirm-subscription", Stream.TRANSACTIONAL, None)
    assert (mail.opens, mail.leavable, mail.urgency) == (Opens.OFF, False, 0)
    assert (mail.variables or {})["topics"] == ["Newsletter", "Events & meet-ups"]
    assert (opt_in.topics, opt_in.email_id, opt_in.confirmed_at) == (["newsletter", "events"], mail.id, None)
    assert await consents(world) == []
    assert world.rung == [Stream.TRANSACTIONAL]


async def test_looking_at_the_link_changes_nothing_however_often(world: World) -> None:
    await ask(world)
    path = await confirm_path(world)
    before = await world.fingerprint_of_everything()
    for method in ("GET", "HEAD", "OPTIONS") * 10:
        assert (await world.client.request(method, path)).status_code in (200, 204)
    assert await world.fingerprint_of_everything() == before
    assert (await opt_ins(world))[0].confirmed_at is None
    page = (await world.get(path)).text
    assert "a•••@example.org" in page
    assert ANN not in page


async def test_a_yes_is_kept_with_its_proof_and_counts_once(world: World) -> None:
    await ask(world, ANN, "newsletter", "events", wording=wording("en"))
    path = await confirm_path(world)
    world.later(hours=1)
    assert "You are subscribed" in (await world.post(path)).text
    world.later(hours=1)
    again = await world.post(path)
    assert (again.status, "You are subscribed" in again.text) == (200, True)
    found = await consents(world)
    assert sorted(each.purpose for each in found) == ["topic:events", "topic:newsletter"]
    [opt_in] = await opt_ins(world)
    for each in found:
        assert (each.fingerprint, each.granted, each.at) == (print_of(), True, opt_in.confirmed_at)
        assert (each.source, each.wording, each.ip) == ("subscribe page", wording("en"), "127.0.0.1")
        assert each.email_id == opt_in.email_id
        assert each.evidence == {
            "opt_in_id": opt_in.id,
            "asked_at": opt_in.created_at.isoformat(),
            "read": "Ringwise will send this to you: Newsletter, Events & meet-ups. Yes, send it to me",
        }
    told = await world.events("consent.changed")
    assert len(told) == 2
    assert not any("127.0.0.1" in str(event.data) or ANN in str(event.data) for event in told)
    person = await world.database.read(lambda session: session.exec(select(Person)).one())
    assert (person.fingerprint, person.locale) == (print_of(), "en")


async def test_no_address_of_the_network_is_kept_where_the_tenant_may_not(world: World) -> None:
    def forbid(session: Session) -> None:
        session.get_one(Tenant, 1).keep_ip = False

    await world.database.run(forbid)
    await leave(world, rules.STREAM_PROMOTIONAL)
    await ask(world)
    await world.post(await confirm_path(world))
    assert [(await opt_ins(world))[0].ip, (await consents(world))[0].ip] == [None, None]
    kept = await world.database.read(lambda session: session.exec(select(Entry)).all())
    assert not any("ip" in (entry.evidence or {}) for entry in kept)


async def leave(world: World, scope: rules.Scope) -> None:
    leaving = Leaving(tenant_id=1, fingerprint=print_of(), scope=scope, address=ANN)
    await world.database.run(lambda session: people.leave(session, leaving, world.time))


async def test_a_yes_brings_back_what_was_asked_for_and_nothing_else(world: World) -> None:
    await leave(world, rules.STREAM_PROMOTIONAL)
    await ask(world, ANN, "newsletter")
    assert not await world.may_get()
    await world.post(await confirm_path(world))
    assert await world.may_get(topic="newsletter")
    assert not await world.may_get(topic="events")
    assert not await world.may_get(topic="surveys")
    assert len(await world.events(RESUBSCRIBED)) == 1
    assert not any("ip" in (event.data or {}) for event in await world.events(RESUBSCRIBED))


async def add(world: World, reason: Reason, scope: rules.Scope) -> None:
    new = NewEntry(
        tenant_id=1,
        fingerprint=print_of(),
        key_id="f1",
        reason=reason,
        scope=scope,
        origin=Origin.PROVIDER,
        address=ANN,
    )
    await world.database.run(lambda session: people.suppress(session, new, world.time))


async def test_a_yes_ends_a_complaint(world: World) -> None:
    await add(world, Reason.COMPLAINT, rules.STREAM_PROMOTIONAL)
    await ask(world)
    await world.post(await confirm_path(world))
    assert await world.may_get()


async def test_a_yes_ends_no_bounce_and_no_operators_entry(world: World) -> None:
    await ask(world)
    path = await confirm_path(world)
    await add(world, Reason.HARD_BOUNCE, rules.ALL)
    await add(world, Reason.MANUAL, rules.STREAM_PROMOTIONAL)
    await world.post(path)
    found = await world.database.read(lambda session: session.exec(select(Entry)).all())
    assert all(entry.lifted_at is None for entry in found)
    assert not await world.may_get()


async def test_a_bounced_mailbox_gets_no_mail_and_the_stranger_does_not_learn_it(world: World) -> None:
    ours = (await ask(world, BOB)).text
    await add(world, Reason.HARD_BOUNCE, rules.ALL)
    theirs = await ask(world, ANN)
    assert theirs.text.replace(ANN, BOB) == ours
    assert (await emails(world))[-1].status is Status.SUPPRESSED


async def test_the_link_of_an_earlier_yes_brings_nobody_back(world: World) -> None:
    await ask(world)
    path = await confirm_path(world)
    await world.post(path)
    world.later(days=1)
    opt_out = OptOut(1, print_of(), Stream.PROMOTIONAL, "newsletter")
    await world.database.run(lambda session: optouts.opted_out(session, opt_out, How(Kind.LINK), world.time))
    answer = await world.post(path)
    assert "This link has been used" in answer.text
    assert not await world.may_get()
    assert len(await consents(world)) == 1


async def test_a_link_ends_after_seven_days(world: World) -> None:
    await ask(world)
    path = await confirm_path(world)
    world.later(days=7)
    for answer in (await world.get(path), await world.post(path)):
        assert answer.status == 410
        assert "/subscribe?tenant=t1&amp;topic=newsletter" in answer.text
    assert await consents(world) == []


async def test_ten_presses_at_once_are_one_yes(world: World) -> None:
    await ask(world)
    path = await confirm_path(world)
    answers = await asyncio.gather(*(world.post(path) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}
    assert len(await consents(world)) == 1


async def test_a_token_that_is_none_of_ours_meets_the_one_page(world: World) -> None:
    await ask(world)
    path = await confirm_path(world)
    opt_out = world.opt_out()
    other = world.link(opt_out).removeprefix("/u/")
    unknown = world.links.ring.sign(Purpose.CONFIRM, b"x" * 16)
    forged = [
        "x",
        path[3:-1],
        path[3:].upper(),
        path[3:] + "a",
        other,
        unknown,
        world.links.ring.sign(Purpose.CONFIRM, b""),
    ]
    pages = set()
    for token in forged:
        for answer in (await world.get(f"/s/{token}"), await world.post(f"/s/{token}")):
            assert answer.status == 404
            pages.add(answer.text)
    assert len(pages) == 1
    for route in ("u", "p", "v"):
        assert (await world.post(f"/{route}/{path[3:]}")).status in (404, 405)
    assert await consents(world) == []


async def test_one_address_is_asked_three_times_a_day_at_most(world: World) -> None:
    pages = set()
    for _ in range(6):
        pages.add((await ask(world)).text)
        world.later(minutes=3)
    assert len(pages) == 1
    assert len(await emails(world)) == 3
    world.later(days=1)
    await ask(world)
    assert len(await emails(world)) == 4


async def test_a_second_press_sends_no_second_mail(world: World) -> None:
    await asyncio.gather(*(ask(world) for _ in range(5)))
    assert len(await emails(world)) == 1


async def test_one_network_bombs_nobody(world: World) -> None:
    for number in range(30):
        await ask(world, f"victim{number}@example.org")
    assert len(await emails(world)) == 20
    # Another tenant's form is no way round it.
    await ask(world, "more@example.org", tenant="t2")
    assert len(await emails(world)) == 20
    world.later(hours=1)
    await ask(world, "later@example.org")
    assert len(await emails(world)) == 21


def request(email: str, ip: str | None) -> subscribing.Request:
    return subscribing.Request(tenant_id=1, email=email, topics=["newsletter"], source="test", wording="1", ip=ip)


async def test_a_whole_ipv6_network_is_one_and_its_neighbour_is_another(world: World) -> None:
    async def one(number: int, network: str, host: str) -> bool:
        asked = request(f"a{number}@example.org", f"2001:db8:0:{network}::{host}")
        return await world.database.run(
            lambda session: subscribing.ask(session, asked, world.intake, world.time) is not None
        )

    assert [await one(number, "1", f"{number + 1:x}") for number in range(21)] == [True] * 20 + [False]
    assert await one(22, "2", "1")


async def test_at_the_same_moment_the_limit_holds_too(world: World) -> None:
    async def one(number: int) -> bool:
        asked = request(f"b{number}@example.org", "192.0.2.7")
        return await world.database.run(
            lambda session: subscribing.ask(session, asked, world.intake, world.time) is not None
        )

    assert sum(await asyncio.gather(*(one(number) for number in range(40)))) == 20


async def test_who_never_answered_is_forgotten(world: World) -> None:
    await ask(world, ANN)
    await ask(world, BOB)
    await world.post(await confirm_path(world))
    world.later(days=8, seconds=1)
    await world.database.run(lambda session: subscribing.forget_unanswered(session, world.time))
    ann, bob = await opt_ins(world)
    assert (ann.address, ann.ip, ann.network) == (None, None, b"\x00" * 16)
    assert bob.address == BOB


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"email": "ann.example.org", "topic": "newsletter"}, "this is no email address"),
        ({"email": "", "topic": "newsletter"}, "this is no email address"),
        ({"email": "a@b.example\r\nBcc: c@d.example", "topic": "newsletter"}, "this is no email address"),
        ({"email": ANN}, "please tick at least one"),
        ({"email": ANN, "topic": "new-lead"}, "please tick at least one"),
        ({"email": ANN, "topic": "nothing"}, "please tick at least one"),
        ({"email": ANN, "topic": "newsletter", "name": "a\x00b"}, "arrived incomplete"),
        ({"email": ANN, "topic": "newsletter", "locale": "<script>"}, "arrived incomplete"),
    ],
)
async def test_a_form_that_cannot_be_says_what_to_do(world: World, fields: dict[str, str], sentence: str) -> None:
    answer = await world.post("/subscribe", tenant="t1", **fields)
    assert answer.status == 422
    assert sentence in answer.text
    assert "<script>" not in answer.text
    assert await opt_ins(world) == []


async def test_a_site_asks_by_json(world: World) -> None:
    async def post(body: object) -> httpx2.Response:
        return await world.client.post("/subscribe", json=body)

    good = {"tenant": "t1", "email": ANN, "topics": ["newsletter"], "source": "footer", "wording": "2027-01"}
    answer = await post(good)
    assert (answer.status_code, answer.json()) == (202, {"status": "asked"})
    assert (await post(good)).json() == {"status": "asked"}
    [opt_in] = await opt_ins(world)
    assert (opt_in.source, opt_in.wording) == ("footer", "2027-01")
    assert (await post({**good, "more": 1})).status_code == 422
    assert (await post({**good, "tenant": "nobody"})).status_code == 404
    assert (await post([])).status_code == 422
    kind = {"Content-Type": "application/json"}
    for broken in (b"{", b"", b'{"email": "' + b"a" * 9000 + b'"}'):
        refused = await world.client.post("/subscribe", content=broken, headers=kind)
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("body", [b"", b"\xff\x00\xfe", b"a" * 200_000, b"--x\r\nContent-Disposition: form-data"])
async def test_what_is_no_form_of_ours_asks_for_nothing(world: World, body: bytes) -> None:
    answer = await world.client.post("/subscribe?tenant=t1", content=body)
    assert answer.status_code == 422
    assert await opt_ins(world) == []


async def test_a_tenants_yes_is_nothing_to_another(world: World) -> None:
    for tenant_id in (1, 2):
        leaving = Leaving(
            tenant_id=tenant_id, fingerprint=PRINTS.of(tenant_id, parse(ANN).canonical), scope=rules.STREAM_PROMOTIONAL
        )
        await world.database.run(lambda session, leaving=leaving: people.leave(session, leaving, world.time))  # type: ignore[misc]
    await ask(world)
    await world.post(await confirm_path(world))
    assert await world.may_get()
    assert not await world.may_get(tenant_id=2)
    assert {each.tenant_id for each in await consents(world)} == {1}


async def test_the_mail_itself_ends_with_its_link(world: World) -> None:
    await ask(world)
    [mail], [opt_in] = await emails(world), await opt_ins(world)
    assert mail.expires_at == opt_in.expires_at == world.time + timedelta(days=7)


@pytest.mark.parametrize(("topic", "ends"), [("newsletter", True), ("new-lead", False)], ids=["promotional", "other"])
async def test_a_fresh_yes_to_promotional_mail_ends_a_pause(world: World, topic: str, ends: bool) -> None:
    leaving = Leaving(tenant_id=1, fingerprint=print_of(), scope=rules.STREAM_PROMOTIONAL, address=ANN)
    until = world.time + timedelta(days=30)
    await world.database.run(lambda session: people.snooze(session, leaving, until, world.time))
    request = subscribing.Request(tenant_id=1, email=ANN, topics=[topic], source="form", wording="v1", public=False)
    await world.database.run(lambda session: subscribing.ask(session, request, world.intake, world.time))
    [asked] = await opt_ins(world)
    how = How(Kind.CONFIRM)
    await world.database.run(lambda session: subscribing.confirm(session, asked.id, how, world.time), conclusive=True)
    assert await world.may_get() is ends


async def test_ten_who_ask_at_once_for_the_link_that_edits_get_one_mail(world: World) -> None:
    paths = [world.preferences(world.opt_out(await world.email())) for _ in range(5)]
    await asyncio.gather(*(world.post(path, form="link") for path in paths * 2))
    assert [email.template for email in await emails(world)].count("preference-link") == 1
