"""Topics and streams as screens: made, worded, retired; paused with a reason, and let go on."""

from datetime import timedelta
from functools import partial

import pytest
from sqlmodel import Session

from mailer import halts, people, submission, subscribing, tenancy
from mailer.drafts import Draft, parse
from mailer.errors import Invalid
from mailer.models import Brake, BrakeState, Tally, Topic, UserRole
from mailer.submission import Submitter
from suppression.rules import Stream
from tests.dashboard.house import MARKETER, OWNER, VIEWER, House

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
RAW = ("<img src=x", "<script>alert")
RULES = {"opt_out": "allowed", "default": "opt_in", "visibility": "public"}


@pytest.fixture
def settings() -> dict[str, str]:
    return {"postal_address": "1 High Street, Ringwood"}


async def topic(house: House, key: str, tenant_id: int = 1) -> Topic:
    found = await house.service.database.read(lambda session: tenancy.topics(session, tenant_id))
    return next(each for each in found if each.key == key)


async def test_topics_are_listed_with_their_words_and_what_their_mail_lost(house: House) -> None:
    day = house.time.date() - timedelta(days=3)

    def count(session: Session) -> None:
        for metric, amount in (("requested", 1300), ("sent", 1234), ("unsubscribed", 9), ("resubscribed", 2)):
            session.add(
                Tally(
                    tenant_id=1,
                    day=day,
                    stream="promotional",
                    dimension="topic",
                    value="newsletter",
                    metric=metric,
                    amount=amount,
                )
            )

    await house.service.database.run(count)
    async with house.browser() as person:
        await person.sign_in(VIEWER)
        await person.get("@/topics")
        (row,) = [node for node in person.page.css("tbody tr") if "newsletter" in node.text()]
        assert [node.text().strip() for node in row.css("td.number")] == ["1,234", "7"]
        assert "Make the topic" not in person.text
        await person.get("@/topics/newsletter")
        assert "Save" not in person.text
        assert (await person.get("@/topics/nothing")).status_code == 404


async def test_a_topic_is_made_and_changed_in_every_language(everywhere: House) -> None:
    house = everywhere
    async with house.browser() as person:
        await person.sign_in(OWNER)
        await person.get("@/topics")
        for fields, said in (
            ({"key": "Big News"}, "lower-case letters"),
            ({"key": "newsletter"}, "There is a topic newsletter already."),
            ({"opt_out": "never"}, "can always be left"),
            ({"stream": HOSTILE}, "Stream"),
            ({"name_uk": "x" * 201}, "Name in Ukrainian"),
            ({"name_other": "Wiadomości"}, "say which language"),
            ({"locale": "polski!", "name_other": "Wiadomości"}, "must be a language"),
        ):
            answer = await person.post("@/topics", {"key": "digest", "stream": "promotional", **RULES, **fields})
            assert answer.status_code in (409, 422), fields
            assert said in person.text
            assert not any(raw in answer.text for raw in RAW)
            await person.get("@/topics")
        made = await person.post(
            "@/topics",
            {"key": "digest", "stream": "promotional", **RULES, "name_en": HOSTILE, "name_uk": "Дайджест"},
        )
        assert made.headers["location"] == "/app/t/default/topics?done=topic_created"
        page = await person.get("@/topics")
        assert not any(raw in page.text for raw in RAW)
        page = await person.get("@/topics/digest")
        assert not any(raw in page.text for raw in RAW)
        form = {
            str(node.attributes["name"]): node.attributes.get("value") or ""
            for node in person.page.css("main form.tongue input, main input[type=text]")
        }
        changed = {**RULES, **form, "do": "change", "name_en": "Digest", "visibility": "private"}
        changed |= {"description_en": "Once a week", "locale": "pl", "name_other": "Przegląd"}
        assert (await person.post("@/topics/digest", changed)).status_code == 303
        kept = await topic(house, "digest")
        assert kept.names == {"en": "Digest", "uk": "Дайджест", "pl": "Przegląd"}
        assert (kept.descriptions, kept.visibility) == ({"en": "Once a week"}, "private")
        await person.get("@/topics/digest")
        assert person.page.css_first("input[name=name_pl]") is not None, "a language of its own has a row by now"
        await person.get("@/audit", thing="topic")
        assert "changed: descriptions, names, visibility" in person.text


async def test_a_retired_topic_takes_no_mail_is_shown_to_nobody_and_comes_back(everywhere: House) -> None:
    house = everywhere
    draft = parse(
        Draft,
        {"stream": "promotional", "to": "ann@example.org", "topic": "surveys", "subject": "Hello", "text": "Hello"},
    )

    def send(session: Session) -> str:
        return submission.submit(session, Submitter.trusted(1), draft, house.service.intake, house.time).id

    def shown(session: Session) -> set[str]:
        print_ = house.service.intake.fingerprints.of(1, "ann@example.org")
        told = people.preferences(session, 1, print_, house.time)
        asked = {each.key for each in subscribing.askable(session, 1)}
        return {each.topic.key for each in told.topics if each.shown} & asked

    database = house.service.database
    assert "surveys" in await database.read(shown)
    async with house.browser() as person:
        await person.sign_in(OWNER)
        await person.get("@/topics/surveys")
        assert (await person.post("@/topics/surveys", do="retire")).status_code == 303
        await person.get("@/topics/surveys", done="topic_retired")
        assert "Bring the topic back" in person.text
        with pytest.raises(Invalid, match="surveys is retired"):
            await database.run(send)
        assert "surveys" not in await database.read(shown)
        assert (await person.post("@/topics/surveys", do="restore")).status_code == 303
        assert (await database.run(send)).startswith("em_")
        assert "surveys" in await database.read(shown)
        await person.get("@/topics/notifications")
        assert (await person.post("@/topics/notifications", do="retire")).status_code == 422
        assert "notifications stays" in person.text


async def test_only_who_may_edits_topics_and_another_tenants_are_not_there(house: House) -> None:
    await house.customer()
    await house.service.database.run(lambda session: session.add(_other()))
    async with house.browser() as person:
        await person.sign_in(MARKETER)
        await person.get("@/topics")
        assert (await person.post("@/topics", key="digest", stream="promotional")).status_code == 403
        await person.get("@/topics")
        assert (await person.post("@/topics/surveys", do="retire")).status_code == 403
        assert (await person.get("@/topics/theirs")).status_code == 404
        await person.get("@/topics")
        assert "theirs" not in person.text
    assert not (await topic(house, "surveys")).retired


def _other() -> Topic:
    return Topic(tenant_id=2, key="theirs", stream=Stream.PROMOTIONAL)


async def test_a_stream_is_paused_with_a_reason_and_resumed(everywhere: House) -> None:
    house = everywhere
    async with house.browser() as person:
        await person.sign_in(OWNER)
        await person.get("@/streams")
        assert "captured, not sent" in person.text
        pause = {"do": "pause", "stream": "promotional", "whose": "all"}
        for fields, said in (
            ({"reason": " "}, "must have 1 to 500 characters"),
            ({"reason": "x", "stream": "airmail"}, "must be one of transactional, promotional"),
            ({"reason": "x", "do": "explode"}, "must be one of pause, resume"),
            ({"reason": "x", "stream": "transactional", "whose": "own"}, "security mail must go"),
        ):
            assert (await person.post("@/streams", {**pause, **fields})).status_code == 422, fields
            assert said in person.text
        assert (await person.post("@/streams", {**pause, "reason": HOSTILE})).status_code == 303
        page = await person.get("@/streams", done="stream_paused")
        assert "Paused for everybody since 20 Nov 2026, 12:00 UTC" in person.text
        assert not any(raw in page.text for raw in RAW)
        paused = await house.service.database.read(lambda session: halts.current(session, house.time).paused)
        assert paused[Stream.PROMOTIONAL].reason == HOSTILE
        resume = {"do": "resume", "stream": "promotional", "whose": "all"}
        assert (await person.post("@/streams", resume)).status_code == 303
        await person.get("@/streams")
        assert "Paused for everybody" not in person.text
        assert (await person.post("@/streams", resume)).status_code == 303, "again is once"
    assert [act for act in await house.acts() if act.startswith("stream.")] == ["stream.paused", "stream.resumed"]


async def test_a_brake_is_shown_with_its_threshold_and_released(everywhere: House) -> None:
    house = everywhere

    def brake(session: Session) -> None:
        halts.pause(
            session,
            Stream.PROMOTIONAL,
            "it paused itself: 0.5% was called spam",
            house.time,
            tenant_id=1,
            by=halts.By.BRAKE,
        )
        for tenant_id, reason in ((1, "0.5% was called spam (5 of 1,000)"), (2, "of somebody else")):
            session.add(
                Brake(
                    subject=f"{tenant_id}:promotional",
                    measure="complaints",
                    tenant_id=tenant_id,
                    stream="promotional",
                    state=BrakeState.PAUSED,
                    reason=reason,
                    at=house.time,
                    day=house.time.date(),
                )
            )

    await house.customer()
    await house.service.database.run(brake)
    async with house.browser() as person, house.browser() as viewer:
        await viewer.sign_in(VIEWER)
        await viewer.get("@/streams")
        assert "0.5% was called spam" in viewer.text
        assert "of somebody else" not in viewer.text
        assert "Let my mail go on" not in viewer.text
        assert (await viewer.post("@/streams", do="resume", stream="promotional", whose="own")).status_code == 403
        await person.sign_in(OWNER)
        await person.get("@/streams")
        assert "warned of from 0.10 %, paused from 0.30 %" in person.text.replace("\u202f", " ")
        assert "complained / " in person.text, "the formula"
        assert (await person.post("@/streams", do="resume", stream="promotional", whose="own")).status_code == 303
        assert await house.service.database.read(lambda s: halts.paused_tenants(s, Stream.PROMOTIONAL)) == []


async def test_a_customer_sees_and_steers_its_own_mail_alone(house: House) -> None:
    await house.customer()
    await house.user("boss@customer.example", UserRole.OWNER, "customer")
    await house.service.database.run(lambda s: halts.pause(s, Stream.TRANSACTIONAL, "the vault floods", house.time))
    async with house.browser() as boss:
        boss.tenant = "customer"
        await boss.sign_in("boss@customer.example")
        await boss.get("@/streams")
        assert "Paused for everybody" in boss.text
        for hidden in ("Mail servers", "inbox:", "the vault floods", "for everybody since", "Let the stream go on"):
            assert (hidden in boss.text) is (hidden == "for everybody since"), hidden
        everybody = {"do": "pause", "stream": "promotional", "whose": "all", "reason": "mine"}
        assert (await boss.post("@/streams", everybody)).status_code == 403
        await boss.get("@/streams")
        assert (await boss.post("@/streams", {**everybody, "whose": "own"})).status_code == 303
        # What a brake did they may end; what whoever runs the service did, they may not, nor give it another reason.
        own = {"do": "resume", "stream": "promotional", "whose": "own"}
        for by, status in ((halts.By.BRAKE, 303), (halts.By.OPERATOR, 403)):
            await house.service.database.run(
                partial(
                    halts.pause, stream=Stream.PROMOTIONAL, reason="too much spam", now=house.time, tenant_id=2, by=by
                )
            )
            await boss.get("@/streams")
            assert (await boss.post("@/streams", own)).status_code == status
            await boss.get("@/streams")
        assert (await boss.post("@/streams", {**everybody, "whose": "own"})).status_code == 403
    current = await house.service.database.read(lambda session: halts.current(session, house.time))
    assert set(current.tenants) == {(Stream.PROMOTIONAL, 2)}
    assert current.tenants[Stream.PROMOTIONAL, 2].reason == "too much spam"
    assert Stream.PROMOTIONAL not in current.paused
