"""Providers call over HTTP: what is believed is committed before the answer, and what is not leaves no trace."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from sqlalchemy import text
from sqlmodel import Session, col, select
from starlette.applications import Starlette

from mailer.database import Database
from mailer.errors import ConfigurationError
from mailer.feedback.inbound.providers import Arrival, tokens
from mailer.feedback.inbound.providers import sendgrid as sendgrid_events
from mailer.models import HeardToken
from mailer.outside import Answer
from mailer.settings import Settings
from mailer.status import Status
from mailer.web.api.routing import routes
from tests.providers import payloads, signing
from tests.providers.payloads import ANN
from tests.providers.signing import CERTIFICATE, MAILGUN_KEY, POSTMARK_SECRET, TOPIC, Json
from tests.providers.world import World, world
from tests.test_api_world import data

NOTHING: tuple[list[str], list[str], int] = ([], [], 0)
BOUNCED = (["email.bounced"], ["hard_bounce"], 1)


@pytest.fixture
async def here(database: Database) -> AsyncIterator[World]:
    async with world(database) as found:
        yield found


@pytest.fixture
async def small(sqlite: Database) -> AsyncIterator[World]:
    async with world(sqlite) as found:
        yield found


def stamp() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def ses_bounce(identifier: str) -> Json:
    """Return a hard bounce of one mail, as SES publishes it."""
    event = payloads.ses_bounce("Permanent", "General")
    return {
        **event,
        "mail": payloads.ses_mail(headers=[{"name": "Message-Id", "value": f"<{identifier}@news.example>"}]),
    }


def told(response: httpx2.Response) -> Json:
    assert response.status_code == 200, response.text
    return data(response)


def known(heard: int, ignored: int = 0, *, repeated: bool = False) -> Json:
    return {"heard": heard, "ignored": ignored, "repeated": repeated, "errors": []}


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_bounce_of_ses_ends_all_mail_to_the_address(here: World, version: str) -> None:
    identifier = await here.sent()
    arrival = signing.packed(signing.sns(ses_bounce(identifier), version=version, Timestamp=stamp()))
    assert told(await here.call("ses", arrival)) == known(1)
    assert await here.status(identifier) is Status.BOUNCED
    assert await here.known() == BOUNCED
    assert told(await here.call("ses", arrival)) == known(1)
    assert await here.known() == BOUNCED
    assert here.amazon.asked == [CERTIFICATE]


async def test_a_batch_of_sendgrid_is_taken_in_but_for_what_cannot_be_read(here: World) -> None:
    ann, bob, cid = [await here.sent(to) for to in ("ann@example.org", "bob@example.org", "cid@example.org")]
    at = int(datetime.now(UTC).timestamp())

    def event(kind: str, identifier: str, to: str, place: int, **more: object) -> Json:
        own = {"smtp-id": f"<{identifier}@news.example>", "sg_event_id": f"sg-{place}", "timestamp": at}
        return payloads.sendgrid(kind, **{**own, "email": to, **more})

    # Out of order, with a repeated one, an unreadable one, one of a mail of somebody else, and one that is unknown.
    complaint = event("spamreport", bob, "bob@example.org", 2, **{sendgrid_events.ECHO: bob})
    del complaint["smtp-id"]
    bounce = event("bounce", cid, "cid@example.org", 3, type="bounce", status="5.1.1")
    events = [
        *(bounce, complaint, 7, event("delivered", ann, ANN, 1), bounce, event("open", ann, ANN, 4)),
        event("delivered", "em_00000000000000000000000000", "eve@example.org", 5),
    ]
    response = await here.call("sendgrid", signing.sendgrid(events, datetime.now(UTC)))
    answer = told(response)
    assert (answer["heard"], answer["ignored"]) == (5, 1)
    assert answer["errors"] == ["[2] must be an event, an object with the text `event`"]
    assert [await here.status(each) for each in (ann, bob, cid)] == [Status.DELIVERED, Status.SENT, Status.BOUNCED]
    kinds, reasons, reports = await here.known()
    assert kinds == ["email.bounced", "email.complained", "email.delivered"]
    assert (reasons, reports) == (["complaint", "hard_bounce"], 4)


async def test_a_token_of_mailgun_is_heard_once_whatever_its_body_says_then(here: World) -> None:
    identifier, other = await here.sent(), await here.sent("bob@example.org")
    now = datetime.now(UTC)

    def event(kind: str, of: str, to: str) -> Json:
        return payloads.mailgun(kind, recipient=to, message={"headers": {"message-id": f"{of}@news.example"}})

    first = signing.packed(signing.mailgun(event("delivered", identifier, ANN), now, token="t1"))
    assert told(await here.call("mailgun", first)) == known(1)
    changed = signing.packed(signing.mailgun(event("complained", other, "bob@example.org"), now, token="t1"))
    assert told(await here.call("mailgun", changed)) == known(0, repeated=True)
    opened = signing.packed(signing.mailgun(event("opened", identifier, ANN), now, token="t2"))
    assert told(await here.call("mailgun", opened)) == known(0, 1)
    changed = signing.packed(signing.mailgun(event("complained", other, "bob@example.org"), now, token="t2"))
    assert told(await here.call("mailgun", changed)) == known(0, repeated=True)
    assert await here.known() == (["email.delivered"], [], 1)
    # A fresh signature over a body about somebody who never got that mail: the recipient must be the mail's own.
    forged = signing.packed(signing.mailgun(event("complained", identifier, "bob@example.org"), now))
    assert told(await here.call("mailgun", forged)) == known(1)
    kinds, reasons, _ = await here.known()
    assert (kinds, reasons) == (["email.delivered"], [])


async def test_of_many_requests_with_one_token_one_counts(here: World) -> None:
    identifier = await here.sent()
    event = payloads.mailgun("complained", message={"headers": {"message-id": f"{identifier}@news.example"}})
    arrival = signing.packed(signing.mailgun(event, datetime.now(UTC), token="t"))
    answers = await asyncio.gather(*(here.call("mailgun", arrival) for _ in range(8)))
    assert sorted(int(str(told(answer)["heard"])) for answer in answers) == [0] * 7 + [1]
    assert await here.known() == (["email.complained"], ["complaint"], 1)


async def test_postmark_finds_its_mail_by_the_id_that_it_echoes(here: World) -> None:
    identifier = await here.sent()
    event = payloads.postmark(Metadata={"mailer-email-id": identifier})
    assert told(await here.call("postmark", signing.postmark(event))) == known(1)
    assert await here.known() == BOUNCED
    response = await here.http.post("/v1/inbound/postmark", json=event, auth=("mailer", POSTMARK_SECRET))
    assert told(response) == known(1)
    assert await here.known() == BOUNCED


async def test_a_program_of_the_operators_tells_what_its_provider_said(here: World) -> None:
    identifier = await here.sent()
    event = {"kind": "bounced", "email_id": identifier, "hard": True, "category": "invalid_recipient"}
    assert told(await here.call("generic", signing.generic(event, datetime.now(UTC)))) == known(1)
    assert await here.known() == BOUNCED
    assert told(await here.call("generic", signing.generic(event, datetime.now(UTC)))) == known(1)
    assert await here.known() == BOUNCED


async def test_our_return_path_names_the_mail_whatever_became_of_its_message_id(here: World) -> None:
    identifier = await here.sent()
    links = here.api.service.intake.links
    bounces = replace(links, settings=replace(links.settings, return_path_domain="bounce.example"))
    event = payloads.ses_bounce("Permanent", "General")
    mail = payloads.ses_mail(headers=[], source=f"Ringwise <{bounces.return_path(identifier)}>")
    arrival = signing.packed(signing.sns({**event, "mail": mail}, Timestamp=stamp()))
    assert told(await here.call("ses", arrival)) == known(1)
    assert await here.status(identifier) is Status.BOUNCED
    assert await here.known() == BOUNCED


async def test_an_event_may_come_before_our_own_outcome(here: World) -> None:
    identifier = await here.sent()
    unsettled = text("UPDATE email SET status = 'sending', settled_at = NULL, sent_at = NULL WHERE id = :id")
    await here.api.service.database.run(lambda session: session.execute(unsettled, {"id": identifier}))
    event = {"kind": "delivered", "email_id": identifier}
    assert told(await here.call("generic", signing.generic(event, datetime.now(UTC)))) == known(1)
    assert await here.status(identifier) is Status.SENDING
    assert await here.known() == ([], [], 1)


def forged(provider: str, identifier: str) -> tuple[Arrival, int]:
    """Return a request that tells a hard bounce of a mail, wrongly signed, and how it is answered."""
    now = datetime.now(UTC)
    event = {"kind": "bounced", "email_id": identifier, "hard": True}
    if provider == "ses":
        return signing.packed({**signing.sns(ses_bounce(identifier), Timestamp=stamp()), "MessageId": "other"}), 403
    if provider == "sendgrid":
        arrival = signing.sendgrid([payloads.sendgrid("bounce", **{sendgrid_events.ECHO: identifier})], now)
        return arrival._replace(body=arrival.body + b" "), 403
    if provider == "mailgun":
        return signing.packed(signing.mailgun(payloads.mailgun("complained"), now, key=MAILGUN_KEY + "x")), 403
    if provider == "postmark":
        return signing.postmark(payloads.postmark(), "0123456789abcdef-another"), 401
    return signing.generic(event, now - timedelta(minutes=6)), 403


@pytest.mark.parametrize("provider", ["ses", "sendgrid", "mailgun", "postmark", "generic"])
async def test_what_is_not_believed_leaves_no_trace(here: World, provider: str) -> None:
    arrival, status = forged(provider, await here.sent())
    response = await here.call(provider, arrival)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert ("Basic" in response.headers.get("www-authenticate", "")) == (status == 401)
    assert await here.known() == NOTHING
    assert await here.api.service.database.read(lambda session: session.exec(select(HeardToken)).all()) == []


@pytest.mark.parametrize("provider", ["ses", "sendgrid", "mailgun", "postmark", "generic"])
async def test_a_provider_that_is_not_set_up_is_answered_404_with_the_setting(small: World, provider: str) -> None:
    small.api.service.settings = Settings()
    app = httpx2.ASGITransport(app=_app(small))
    async with httpx2.AsyncClient(transport=app, base_url="http://mailer.test") as http:
        response = await http.post(f"/v1/inbound/{provider}", content=b"x" * 100_000)
    assert response.status_code == 404
    assert "MAILER_" in str(data(response)["detail"])


def _app(small: World) -> Starlette:
    return Starlette(routes=routes(small.api.service, small.amazon.fetch))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_addresses_take_nothing_but_post(small: World, method: str) -> None:
    response = await small.http.request(method, "/v1/inbound/ses")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("provider", ["ses", "sendgrid", "mailgun", "postmark", "generic"])
async def test_a_body_that_is_too_large_is_answered_413(small: World, provider: str) -> None:
    path = f"/v1/inbound/{provider}" + (f"/{POSTMARK_SECRET}" if provider == "postmark" else "")
    response = await small.http.post(path, content=b"[" * (4096 * 1024 + 1))
    assert response.status_code == 413


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        *(("ses", b""), ("ses", b"[" * 100_000), ("mailgun", b'{"a":' * 50_000), ("mailgun", b"\xff")),
        ("postmark", b"[" * 100_000),
    ],
    ids=range(5),
)
async def test_a_body_that_is_no_json_is_answered_400(small: World, provider: str, body: bytes) -> None:
    response = await small.call(provider, Arrival({}, body, POSTMARK_SECRET if provider == "postmark" else ""))
    assert response.status_code == 400, response.text
    assert await small.known() == NOTHING


async def test_a_subscription_of_our_topic_is_confirmed(small: World) -> None:
    body = signing.confirmation(Timestamp=stamp())
    assert told(await small.call("ses", signing.packed(body))) == known(0, 1)
    assert small.amazon.asked == [CERTIFICATE, body["SubscribeURL"]]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"TopicArn": TOPIC + "x"}, 403),
        ({"Token": "changed"}, 403),
        ({"SubscribeURL": "https://169.254.169.254/"}, 403),
        ({"SigningCertURL": "https://evil.example/SimpleNotificationService-1.pem"}, 403),
    ],
    ids=range(4),
)
async def test_no_other_subscription_is_confirmed(small: World, changed: Json, status: int) -> None:
    body = {**signing.confirmation(Timestamp=stamp()), **changed}
    assert (await small.call("ses", signing.packed(body))).status_code == status
    assert [url for url in small.amazon.asked if url != CERTIFICATE] == []


async def test_a_confirmation_that_amazon_does_not_take_comes_again(small: World) -> None:
    body = signing.confirmation(Timestamp=stamp())
    small.amazon.answers[str(body["SubscribeURL"])] = Answer(500, {}, b"")
    response = await small.call("ses", signing.packed(body))
    assert response.status_code == 503
    assert "500" in str(data(response)["detail"])


async def test_an_unsubscription_is_noticed_and_not_undone(small: World, caplog: pytest.LogCaptureFixture) -> None:
    body = signing.confirmation("UnsubscribeConfirmation", Timestamp=stamp())
    assert told(await small.call("ses", signing.packed(body))) == known(0, 1)
    assert small.amazon.asked == [CERTIFICATE]
    assert "was unsubscribed" in caplog.text


async def test_a_certificate_that_cannot_be_had_has_the_message_sent_again(small: World) -> None:
    identifier = await small.sent()
    arrival = signing.packed(signing.sns(ses_bounce(identifier), Timestamp=stamp()))
    there = small.amazon.answers.pop(CERTIFICATE)
    assert (await small.call("ses", arrival)).status_code == 503
    for status, expected in ((502, 503), (404, 403)):
        small.amazon.answers[CERTIFICATE] = Answer(status, {}, b"")
        assert (await small.call("ses", arrival)).status_code == expected
    small.amazon.answers[CERTIFICATE] = there._replace(cut=True)
    assert (await small.call("ses", arrival)).status_code == 403
    assert await small.known() == NOTHING
    small.amazon.answers[CERTIFICATE] = there
    assert told(await small.call("ses", arrival)) == known(1)
    assert await small.known() == BOUNCED


async def test_whoever_knows_the_topic_cannot_have_us_fetch_without_end(small: World) -> None:
    statuses = []
    for place in range(15):
        url = CERTIFICATE.replace("0123", f"{place:04}")
        body = signing.sns("hello", SigningCertURL=url, Timestamp=stamp())
        statuses.append((await small.call("ses", signing.packed(body))).status_code)
    assert statuses == [503] * 15
    assert len(small.amazon.asked) == 12


async def test_what_could_not_be_committed_comes_again_with_the_same_token(small: World) -> None:
    identifier = await small.sent()
    event = payloads.mailgun("delivered", message={"headers": {"message-id": f"{identifier}@news.example"}})
    arrival = signing.packed(signing.mailgun(event, datetime.now(UTC), token="t"))
    database = small.api.service.database
    await database.run(lambda session: session.execute(text("ALTER TABLE told RENAME TO away")))
    assert (await small.call("mailgun", arrival)).status_code == 503
    await database.run(lambda session: session.execute(text("ALTER TABLE away RENAME TO told")))
    assert told(await small.call("mailgun", arrival)) == known(1)
    assert await small.known() == (["email.delivered"], [], 1)


async def test_one_report_that_trips_over_something_does_not_lose_the_others(small: World) -> None:
    people = [f"p{place}@example.org" for place in range(30)]
    sent = [await small.sent(to) for to in people]
    trap = "CREATE TRIGGER trap BEFORE INSERT ON told WHEN NEW.code = '5.9.9' BEGIN SELECT RAISE(ABORT, 'a bug'); END"
    await small.api.service.database.run(lambda session: session.execute(text(trap)))
    events: list[Json] = [{"kind": "delivered", "email_id": identifier} for identifier in sent]
    events[7]["status"] = "5.9.9"
    arrival = signing.generic(events, datetime.now(UTC))
    assert (await small.call("generic", arrival)).status_code == 500
    kinds, _, reports = await small.known()
    assert (len(kinds), reports) == (29, 29)
    await small.api.service.database.run(lambda session: session.execute(text("DROP TRIGGER trap")))
    assert told(await small.call("generic", arrival)) == known(30)
    kinds, _, reports = await small.known()
    assert (len(kinds), reports) == (30, 30)


async def test_tokens_are_forgotten_when_nobody_would_believe_them(database: Database) -> None:
    now = datetime.now(UTC)

    def story(session: Session) -> list[bool]:
        taken = [tokens.take(session, token, now) for token in (b"a", b"b", b"a")]
        tokens.forget(session, now + timedelta(hours=23))
        taken.append(tokens.take(session, b"a", now))
        tokens.forget(session, now + timedelta(hours=25))
        assert session.exec(select(col(HeardToken.digest))).all() == []
        return taken

    assert await database.run(story) == [True, True, False, False]


async def test_the_document_has_the_addresses_and_no_key_is_asked_for(small: World) -> None:
    document = data(await small.http.get("/openapi.json"))
    paths = document["paths"]
    assert isinstance(paths, dict)
    assert {path for path in paths if path.startswith("/v1/inbound/")} >= {
        *(f"/v1/inbound/{name}" for name in ("ses", "sendgrid", "mailgun", "postmark", "generic")),
        "/v1/inbound/postmark/{secret}",
    }
    assert paths["/v1/inbound/ses"]["post"]["security"] == []


@pytest.mark.parametrize(
    "settings",
    [
        {"ses_topics": "arn:aws:sqs:eu-west-1:123456789012:queue"},
        {"ses_topics": "my-topic"},
        {"sendgrid_public_key": "nonsense"},
        {"sendgrid_public_key": "MFkw"},
        {"postmark_secret": "short"},
        {"postmark_secret": "with a space in it, and long"},
        {"inbound_secret": "whsec_AAAA"},
        {"inbound_secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
        {"inbound_secret": "whsec_!"},
    ],
    ids=range(9),
)
async def test_a_setting_that_cannot_work_stops_the_start_with_a_sentence(
    small: World, settings: dict[str, str]
) -> None:
    small.api.service.settings = Settings(**settings)
    with pytest.raises(ConfigurationError, match=f"MAILER_{next(iter(settings)).upper()} must be"):
        routes(small.api.service, small.amazon.fetch)
