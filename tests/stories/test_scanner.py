"""A scanner presses every button within seconds: honoured, shown to the marketer, undone in bulk; and support."""

import json
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.stories.served import Served, serving
from tests.stories.test_opt_out import captured, one_click

PEOPLE = [f"p{place}@corp.example" for place in range(14)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("scanned")) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.client("campaigns", "send:promotional", "suppressions", "read") as client:
        yield client


def allowed(client: httpx2.Client, email: str, **more: str) -> bool:
    asked = {"email": email, "stream": "promotional", **more}
    return bool(client.get("/v1/suppressions/check", params=asked).json()["allowed"])


def campaign_to(client: httpx2.Client, people: list[str]) -> str:
    made = {"name": "Autumn", "topic": "newsletter", "subject": "Autumn", "text": "It is here."}
    campaign = str(client.post("/v1/campaigns", json=made).json()["id"])
    path = f"/v1/campaigns/{campaign}"
    client.post(f"{path}/recipients", json={"recipients": [{"email": each} for each in people]})
    assert client.post(f"{path}/start").status_code == 200
    until = time.monotonic() + 30
    while client.get(path).json()["progress"]["sent"] < len(people):
        assert time.monotonic() < until
        time.sleep(0.1)
    return campaign


def alarms_of(client: httpx2.Client, campaign: str, opt_outs: int) -> list[dict[str, object]]:
    """Return the alarms of a campaign, once the clock has seen so many opt-outs: it may look amid a burst."""
    until = time.monotonic() + 30
    while True:
        asked = client.get("/v1/suppressions/alarms", params={"campaign_id": campaign})
        assert asked.status_code == 200, asked.text
        found: list[dict[str, object]] = asked.json()["data"]
        if (found and all(each["opt_outs"] == opt_outs for each in found)) or time.monotonic() > until:
            return found
        time.sleep(0.5)


def test_a_burst_is_honoured_shown_and_undone(served: Served, client: httpx2.Client) -> None:
    campaign = campaign_to(client, PEOPLE)
    links = {each: one_click(captured(client, each)[0]) for each in PEOPLE}
    with httpx2.Client(trust_env=False) as scanner:
        for link in links.values():
            assert scanner.post(link, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert not any(allowed(client, each) for each in PEOPLE), "a scanner's opt-out counts like any other"
    found = alarms_of(client, campaign, 14)
    assert {(alarm["kind"], alarm["value"], alarm["opt_outs"]) for alarm in found} == {
        ("domain", "corp.example", 14),
        ("network", "127.0.0.0/24", 14),
    }
    report = client.get(f"/v1/campaigns/{campaign}/report").json()
    assert report["alarms"] == found
    assert "perhaps a scanner's" in served.run("campaign", "report", campaign)
    # Two of them ask support as well: that is their own word.
    for person in PEOPLE[:2]:
        served.run("suppression", "optout", person, "--note", "wrote to support, ticket 7")
    (alarm,) = [str(alarm["id"]) for alarm in found if alarm["kind"] == "domain"]
    assert client.post(f"/v1/suppressions/alarms/{alarm}/undo", json={}).status_code == 422
    assert client.post("/v1/suppressions/alarms/al_none/undo", json={"note": "x"}).status_code == 404
    undone = client.post(f"/v1/suppressions/alarms/{alarm}/undo", json={"note": "their gateway"}).json()
    assert (undone["lifted"], undone["left_out"]) == (12, 2)
    assert undone["note"].endswith("their gateway")
    assert [allowed(client, each) for each in PEOPLE] == [False] * 2 + [True] * 12
    (other,) = [str(each["id"]) for each in found if each["kind"] == "network"]
    again = json.loads(served.run("suppression", "undo-alarm", other, "--note", "the same", "--json"))
    assert again == {"id": other, "lifted": 0, "left_out": 14}
    shown = json.loads(served.run("suppression", "alarms", "--campaign", campaign, "--json"))["data"]
    assert all(alarm["undone_at"] for alarm in shown)
    numbers = client.get(f"/v1/campaigns/{campaign}/report").json()["numbers"]
    assert (numbers["unsubscribed"]["value"], numbers["resubscribed"]["value"]) == (14, 12)


def test_support_opts_out_as_the_person_asked(served: Served, client: httpx2.Client) -> None:
    campaign_to(client, ["ann@example.org"])
    words = ("suppression", "optout", "Ann@Example.org", "--note", "ticket 8")
    one = json.loads(served.run(*words, "--topic", "surveys", "--json"))
    assert (one["scope"], one["created"]) == ("topic:surveys", True)
    assert not allowed(client, "ann@example.org", topic="surveys")
    assert allowed(client, "ann@example.org", topic="newsletter")
    assert json.loads(served.run(*words, "--json"))["scope"] == "stream:promotional"
    assert json.loads(served.run(*words, "--all", "--json"))["scope"] == "all"
    notified = {"stream": "transactional", "topic": "notifications"}
    assert not allowed(client, "ann@example.org", **notified)
    assert allowed(client, "ann@example.org", stream="transactional")
    listed = client.get("/v1/suppressions", params={"email": "ann@example.org"}).json()["data"]
    assert {(entry["reason"], entry["origin"], entry["note"]) for entry in listed} == {
        ("unsubscribe", "recipient", "ticket 8")
    }
    assert {entry["evidence"]["channel"] for entry in listed} == {"support"}
    # An operator cannot take back what a person asked for.
    lifted = client.request("DELETE", f"/v1/suppressions/{one['id']}", json={"note": "a mistake"})
    assert lifted.status_code == 409 or lifted.status_code == 422, lifted.text


@pytest.mark.parametrize("words", [["--topic", "nope"], ["--topic", "newsletter", "--all"], []])
def test_support_says_what_is_wrong(served: Served, words: list[str]) -> None:
    note = ["--note", "x"] if words else []
    with pytest.raises(AssertionError, match=r"topic|note"):
        served.run("suppression", "optout", "ann@example.org", *words, *note)
