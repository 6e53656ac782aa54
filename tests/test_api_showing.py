"""Product code asks: what became of its mail, which templates and topics there are, who gets nothing and why."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError

from mailer.database import Database
from mailer.web.api import shapes
from mailer.web.api.endpoints import ENDPOINTS
from mailer.web.api.hooks import HOOKS
from tests.test_api_world import Api, Json, data, mail, news, paths, rows, variables, world

TEMPLATE: Json = {
    "name": "greeting",
    "stream": "transactional",
    "variables": {"name": {"type": "string", "example": "Ann"}},
    "parts": {
        "en": {
            "subject": "Hello {{ name }}",
            "html": '{% extends "_base/layout.html" %}{% block content %}<p>Hello {{ name }}</p>{% endblock %}',
        }
    },
}


@pytest.fixture
async def api(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite) as api:
        yield api


async def test_no_key_or_an_unknown_one_is_401_and_a_missing_scope_403(api: Api) -> None:
    for endpoint in ENDPOINTS:
        path = endpoint.path.format(id="x", name="x", number="1", email="x", key="x")
        for key in ("", "mk_unknown", "kü"):
            stranger = Api(api.service, api.http, api.tenant_id, "")
            answer = await stranger.call(
                endpoint.method,
                path,
                None,
                **({"Authorization": f"Bearer {key}".encode()} if key else {}),  # type: ignore[arg-type]
            )
            assert answer.status_code == 401, endpoint
            assert answer.headers["www-authenticate"].startswith("Bearer")
            shapes.ProblemDocument.model_validate(data(answer))
        limited = await api.with_key("campaigns" if "webhooks" in endpoint.scopes else "webhooks")
        assert (await limited.call(endpoint.method, path)).status_code == 403, endpoint


async def test_a_key_that_sends_reads_nothing(api: Api) -> None:
    sender = await api.with_key("send:transactional", "send:promotional")
    identifier = data(await sender.post("/v1/emails", mail()))["id"]
    for path in ("/v1/emails", f"/v1/emails/{identifier}", "/v1/templates", "/v1/metrics", "/v1/suppressions"):
        assert (await sender.get(path)).status_code == 403


async def test_an_email_is_shown_whole(api: Api) -> None:
    asked = mail(tags={"campaign": "spring"}, metadata={"order": [1, {"a": None}]}, expires_at="2090-01-01T00:00:00Z")
    identifier = data(await api.post("/v1/emails", asked))["id"]
    shown = data(await api.get(f"/v1/emails/{identifier}"))
    shapes.EmailView.model_validate(shown)
    assert (shown["to"], shown["subject"], shown["from"]) == (
        "ann@example.org",
        "Hello",
        "Ringwise <hello@ringwise.example>",
    )
    assert (shown["tags"], shown["metadata"]) == ({"campaign": "spring"}, {"order": [1, {"a": None}]})
    assert str(shown["expires_at"]) == "2090-01-01T00:00:00Z"
    assert shown["events"] == [{"type": "email.queued", "at": shown["created_at"]}]


async def test_lists_page_from_the_newest_and_filter(api: Api) -> None:
    made = [data(await api.post("/v1/emails", mail(to=f"p{i}@example.org"))) for i in range(5)]
    wanted = [each["id"] for each in reversed(made)]
    seen: list[object] = []
    after = ""
    while True:
        page = await api.get(f"/v1/emails?limit=2{after}")
        shapes.EmailPage.model_validate(data(page))
        seen += [each["id"] for each in rows(page)]
        if not data(page)["has_more"]:
            break
        after = f"&after={seen[-1]}"
    assert seen == wanted
    await api.post("/v1/emails", news(to="P1@example.org", tags={"campaign": "spring sale"}))

    async def found(query: str) -> int:
        return len(rows(await api.get(f"/v1/emails?{query}")))

    assert await found("to=p1@EXAMPLE.org") == 2
    assert await found("stream=promotional") == 1
    assert await found("status=queued") == 6
    assert await found("status=sent") == 0
    assert await found("topic=newsletter") == 1
    assert await found("campaign_id=ca_x") == 0
    assert await found("tag=" + quote("campaign=spring sale")) == 1
    assert await found("tag=" + quote("campaign=spring")) == 0


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/v1/emails?limit=0", "limit"),
        ("/v1/emails?limit=x", "limit"),
        ("/v1/emails?stream=x", "stream"),
        ("/v1/emails?to=x", "to"),
        ("/v1/emails?tag=x", "tag"),
        ("/v1/emails?surprise=1", "surprise"),
        ("/v1/metrics?days=0", "days"),
        ("/v1/metrics?from=x", "from"),
        ("/v1/metrics?from=2027-02-01&to=2027-01-01", "from"),
        ("/v1/suppressions/check?stream=promotional", "email"),
        ("/v1/suppressions/check?email=a@b.example&stream=promotional&topic=nope", "topic"),
        ("/v1/suppressions/check?email=a@b.example&stream=transactional&topic=newsletter", "topic"),
    ],
)
async def test_a_wrong_query_is_422_and_named(api: Api, path: str, named: str) -> None:
    response = await api.get(path)
    assert (response.status_code, paths(response)) == (422, [named])


async def test_tenants_never_see_each_other(api: Api) -> None:
    other = await api.of_tenant("acme")
    identifier = data(await api.post("/v1/emails", mail()))["id"]
    entry = data(await api.post("/v1/suppressions", {"email": "ann@example.org"}))
    await api.post("/v1/templates", TEMPLATE)
    await api.post("/v1/topics", {"key": "secret-topic", "stream": "promotional"})
    assert (await other.get(f"/v1/emails/{identifier}")).status_code == 404
    assert (await other.post(f"/v1/emails/{identifier}/cancel")).status_code == 404
    assert (
        await other.call("PATCH", f"/v1/emails/{identifier}", {"scheduled_at": "2090-01-01T00:00:00Z"})
    ).status_code == 404
    assert (await other.call("DELETE", f"/v1/suppressions/{entry['id']}?note=x")).status_code == 404
    assert (await other.get("/v1/templates/greeting")).status_code == 404
    assert rows(await other.get("/v1/emails")) == rows(await other.get("/v1/suppressions")) == []
    assert "secret-topic" not in (await other.get("/v1/topics")).text
    check = data(await other.get("/v1/suppressions/check?email=ann@example.org&stream=transactional"))
    assert check["allowed"] is True
    assert data(await other.post("/v1/emails", mail()))["status"] == "queued"
    assert (await other.post("/v1/emails", mail(**{"from": "hello@ringwise.example"}))).status_code == 422
    key = {"Idempotency_Key": "same"}
    first, second = (
        await api.post("/v1/emails", mail(to="x@y.example"), **key),
        await other.post("/v1/emails", mail(), **key),
    )
    assert (first.status_code, second.status_code) == (202, 202)
    numbers = data(await other.get("/v1/metrics"))["numbers"]
    assert isinstance(numbers, dict)
    assert numbers["requested"]["value"] == 2


async def test_templates_are_listed_saved_and_versioned(api: Api) -> None:
    listed = await api.get("/v1/templates")
    shapes.TemplatePage.model_validate(data(listed))
    assert "welcome" in {each["name"] for each in rows(listed)}
    shown = data(await api.get("/v1/templates/welcome"))
    shapes.TemplateView.model_validate(shown)
    assert (shown["shipped"], shown["locales"]) == (True, ["en", "uk"])
    for number in (1, 2, 2):
        subject = f"Hello {{{{ name }}}}, {number}"
        parts = {"en": {"subject": subject, "text": "Hello {{ name }}"}}
        saved = await api.post("/v1/templates", {**TEMPLATE, "parts": parts})
        assert saved.status_code == 201, saved.text
        assert shapes.TemplateView.model_validate(data(saved)).version == number
    versions = await api.get("/v1/templates/greeting/versions")
    assert [each["version"] for each in rows(versions)] == [2, 1]
    first = shapes.TemplateView.model_validate(data(await api.get("/v1/templates/greeting/versions/1")))
    assert first.parts["en"].subject == "Hello {{ name }}, 1"
    assert (await api.get("/v1/templates/greeting/versions/3")).status_code == 404
    assert (await api.get("/v1/templates/greeting/versions/x")).status_code == 404
    assert (await api.get("/v1/templates/nope")).status_code == 404
    assert len(rows(await api.get("/v1/templates/welcome/versions"))) == 1
    sent = {"template": "greeting", "variables": {"name": "Bob"}, "stream": "transactional", "to": "bob@example.org"}
    identifier = data(await api.post("/v1/emails", sent))["id"]
    assert data(await api.get(f"/v1/emails/{identifier}"))["template_version"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"parts": {"en": {"subject": "Hi", "html": "{% if %}"}}},
        {"parts": {"en": {"subject": "Hi {{ stranger }}", "text": "x"}}},
        {"parts": {"en": {"subject": "Hi", "text": "{{ ''.__class__.__mro__ }}"}}},
        {"parts": {"en": {"subject": "Hi", "text": "{% for i in range(999999999) %}x{% endfor %}"}}},
        {"parts": {"en": {"subject": "Hi"}}},
        {"parts": {}},
        {"parts": {"English please": {"subject": "Hi", "text": "x"}}},
        {"variables": {"name": {"type": "magic"}}},
        {"name": "../etc"},
        {"stream": "bulk"},
        {"topic": "Not A Key"},
    ],
    ids=str,
)
async def test_a_template_that_does_not_render_is_422(api: Api, change: Json) -> None:
    response = await api.post("/v1/templates", {**TEMPLATE, **change})
    assert response.status_code == 422, response.text
    assert (await api.get("/v1/templates/greeting")).status_code == 404


async def test_topics_are_listed_and_made(api: Api) -> None:
    keys = [each["key"] for each in rows(await api.get("/v1/topics"))]
    assert keys == ["events", "newsletter", "notifications", "product-updates", "promotions", "surveys"]
    asked = {"key": "beta-news", "stream": "promotional", "names": {"en": "Beta news"}}
    made = await api.post("/v1/topics", asked)
    assert made.status_code == 201
    assert shapes.TopicView.model_validate(data(made)).may_leave
    assert (await api.post("/v1/topics", asked)).status_code == 409
    fixed = await api.post("/v1/topics", {"key": "fixed", "stream": "promotional", "opt_out": "never"})
    assert (fixed.status_code, paths(fixed)) == (422, ["opt_out"])
    owed = await api.post("/v1/topics", {"key": "owed", "stream": "transactional", "opt_out": "never"})
    assert data(owed)["may_leave"] is False
    club = {"key": "club", "stream": "promotional", "default": "opt_out", "visibility": "private"}
    shown = shapes.TopicView.model_validate(data(await api.post("/v1/topics", club)))
    assert (shown.default, shown.visibility) == ("opt_out", "private")
    odd = await api.post("/v1/topics", {**club, "key": "odd", "default": "maybe", "visibility": "hidden"})
    assert (odd.status_code, paths(odd)) == (422, ["default", "visibility"])


async def test_suppressions_are_added_listed_explained_and_lifted(api: Api) -> None:
    added = data(await api.post("/v1/suppressions", {"email": "Ann@example.org", "note": "asked by phone"}))
    assert shapes.AddedView.model_validate(added).created
    again = data(await api.post("/v1/suppressions", {"email": "ann@EXAMPLE.org"}))
    assert (again["id"], again["created"]) == (added["id"], False)
    listed = await api.get("/v1/suppressions?email=ann@example.org&live=true")
    shapes.SuppressionPage.model_validate(data(listed))
    assert [each["id"] for each in rows(listed)] == [added["id"]]
    check = "/v1/suppressions/check?email=ann@example.org&stream=transactional&topic=notifications"
    told = shapes.CheckView.model_validate(data(await api.get(check)))
    assert not told.allowed
    assert told.entry is not None
    assert [rule.rule for rule in told.trace if rule.blocks] == ["manual"]
    nameless = await api.call("DELETE", f"/v1/suppressions/{added['id']}")
    assert (nameless.status_code, paths(nameless)) == (422, ["note"])
    lifted = data(await api.call("DELETE", f"/v1/suppressions/{added['id']}", {"note": "called back"}))
    assert (lifted["lift_note"], str(lifted["lifted_by"])) == ("called back", "operator:all")
    assert data(await api.get(check))["allowed"] is True
    assert len(rows(await api.get("/v1/suppressions"))) == 1


async def test_an_opt_out_is_ended_by_the_person_only(api: Api) -> None:
    entry = {"email": "ann@example.org", "reason": "unsubscribe", "scope": "topic:newsletter"}
    added = data(await api.post("/v1/suppressions", entry))
    refused = await api.call("DELETE", f"/v1/suppressions/{added['id']}", {"note": "we want her back"})
    assert refused.status_code == 409


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ({"email": "x"}, "email"),
        ({"email": "a@b.example", "scope": "everything"}, "scope"),
        ({"email": "a@b.example", "scope": "topic:nope"}, "scope"),
        ({"email": "a@b.example", "reason": "whim"}, "reason"),
        ({"email": "a@b.example", "surprise": 1}, "surprise"),
    ],
)
async def test_a_suppression_that_is_none_is_422(api: Api, entry: Json, path: str) -> None:
    response = await api.post("/v1/suppressions", entry)
    assert (response.status_code, paths(response)) == (422, [path])


async def test_a_suppression_that_does_not_fit_the_policy_is_422(api: Api) -> None:
    wrong = {"email": "a@b.example", "reason": "hard_bounce", "scope": "stream:promotional"}
    assert (await api.post("/v1/suppressions", wrong)).status_code == 422
    assert (await api.post("/v1/suppressions", {"email": "a@b.example", "reason": "snooze"})).status_code == 422
    ends = (datetime.now(UTC) + timedelta(days=7)).isoformat()
    snoozed = await api.post("/v1/suppressions", {"email": "a@b.example", "reason": "snooze", "expires_at": ends})
    assert data(snoozed)["scope"] == "stream:promotional"


async def test_metrics_print_their_formulas(api: Api) -> None:
    await api.post("/v1/suppressions", {"email": "bob@example.org"})
    await api.post(
        "/v1/emails/batch", {"emails": [news(to=f"{n}@example.org", tags={"campaign": "s"}) for n in ("ann", "bob")]}
    )
    await api.post("/v1/emails", mail())
    shown = shapes.MetricsView.model_validate(data(await api.get("/v1/metrics")))
    assert (shown.numbers["requested"].value, shown.numbers["suppressed"].value) == (3, 1)
    assert shown.numbers["open_rate"].value is None
    assert "opened / tracked" in shown.numbers["open_rate"].formula
    assert shown.suppressed_by == {"manual": 1}
    assert (shown.streams["promotional"]["requested"], shown.campaigns["s"]["requested"]) == (2, 2)
    one = shapes.MetricsView.model_validate(data(await api.get("/v1/metrics?tag=campaign%3Ds&stream=promotional")))
    assert one.numbers["requested"].value == 2
    old = shapes.MetricsView.model_validate(data(await api.get("/v1/metrics?to=2020-01-01")))
    assert old.numbers["requested"].value == 0


async def test_an_unknown_method_is_told_all_that_there_are(api: Api) -> None:
    response = await api.call("PUT", "/v1/emails")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
    shapes.ProblemDocument.model_validate(data(response))
    lost = await api.get("/v1/no/such/thing")
    assert lost.status_code == 404
    shapes.ProblemDocument.model_validate(data(lost))


async def test_a_database_that_is_away_is_503(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("SELECT", None, Exception("secret password"))

    monkeypatch.setattr("mailer.submission.submit_together", away)
    response = await api.post("/v1/emails", mail())
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "secret" not in response.text


async def test_the_document_is_valid_and_names_every_endpoint(api: Api) -> None:
    response = await api.http.get("/openapi.json")
    document = data(response)
    validate(document)
    known = document["paths"]
    assert isinstance(known, dict)
    assert {(path, method) for path, methods in known.items() for method in methods} == {
        *((endpoint.path, endpoint.method.lower()) for endpoint in ENDPOINTS),
        *((hook.path, "post") for hook in HOOKS),
    }


async def test_the_page_explains_every_endpoint_without_script_or_strangers(api: Api) -> None:
    page = await api.http.get("/docs")
    assert page.status_code == 200
    assert "script" not in page.headers["content-security-policy"]
    assert not re.search(r"<script|(src|href)=\"?https?:", page.text)
    for endpoint in ENDPOINTS:
        assert endpoint.path in page.text
        assert endpoint.summary.split("`")[0] in page.text


async def test_answers_are_what_the_document_says(api: Api) -> None:
    answers: list[tuple[type[BaseModel], Json]] = [
        (shapes.TopicPage, data(await api.get("/v1/topics"))),
        (shapes.TemplateView, data(await api.get("/v1/templates/newsletter"))),
        (shapes.TemplatePage, data(await api.get("/v1/templates/newsletter/versions"))),
        (
            shapes.RenderedView,
            data(await api.post("/v1/emails/render", {"template": "newsletter", "variables": variables("newsletter")})),
        ),
    ]
    for shape, answer in answers:
        shape.model_validate(answer)


@pytest.mark.parametrize("after", ["zzz", "em_zzz", "ev_01k9zzzzzzzzzzzzzzzzzzzzzz", "01k9zzzzzzzzzzzzzzzzzzzzzz"])
async def test_a_cursor_that_is_none_is_422(api: Api, after: str) -> None:
    response = await api.get(f"/v1/emails?after={after}")
    assert (response.status_code, paths(response)) == (422, ["after"])


async def test_a_tag_without_value_is_told_how_to_write_it(api: Api) -> None:
    response = await api.get("/v1/emails?tag=a")
    assert (response.status_code, paths(response)) == (422, ["tag"])
    assert "tag=name=value" in response.text


async def test_mail_to_the_inbox_is_captured_and_its_subject_listed(api: Api) -> None:
    identifier = data(await api.post("/v1/emails", mail()))["id"]
    [listed] = rows(await api.get("/v1/emails"))
    assert (listed["captured"], listed["subject"]) == (True, "Hello")
    assert data(await api.get(f"/v1/emails/{identifier}"))["captured"] is True


@pytest.mark.parametrize(
    ("parts", "path", "said"),
    [
        ({"en": {"subject": "Hi", "html": "<p>\n{% if %}"}}, "parts.en.html", "line 2"),
        ({"en": {"subject": "Hi {{ stranger }}", "text": "x"}}, "parts.en.subject", "line 1"),
        (
            {
                "de": {"subject": "Hi", "text": "x"},
                "en": {"subject": "Hi", "text": "x"},
                "uk": {"subject": "Hi", "text": "{{ stranger }}"},
            },
            "parts.uk.text",
            "stranger",
        ),
        ({"en": {"subject": "Hi"}}, "parts.en.html", "is required"),
    ],
)
async def test_a_wrong_template_says_where(api: Api, parts: Json, path: str, said: str) -> None:
    response = await api.post("/v1/templates", {**TEMPLATE, "parts": parts})
    assert (response.status_code, paths(response)) == (422, [path])
    assert said in response.text
