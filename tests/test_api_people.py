"""The product's own profile page: what a person gets, and what they choose there."""

from collections.abc import AsyncIterator
from typing import cast

import pytest
from sqlmodel import Session

from mailer import people
from mailer.database import Database
from mailer.web.api import shapes
from suppression import rules
from suppression.address import parse
from suppression.entries import NewEntry
from suppression.rules import Origin, Reason
from tests.test_api_world import Api, Json, data, paths, stored, world

ANN = "/v1/people/Ann@Example.org"
PROOF = {"source": "profile page", "wording": "v7"}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database) as api:
        yield await api.with_key("people", "suppressions", "send:transactional", "send:promotional")


async def patch(api: Api, **body: object) -> Json:
    answer = await api.call("PATCH", ANN, body)
    assert answer.status_code == 200, answer.text
    shapes.PersonView.model_validate(data(answer))
    return data(answer)


def gets(person: Json) -> set[str]:
    return {str(each["key"]) for each in cast("list[Json]", person["topics"]) if each["gets"]}


async def test_leaving_needs_no_proof_and_coming_back_does(api: Api) -> None:
    everything = gets(data(await api.get(ANN)))
    assert gets(await patch(api, topics={"newsletter": False}, reason="too many")) == everything - {"newsletter"}
    refused = await api.call("PATCH", ANN, {"topics": {"newsletter": True}, "tracking": True})
    assert (refused.status_code, paths(refused)) == (422, ["source", "wording"])
    back = await patch(api, topics={"newsletter": True}, **PROOF)
    assert gets(back) == everything
    (yes,) = cast("list[Json]", back["consents"])
    assert (yes["purpose"], yes["granted"], yes["source"], yes["wording"]) == (
        "topic:newsletter",
        True,
        "profile page",
        "v7",
    )
    kinds = {str(each["type"]) for each in cast("list[Json]", back["timeline"])}
    assert kinds == {"suppression.created", "suppression.lifted", "consent.changed"}


async def test_all_promotional_mail_a_pause_and_the_undo(api: Api) -> None:
    left = await patch(api, promotional=False)
    assert (left["all_promotional_left"], gets(left), left["undoable"]) == (True, {"notifications"}, True)
    back = await patch(api, undo=True)
    assert (back["all_promotional_left"], back["undoable"]) == (False, False)
    assert (await api.call("PATCH", ANN, {"undo": True})).status_code == 409
    assert (await patch(api, snoozed=True))["snoozed_until"] is not None
    assert (await patch(api, snoozed=False))["snoozed_until"] is None


async def test_r9_3_a_complaint_is_never_ended_by_the_api(api: Api) -> None:
    prints = api.service.intake.fingerprints

    def complain(session: Session) -> None:
        new = NewEntry(
            tenant_id=api.tenant_id,
            fingerprint=prints.of(api.tenant_id, parse("ann@example.org").canonical),
            key_id=prints.primary_id,
            reason=Reason.COMPLAINT,
            scope=rules.STREAM_PROMOTIONAL,
            origin=Origin.PROVIDER,
        )
        people.suppress(session, new, api.service.now())

    await api.service.database.run(complain)
    answer = await api.call("PATCH", ANN, {"topics": {"newsletter": True}, **PROOF})
    assert answer.status_code == 409
    assert data(await api.get(ANN))["complained"] is True


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"topics": {"nope": False}}, "topics.nope"),
        ({"topics": {"events": True}, "promotional": False}, "topics"),
        ({"undo": True, "locale": "uk"}, "undo"),
        ({"locale": "Klingon!"}, "locale"),
        ({"admin": True}, "admin"),
    ],
)
async def test_what_cannot_be_is_one_sentence(api: Api, body: Json, path: str) -> None:
    answer = await api.call("PATCH", ANN, body)
    assert (answer.status_code, paths(answer)) == (422, [path])


async def test_the_language_of_a_person_holds_where_a_request_names_none(api: Api) -> None:
    assert (await patch(api, locale="uk"))["locale"] == "uk"
    mail: Json = {"stream": "transactional", "to": "ann@example.org", "subject": "Hi", "text": "Hi"}
    await api.post("/v1/emails", mail)
    await api.post("/v1/emails", {**mail, "locale": "en"})
    await api.post("/v1/emails", {**mail, "to": "bob@example.org"})
    assert [(email.address, email.locale) for email in await stored(api)] == [
        ("ann@example.org", "uk"),
        ("ann@example.org", "en"),
        ("bob@example.org", "en"),
    ]
    await patch(api, locale=None)
    assert data(await api.get(ANN))["locale"] is None


async def test_people_of_tenants_never_meet_and_the_scope_is_asked(api: Api) -> None:
    other = await (await api.of_tenant("acme")).with_key("people")
    await patch(api, promotional=False)
    assert data(await other.get(ANN))["all_promotional_left"] is False
    assert data(await other.get(ANN))["timeline"] == []
    reader = await api.with_key("read")
    assert (await reader.get(ANN)).status_code == 403
    assert (await api.get("/v1/people/nobody")).status_code == 404


async def test_topics_change_but_their_key_and_stream(api: Api) -> None:
    admin = await api.with_key("admin")
    changed = await admin.call("PATCH", "/v1/topics/surveys", {"visibility": "private", "names": {"en": "Questions"}})
    assert (data(changed)["visibility"], data(changed)["names"]) == ("private", {"en": "Questions"})
    for body, path in (({"opt_out": "never"}, "opt_out"), ({"key": "x"}, "key"), ({"default": None}, "default")):
        refused = await admin.call("PATCH", "/v1/topics/surveys", body)
        assert (refused.status_code, paths(refused)) == (422, [path])
    assert (await admin.call("PATCH", "/v1/topics/nope", {"default": "opt_out"})).status_code == 404


async def test_a_fresh_yes_ends_a_pause_unless_they_say_that_it_goes_on(api: Api) -> None:
    await patch(api, topics={"newsletter": False, "notifications": False}, snoozed=True)
    assert (await patch(api, topics={"notifications": True}, **PROOF))["snoozed_until"] is not None
    assert (await patch(api, topics={"newsletter": True}, snoozed=True, **PROOF))["snoozed_until"] is not None
    await patch(api, topics={"newsletter": False})
    assert (await patch(api, topics={"newsletter": True}, **PROOF))["snoozed_until"] is None


async def test_a_topic_that_asks_for_a_yes_can_be_left(api: Api) -> None:
    admin = await api.with_key("admin")
    asks = {"key": "beta", "stream": "transactional", "default": "opt_out", "opt_out": "never"}
    refused = await admin.post("/v1/topics", asks)
    assert (refused.status_code, paths(refused)) == (422, ["opt_out"])
    assert "must be able to take it back" in refused.text
    for first, second in (
        ({"default": "opt_out"}, {"opt_out": "never"}),
        ({"opt_out": "never"}, {"default": "opt_out"}),
    ):
        await admin.post("/v1/topics", {"key": f"t-{next(iter(first))[:3]}", "stream": "transactional", **first})
        path = f"/v1/topics/t-{next(iter(first))[:3]}"
        assert paths(await admin.call("PATCH", path, second)) == ["opt_out"]
    both = await admin.call("PATCH", "/v1/topics/t-opt", {"default": "opt_out", "opt_out": "allowed"})
    assert data(both)["default"] == "opt_out"
