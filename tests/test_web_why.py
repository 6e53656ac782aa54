"""The page that says why somebody does not get a mail: who may ask, what it answers, what it never gives away."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx2
import pytest
from starlette.applications import Starlette

from mailer import tenancy
from mailer.database import Database
from mailer.feedback import optouts
from mailer.feedback.optouts import How, Kind
from mailer.models import Scope
from mailer.web import why
from suppression import entries, rules
from suppression.address import parse
from suppression.entries import NewEntry
from suppression.rules import Origin, Reason
from tests.recipients.world import ANN, NOON, PRINTS, World, open_world


class Asking:
    """An operator before the page."""

    def __init__(self, world: World) -> None:
        app = Starlette(routes=why.routes(world))
        self.world = world
        self.client = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://mail.example.org")

    async def key(self, *scopes: Scope, tenant_id: int = 1) -> str:
        issued = await self.world.database.run(
            lambda session: tenancy.create_key(session, tenant_id, "why", scopes=scopes, now=NOON)
        )
        return issued.plain

    async def ask(self, key: str, language: str = "en", **fields: str) -> httpx2.Response:
        form = {"email": ANN, "stream": "promotional", **fields, "key": key}
        return await self.client.post("/why", data=form, headers={"Accept-Language": language})


@pytest.fixture
async def asking(database: Database) -> AsyncIterator[Asking]:
    async with open_world(database) as world:
        asking = Asking(world)
        yield asking
        await asking.client.aclose()


async def leave(world: World) -> str:
    email_id = await world.email()
    act = world.opt_out(email_id)
    how = How(Kind.ONE_CLICK, "198.51.100.7")
    await world.database.run(lambda session: optouts.opted_out(session, act, how, world.now()))
    return email_id


async def stop(world: World, reason: Reason, scope: rules.Scope, to: str = ANN, **more: str) -> None:
    new = NewEntry(
        tenant_id=1,
        fingerprint=PRINTS.of(1, parse(to).canonical),
        key_id="f1",
        reason=reason,
        scope=scope,
        origin=Origin.ADMIN,
        expires_at=NOON + timedelta(days=30) if reason in (Reason.SNOOZE, Reason.SOFT_BOUNCE) else None,
        note=more.get("note"),
    )
    await world.database.run(lambda session: entries.add(session, new, NOON))


async def test_the_form_asks_for_a_key_and_takes_nothing_from_the_address(asking: Asking) -> None:
    answer = await asking.client.get("/why?key=mk_secret&email=ann@example.org")
    assert answer.status_code == 200
    assert "mk_secret" not in answer.text
    assert "ann@example.org" not in answer.text
    assert 'type="password"' in answer.text
    assert "set-cookie" not in answer.headers
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'; form-action")
    assert "<script" not in answer.text


async def test_it_names_the_rule_that_decides_since_when_from_which_mail_and_who_may_end_it(asking: Asking) -> None:
    email_id = await leave(asking.world)
    key = await asking.key(Scope.SUPPRESSIONS)
    answer = await asking.ask(key, topic="newsletter")
    assert answer.status_code == 200
    for said in (
        "This mail does not go",
        f"<b>{ANN}</b> has unsubscribed from this mail.",
        "Asked about promotional mail · topic “Newsletter”",
        "2026-11-20 12:00 UTC",
        "All promotional mail",
        "the person alone, by a fresh opt-in",
        f"<code>{email_id}</code>",
        "one_click",
        "198.51.100.7",
        "ca_1",
        "forbids this mail",
    ):
        assert said in answer.text, said
    assert answer.text.count('class="blocks"') == 1
    assert all(f"{word}</b>" in answer.text for word in ("Mailbox is gone", "Spam complaint", "Paused"))
    assert key not in answer.text, "the key is not given back"


async def test_mail_that_goes_is_told_to_go_and_what_is_over_is_history(asking: Asking) -> None:
    key = await asking.key(Scope.ADMIN)
    await stop(asking.world, Reason.MANUAL, rules.ALL, note="asked by phone")
    stopped = await asking.ask(key, stream="transactional")
    assert "asked by phone" in stopped.text
    (entry_id,) = set(re.findall(r"su_\w{26}", stopped.text))
    await asking.world.database.run(
        lambda session: entries.lift(session, 1, entry_id, "operator:zoe", "she called <again>", NOON)
    )
    page = (await asking.ask(key, stream="transactional")).text
    assert "This mail goes" in page
    assert f"Nothing forbids this mail to <b>{ANN}</b>." in page
    assert 'class="blocks"' not in page
    assert "operator:zoe: she called &lt;again&gt;" in page


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("language", ["en", "uk"])
async def test_every_reason_has_its_words(asking: Asking, reason: Reason, language: str) -> None:
    await stop(asking.world, reason, rules.parse_scope(rules.rule_of(reason).scopes[0]))
    answer = await asking.ask(await asking.key(Scope.SUPPRESSIONS), language)
    assert answer.status_code == 200
    assert answer.headers["content-language"] == language
    assert answer.text.count('class="blocks"') == 1


async def test_another_tenants_key_sees_nothing_of_it(asking: Asking) -> None:
    await leave(asking.world)
    await stop(asking.world, Reason.MANUAL, rules.ALL, note="asked by phone")
    answer = await asking.ask(await asking.key(Scope.SUPPRESSIONS, tenant_id=2))
    assert "This mail goes" in answer.text
    assert "asked by phone" not in answer.text


@pytest.mark.parametrize("stream", ["promotional", "transactional"])
async def test_a_key_that_may_not_ask_is_told_the_same_as_one_that_is_unknown(asking: Asking, stream: str) -> None:
    await leave(asking.world)
    sends = await asking.key(Scope.READ, Scope.PEOPLE)
    answers = [await asking.ask(key, stream=stream) for key in (sends, "mk_nothing", "")]
    assert {answer.status_code for answer in answers} == {403}
    assert len({answer.text for answer in answers}) == 1
    assert "unsubscribed" not in answers[0].text
    assert sends not in answers[0].text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"email": "ann at example"}, "This is no email address."),
        ({"email": ""}, "This is no email address."),
        ({"stream": "both"}, "Please choose which mail you ask about."),
        ({"topic": "no-such-topic"}, "There is no such topic in this stream."),
        ({"topic": "<b>"}, "There is no such topic in this stream."),
        ({"topic": "new-lead"}, "There is no such topic in this stream."),
    ],
    ids=["address", "no-address", "stream", "topic", "hostile-topic", "topic-of-the-other-stream"],
)
async def test_a_question_that_is_wrong_is_told_where(asking: Asking, fields: dict[str, str], said: str) -> None:
    answer = await asking.ask(await asking.key(Scope.SUPPRESSIONS), **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert "<b></b>" not in answer.text


async def test_a_body_that_is_no_form_of_ours_opens_nothing(asking: Asking) -> None:
    for body in (b"", b"\xff\xfe" * 20_000, b"key=" + b"k" * 20_000):
        answer = await asking.client.post("/why", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 403
