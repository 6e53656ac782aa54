"""Product code sends: what is accepted, what is refused and why, and that nothing is done twice."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import Session

from mailer.database import Database
from mailer.models import Email
from mailer.settings import Settings
from mailer.status import Status
from mailer.web.api.shapes import BatchView, ChangedView, PlacedView, ProblemDocument, RenderedView, SeveralView
from suppression.rules import Stream
from tests.test_api_world import Api, Json, data, mail, news, paths, rows, stored, variables, world

INJECTED = "x\r\nBcc: evil@example.net"
ENCODED = "=?utf-8?q?hi=0D=0ABcc:_evil=40example.net?="


@pytest.fixture
async def api(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite) as api:
        yield api


async def suppress(api: Api, email: str, **more: object) -> Json:
    response = await api.post("/v1/suppressions", {"email": email, **more})
    assert response.status_code == 200, response.text
    return data(response)


async def test_a_mail_is_accepted_and_its_stream_is_rung(api: Api) -> None:
    response = await api.post("/v1/emails", mail())
    assert response.status_code == 202
    answer = PlacedView.model_validate(data(response))
    assert answer.status is Status.QUEUED
    assert api.service.rung == [Stream.TRANSACTIONAL]
    [email] = await stored(api)
    assert (email.id, email.address, email.from_address, email.from_name) == (
        answer.id,
        "ann@example.org",
        "hello@ringwise.example",
        "Ringwise",
    )


async def test_a_template_with_its_variables_is_accepted(api: Api) -> None:
    wanted = {"template": "password-reset", "variables": variables("password-reset"), "to": "ann@gmail.com"}
    response = await api.post("/v1/emails", {"stream": "transactional", **wanted})
    assert response.status_code == 202, response.text
    [email] = await stored(api)
    assert (email.template, email.urgency, email.provider) == ("password-reset", 0, "gmail")


async def test_several_recipients_share_what_is_shown_but_nobody_sees_bcc(api: Api) -> None:
    people = {"to": ["ann@example.org", {"email": "Bob@Example.org", "name": "Bob"}], "cc": "cid@example.org"}
    response = await api.post("/v1/emails", mail(**people, bcc=["dan@example.org", "ANN@example.org"]))
    assert response.status_code == 202
    answer = SeveralView.model_validate(data(response))
    assert [each.to for each in answer.data] == [
        "ann@example.org",
        "Bob@example.org",
        "cid@example.org",
        "dan@example.org",
    ]
    emails = await stored(api)
    details = emails[0].details
    assert details is not None
    assert details["message_key"] == emails[0].id
    assert details["to"] == [["ann@example.org", ""], ["Bob@example.org", "Bob"]]
    assert details["cc"] == [["cid@example.org", ""]]
    assert all(email.details == details for email in emails)
    assert "dan@" not in json.dumps(details)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"a": NaN}', b'{"stream": "\\ud800"}', b"[" * 100_000],
    ids=lambda body: repr(body[:12]),
)
async def test_what_is_not_json_is_400(api: Api, body: bytes) -> None:
    response = await api.post("/v1/emails", body)
    assert response.status_code == 400
    ProblemDocument.model_validate(data(response))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"to": 5}, "to"),
        ({"to": []}, "to"),
        ({"to": ["ann@example.org", 7]}, "to[1]"),
        ({"to": {"name": "Ann"}}, "to.email"),
        ({"to": "no address"}, "to"),
        ({"to": "ann@example.org, bob@example.org"}, "to"),
        ({"to": "a" * 65 + "@example.org"}, "to"),
        ({"to": "ann@" + "x" * 60 + ".example." * 30 + "org"}, "to"),
        ({"cc": [f"p{i}@example.org" for i in range(50)]}, "to"),
        ({"stream": "bulk"}, "stream"),
        ({"stream": None}, "stream"),
        ({"surprise": 1}, "surprise"),
        ({"from_": "hello@ringwise.example"}, "from_"),
        ({"to": {"email": "a@b.example", "nick": "A"}}, "to.nick"),
        ({"template": "no-such-template", "subject": None, "text": None}, "template"),
        ({"template": "welcome"}, "subject"),
        ({"subject": None}, "subject"),
        ({"subject": "   "}, "subject"),
        ({"text": None}, "text"),
        ({"subject": None, "text": None}, "template"),
        ({"variables": {"name": "Ann"}}, "variables"),
        ({"from": "hello@stranger.example"}, "from"),
        ({"topic": "no-such-topic"}, "topic"),
        ({"topic": "newsletter"}, "topic"),
        ({"topic": "Not A Key"}, "topic"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"tags": {f"t{i}": "x" for i in range(11)}}, "tags"),
        ({"metadata": {"a": "x" * 20_000}}, "metadata"),
        ({"scheduled_at": "2027-01-01T00:00:00"}, "scheduled_at"),
        ({"scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"scheduled_at": 1}, "scheduled_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"scheduled_at": "2090-01-02T00:00:00Z", "expires_at": "2090-01-01T00:00:00Z"}, "expires_at"),
        ({"locale": "english please"}, "locale"),
        ({"tracking": {"opens": "always"}}, "tracking.opens"),
        ({"headers": {"List-Unsubscribe": "<https://x.example>"}}, "headers.List-Unsubscribe"),
        ({"headers": {"DKIM-Signature": "v=1"}}, "headers.DKIM-Signature"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "headers"),
        ({"attachments": [{"filename": "a.txt", "content": "!!"}]}, "attachments[0].content"),
        ({"attachments": [{"filename": "a.txt", "content": 5}]}, "attachments[0].content"),
        ({"attachments": [{"filename": "a", "content": "", "content_type": "x"}]}, "attachments[0].content_type"),
    ],
)
async def test_a_wrong_value_is_422_and_named(api: Api, change: Json, path: str) -> None:
    body = {name: value for name, value in {**mail(), **change}.items() if value is not None}
    response = await api.post("/v1/emails", body)
    assert response.status_code == 422, response.text
    assert path in paths(response)
    ProblemDocument.model_validate(data(response))
    assert await stored(api) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"locale": "English"}, "must be a language such as uk or pt-BR"),
        ({"locale": "uk\n"}, "must be a language such as uk or pt-BR"),
        ({"template": "No Such"}, "must be 1 to 80 lower-case letters, digits and hyphens"),
        ({"tags": {"a b": "c"}}, "must be 1 to 40 letters, digits, dots, hyphens and underscores"),
    ],
    ids=["a-word", "a-line", "a-template", "a-tag"],
)
async def test_what_has_a_shape_is_told_in_words(api: Api, change: dict[str, object], sentence: str) -> None:
    answer = await api.post("/v1/emails", {**mail(), **change})
    assert answer.status_code == 422
    problem = ProblemDocument.model_validate(data(answer))
    assert [each.message for each in problem.errors] == [sentence]


@pytest.mark.parametrize("text", [INJECTED, ENCODED, "x\nY: z", "x\x00y", "x\x85y", "x\u2028y"])
@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("subject", "subject"),
        ("to.name", "to.name"),
        ("cc.name", "cc.name"),
        ("from.name", "from.name"),
        ("reply_to.name", "reply_to.name"),
        ("headers.value", "headers.X-Trace"),
        ("attachments.filename", "attachments[0].filename"),
    ],
)
async def test_no_header_can_be_injected(api: Api, field: str, path: str, text: str) -> None:
    name, _, part = field.partition(".")
    value: object = text
    if part == "name":
        value = {"email": "hello@ringwise.example", "name": text}
    elif part == "value":
        value = {"X-Trace": text}
    elif part == "filename":
        value = [{"filename": text, "content": "eA=="}]
    response = await api.post("/v1/emails", mail(**{name: value}))
    assert response.status_code == 422, response.text
    assert path in paths(response)


@pytest.mark.parametrize(
    "change",
    [
        {"to": f"ann@example.org{INJECTED}"},
        {"to": {"email": "ann@example.org\r\nX: y"}},
        {"bcc": ["ann@example.org\nX: y"]},
        {"from": "hello@ringwise.example\r\nX: y"},
        {"reply_to": "ann@example.org\r\nX: y"},
        {"headers": {"X-Foo\r\nBcc": "evil@example.net"}},
        {"headers": {"X Foo": "y"}},
        {"tags": {"a": "b\r\nc"}},
        {"tags": {"a\r\nb": "c"}},
        {"attachments": [{"filename": "a", "content": "", "content_type": "text/plain\r\nX: y"}]},
        {"attachments": [{"filename": "a", "content": "", "content_id": "a\r\nX: y"}]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
async def test_no_line_end_gets_into_an_address_a_name_or_a_type(api: Api, change: Json) -> None:
    response = await api.post("/v1/emails", mail(**change))
    assert response.status_code == 422, response.text


async def test_a_missing_or_unknown_variable_is_named(api: Api) -> None:
    given = {**variables("welcome"), "surprise": 1}
    given.pop("name")
    response = await api.post(
        "/v1/emails", {**mail(template="welcome", variables=given), "subject": None, "text": None}
    )
    assert response.status_code == 422
    assert set(paths(response)) == {"variables.name", "variables.surprise"}


async def test_a_body_over_25_mb_is_413(api: Api) -> None:
    response = await api.post("/v1/emails", b"x" * 30_000_000)
    assert response.status_code == 413
    assert data(response)["title"] == "Request Entity Too Large"


async def test_attachments_are_kept_once(api: Api) -> None:
    content = base64.b64encode(b"%PDF-1.7").decode()
    files = [{"filename": "Rechnung №1.pdf", "content": content}]
    for _ in range(2):
        assert (await api.post("/v1/emails", mail(attachments=files))).status_code == 202
    first, second = await stored(api)
    assert first.details == second.details
    assert first.details is not None
    assert first.details["attachments"] == [
        {"id": 1, "filename": "Rechnung №1.pdf", "content_type": "application/pdf", "content_id": None}
    ]


async def test_a_promotional_mail_has_one_recipient_and_a_topic(api: Api) -> None:
    two = await api.post("/v1/emails", news(to=["ann@example.org", "bob@example.org"]))
    copied = await api.post("/v1/emails", news(cc="bob@example.org"))
    literal = {"stream": "promotional", "to": "ann@example.org", "subject": "Sale", "html": "<p>Sale</p>"}
    aimless = await api.post("/v1/emails", literal)
    assert (two.status_code, paths(two)) == (422, ["to"])
    assert (copied.status_code, paths(copied)) == (422, ["cc"])
    assert (aimless.status_code, paths(aimless)) == (422, ["topic"])
    assert (await api.post("/v1/emails", {**literal, "topic": "promotions"})).status_code == 202
    assert (await api.post("/v1/emails", news())).status_code == 202


async def test_promotional_content_cannot_be_slipped_through_the_transactional_stream(api: Api) -> None:
    only = await api.with_key("send:transactional")
    assert (await only.post("/v1/emails", mail())).status_code == 202
    assert (await only.post("/v1/emails", news())).status_code == 403
    slipped = await only.post("/v1/emails", news(stream="transactional"))
    assert (slipped.status_code, "stream" in paths(slipped)) == (422, True)
    topical = await only.post("/v1/emails", mail(topic="newsletter"))
    assert (topical.status_code, paths(topical)) == (422, ["topic"])


async def test_promotional_mail_needs_a_postal_address(sqlite: Database) -> None:
    async with world(sqlite, Settings(from_="hello@ringwise.example")) as api:
        response = await api.post("/v1/emails", news())
        assert response.status_code == 422
        assert "MAILER_POSTAL_ADDRESS" in response.text


async def test_promotional_mail_to_a_real_relay_needs_https(sqlite: Database) -> None:
    relays = {"transactional_relay": "smtp://relay.example:25", "promotional_relay": "smtp://relay.example:25"}
    settings = Settings(
        from_="a@b.example",
        postal_address="1 Street",
        public_url="http://mail.example",
        only_to="*@ours.example",
        **relays,
    )
    async with world(sqlite, settings) as api:
        response = await api.post("/v1/emails", news(to="bob@ours.example"))
        assert response.status_code == 422
        assert "https" in response.text
        # Captured mail leaves by no relay, so its links may be http.
        assert (await api.post("/v1/emails", news())).status_code == 202
        [email] = await stored(api)
        assert email.captured


async def test_a_key_that_captures_captures(api: Api) -> None:
    inbox = await api.with_key("send:transactional", captures=True)
    await inbox.post("/v1/emails", mail())
    await api.post("/v1/emails", mail())
    assert [email.captured for email in await stored(api)] == [True, False]


async def test_a_suppressed_mail_is_accepted_and_says_why(api: Api) -> None:
    entry = await suppress(api, "Ann@Example.org", reason="unsubscribe", scope="stream:promotional")
    response = await api.post("/v1/emails", news())
    assert response.status_code == 202
    answer = PlacedView.model_validate(data(response))
    assert answer.status is Status.SUPPRESSED
    assert answer.suppression is not None
    assert (answer.suppression.id, answer.suppression.reason) == (entry["id"], "unsubscribe")
    assert api.service.rung == []
    assert PlacedView.model_validate(data(await api.post("/v1/emails", mail()))).status is Status.QUEUED
    shown = data(await api.get(f"/v1/emails/{answer.id}"))
    assert shown["suppression"] == {"id": entry["id"], "reason": "unsubscribe"}
    assert "email.suppressed" in json.dumps(shown["events"])


async def test_a_schedule_waits_and_the_past_is_now(api: Api) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    scheduled = data(await api.post("/v1/emails", mail(scheduled_at=later.isoformat())))
    assert (scheduled["status"], api.service.rung) == ("scheduled", [])
    past = data(await api.post("/v1/emails", mail(scheduled_at="2020-01-01T00:00:00+02:00")))
    assert (past["status"], api.service.rung) == ("queued", [Stream.TRANSACTIONAL])
    moved = await api.call("PATCH", f"/v1/emails/{scheduled['id']}", {"scheduled_at": "2020-01-01T00:00:00Z"})
    assert ChangedView.model_validate(data(moved)).status is Status.QUEUED
    assert len(api.service.rung) == 2
    bad = await api.call("PATCH", f"/v1/emails/{scheduled['id']}", {"scheduled_at": "soon"})
    assert (bad.status_code, paths(bad)) == (422, ["scheduled_at"])


async def test_a_waiting_mail_can_be_cancelled_and_a_sent_one_cannot(api: Api) -> None:
    identifier = data(await api.post("/v1/emails", mail()))["id"]
    for _ in range(2):
        cancelled = await api.post(f"/v1/emails/{identifier}/cancel")
        assert ChangedView.model_validate(data(cancelled)).status is Status.CANCELLED
    late = await api.call("PATCH", f"/v1/emails/{identifier}", {"scheduled_at": "2090-01-01T00:00:00Z"})
    assert late.status_code == 409
    other = data(await api.post("/v1/emails", mail()))["id"]

    def sent(session: Session) -> None:
        session.get_one(Email, other).status = Status.SENT

    await api.service.database.run(sent)
    assert (await api.post(f"/v1/emails/{other}/cancel")).status_code == 409
    assert (await api.post("/v1/emails/em_unknown/cancel")).status_code == 404


async def test_a_key_cancels_only_mail_that_it_could_send(api: Api) -> None:
    identifier = data(await api.post("/v1/emails", news()))["id"]
    only = await api.with_key("send:transactional")
    assert (await only.post(f"/v1/emails/{identifier}/cancel")).status_code == 403


async def test_a_batch_answers_each_in_order(api: Api) -> None:
    await suppress(api, "cid@example.org")
    batch = [
        mail(),
        mail(to="nobody"),
        mail(to="cid@example.org"),
        5,
        mail(template="nope", subject=None, text=None),
        mail(to=["a@example.org", "b@example.org"]),
        news(to="dan@example.org"),
    ]
    response = await api.post("/v1/emails/batch", {"emails": batch})
    assert response.status_code == 202, response.text
    BatchView.model_validate(data(response))
    answers = rows(response)
    assert [each.get("status") for each in answers] == ["queued", 422, "suppressed", 422, 422, None, "queued"]
    assert json.loads(json.dumps(answers[1]))["errors"][0]["path"] == "to"
    assert len(SeveralView.model_validate(answers[5]).data) == 2
    assert sorted(api.service.rung) == [Stream.PROMOTIONAL, Stream.TRANSACTIONAL]
    assert len(await stored(api)) == 5


async def test_a_batch_by_a_key_of_one_stream_refuses_the_other(api: Api) -> None:
    only = await api.with_key("send:transactional")
    answers = rows(await only.post("/v1/emails/batch", {"emails": [news(), mail()]}))
    assert [each["status"] for each in answers] == [403, "queued"]


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "emails"),
        ({"emails": []}, "emails"),
        ({"emails": "x"}, "emails"),
        ({"emails": [{}] * 1001}, "emails"),
        ({"emails": [{}], "more": 1}, "more"),
        ([], ""),
    ],
    ids=["nothing", "empty", "text", "1001", "more", "list"],
)
async def test_a_batch_that_is_none_is_422(api: Api, body: object, path: str) -> None:
    response = await api.post("/v1/emails/batch", body)
    assert (response.status_code, paths(response)) == (422, [path])


async def test_the_same_request_is_done_once(api: Api) -> None:
    body = json.dumps(mail()).encode()
    first = await api.post("/v1/emails", body, Idempotency_Key="order-1")
    again = await api.post("/v1/emails", body, Idempotency_Key="order-1")
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    other = await api.post("/v1/emails", mail(subject="Other"), Idempotency_Key="order-1")
    assert other.status_code == 409
    batch = await api.post("/v1/emails/batch", {"emails": [mail()]}, Idempotency_Key="order-1")
    assert batch.status_code == 202
    assert len(await stored(api)) == 2
    assert api.service.rung == [Stream.TRANSACTIONAL] * 2


async def test_a_refusal_is_repeated_too(api: Api) -> None:
    body = json.dumps(mail(topic="no-such-topic")).encode()
    first = await api.post("/v1/emails", body, Idempotency_Key="k")
    again = await api.post("/v1/emails", body, Idempotency_Key="k")
    assert first.status_code == again.status_code == 422
    assert first.content == again.content
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/problem+json"


async def test_what_failed_by_our_fault_may_be_asked_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps(mail()).encode()
    with monkeypatch.context() as patched:
        patched.setattr("mailer.submission.submit_together", lambda *_: 1 / 0)
        patched.setattr("mailer.submission.submit", lambda *_: 1 / 0)
        broken = await api.post("/v1/emails", body, Idempotency_Key="k")
    assert broken.status_code == 500
    assert "ZeroDivision" not in broken.text
    assert (await api.post("/v1/emails", body, Idempotency_Key="k")).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 257])
async def test_an_idempotency_key_has_1_to_256_characters(api: Api, key: str) -> None:
    response = await api.post("/v1/emails", mail(), Idempotency_Key=key)
    assert (response.status_code, paths(response)) == (422, ["Idempotency-Key"])


async def test_the_same_request_ten_times_at_once_is_done_once(database: Database) -> None:
    async with world(database) as api:
        body = json.dumps(mail()).encode()
        answers = await asyncio.gather(*(api.post("/v1/emails", body, Idempotency_Key="k") for _ in range(10)))
        assert {answer.status_code for answer in answers} <= {202, 409}
        assert len({answer.content for answer in answers if answer.status_code == 202}) == 1
        assert len(await stored(api)) == 1
        assert (await api.post("/v1/emails", body, Idempotency_Key="k")).headers["idempotency-replayed"] == "true"


async def test_many_at_once_are_all_accepted(database: Database) -> None:
    async with world(database) as api:
        one = (api.post("/v1/emails", mail(to=f"p{i}@example.org", tags={"campaign": "x"})) for i in range(30))
        many = [api.post("/v1/emails/batch", {"emails": [news(to=f"q{i}@example.org") for i in range(20)]})] * 1
        answers = await asyncio.gather(*one, *many)
        assert {answer.status_code for answer in answers} == {202}
        assert len(await stored(api)) == 50


async def test_a_mail_can_be_looked_at_without_sending(api: Api) -> None:
    response = await api.post("/v1/emails/render", {"template": "welcome", "variables": variables("welcome")})
    assert response.status_code == 200, response.text
    shown = RenderedView.model_validate(data(response))
    assert shown.subject
    assert shown.html
    assert shown.text
    uk = await api.post("/v1/emails/render", {"template": "welcome", "locale": "uk", "variables": variables("welcome")})
    assert data(uk)["subject"] != shown.subject
    literal = await api.post("/v1/emails/render", {"subject": "{{ 1 }}", "text": "{% raw"})
    assert (data(literal)["subject"], data(literal)["html"]) == ("{{ 1 }}", None)
    missing = await api.post("/v1/emails/render", {"template": "welcome"})
    assert (missing.status_code, "variables.name" in paths(missing)) == (422, True)
    unknown = await api.post("/v1/emails/render", {"template": "nope"})
    assert (unknown.status_code, paths(unknown)) == (422, ["template"])
    assert await stored(api) == []


@pytest.mark.parametrize("name", ["Reply-To", "reply-to", "REPLY-TO"])
async def test_reply_to_is_no_header(api: Api, name: str) -> None:
    response = await api.post("/v1/emails", mail(headers={name: "ann@example.org"}))
    assert (response.status_code, paths(response)) == (422, [f"headers.{name}"])
    assert "reply_to" in response.text


async def test_a_list_is_answered_by_a_list(api: Api) -> None:
    for to in (["ann@example.org"], ["ann@example.org", "ANN@example.org"]):
        response = await api.post("/v1/emails", mail(to=to))
        assert [each.to for each in SeveralView.model_validate(data(response)).data] == ["ann@example.org"]
    PlacedView.model_validate(data(await api.post("/v1/emails", mail(to={"email": "ann@example.org"}))))
    SeveralView.model_validate(data(await api.post("/v1/emails", mail(cc="ann@example.org"))))
    batch = [mail(), mail(to=["ann@example.org"]), 5]
    one, several, bad = rows(await api.post("/v1/emails/batch", {"emails": batch}))
    PlacedView.model_validate(one)
    assert len(SeveralView.model_validate(several).data) == 1
    assert bad["status"] == 422


async def test_what_is_about_to_be_sent_can_be_looked_at(api: Api) -> None:
    asked = mail(cc="bob@example.org", tags={"a": "b"}, headers={"X-A": "1"}, scheduled_at="2090-01-01T00:00:00Z")
    assert data(await api.post("/v1/emails/render", asked))["subject"] == "Hello"
    literal = {"stream": "promotional", "to": "ann@example.org", "subject": "Sale", "html": "<p>Sale</p>"}
    shown = data(await api.post("/v1/emails/render", {**literal, "topic": "promotions"}))
    assert "https://preview.invalid/" in str(shown["html"])
    assert "1 Main Street, Kyiv" in str(shown["html"])
    for change, path in (({"to": "nobody"}, "to"), ({"topic": "nope"}, "topic"), ({"surprise": 1}, "surprise")):
        wrong = await api.post("/v1/emails/render", {**literal, **change})
        assert (wrong.status_code, paths(wrong)) == (422, [path])
    assert await stored(api) == []


@pytest.mark.parametrize(
    ("to", "sentence"),
    [([], "name at least one recipient"), (None, "must be an address, an object with email and name, or a list")],
)
async def test_nobody_is_told_in_english(api: Api, to: object, sentence: str) -> None:
    response = await api.post("/v1/emails", mail(to=to))
    assert (response.status_code, paths(response)) == (422, ["to"])
    assert sentence in response.text


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"text": "a\0b"}, "text"),
        ({"html": "<p>a\0b</p>"}, "html"),
        ({"subject": "a\0b"}, "subject"),
        ({"metadata": {"order": [{"id": "\0"}]}}, "metadata.order[0].id"),
        ({"metadata": {"a\0b": 1}}, "metadata.a\ufffdb"),
        ({"tags": {"season": "\0"}}, "tags.season"),
    ],
)
async def test_a_nul_is_refused_by_its_field_and_in_a_batch_for_itself(api: Api, changed: Json, path: str) -> None:
    good: Json = {"stream": "transactional", "to": "ann@example.org", "subject": "Hi", "text": "write \\u0000 for it"}
    good["metadata"] = {"path": "C:\\u0000"}
    response = await api.post("/v1/emails", {**good, **changed})
    assert (response.status_code, paths(response)) == (422, [path])
    batch = await api.post("/v1/emails/batch", {"emails": [{**good, **changed}, good]})
    assert [each.get("status") for each in rows(batch)] == [422, "queued"]
    assert (await api.get("/v1/emails")).status_code == 200


async def test_a_nul_in_a_template_is_refused_by_its_part(api: Api) -> None:
    whole = {"name": "note", "stream": "transactional", "parts": {"en": {"subject": "Hi", "text": "a\0b"}}}
    response = await api.post("/v1/templates", whole)
    assert (response.status_code, paths(response)) == (422, ["parts.en.text"])
