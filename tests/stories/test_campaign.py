"""A campaign over a real service: everybody gets it once, whoever opted out does not, and a pause is silent."""

import time
from pathlib import Path

import httpx2

from tests.stories.served import serving

NUMBER = 400
_HELD = "held"


def progress(client: httpx2.Client, campaign: str) -> dict[str, int]:
    found: dict[str, int] = client.get(f"/v1/campaigns/{campaign}").json()["progress"]
    return found


def until_nobody_is_left(client: httpx2.Client, campaign: str, seconds: float = 30) -> dict[str, int]:
    end = time.monotonic() + seconds
    while (found := progress(client, campaign))[_HELD]:
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found


def settled(client: httpx2.Client, campaign: str) -> dict[str, int]:
    """Return the sums once they rest."""
    found = progress(client, campaign)
    while True:
        time.sleep(0.5)
        if (later := progress(client, campaign)) == found:
            return found
        found = later


def reached_by(client: httpx2.Client, campaign: str) -> list[str]:
    """Return to whom it was sent."""
    found, after = list[str](), ""
    while True:
        page = client.get(f"/v1/campaigns/{campaign}/recipients?status=sent&limit=200{after}").json()
        found += [email["to"] for email in page["data"]]
        if not page["has_more"]:
            return found
        after = f"&after={page['data'][-1]['id']}"


def test_a_campaign_reaches_everybody_once(tmp_path: Path) -> None:
    with serving(tmp_path) as served, served.client("campaigns", "suppressions", "read") as client:
        made = {"name": "Spring", "template": "newsletter"}
        example = client.get("/v1/templates/newsletter").json()["example"]
        headline = example.pop("headline")
        campaign = client.post("/v1/campaigns", json={**made, "variables": example}).json()["id"]
        people = "".join(f"p{place}@example.org,{headline}\n" for place in range(NUMBER))
        client.post("/v1/suppressions", json={"email": "p0@example.org"})
        table = {"Content-Type": "text/csv"}
        path = f"/v1/campaigns/{campaign}/recipients"
        added = client.post(path, content=f"email,headline\n{people}", headers=table).json()
        assert (added["new"], added["suppressed"]) == (NUMBER - 1, 1), added
        time.sleep(1)
        assert progress(client, campaign)["sent"] == 0, "nothing is sent before the start"
        client.post("/v1/suppressions", json={"email": "p1@example.org", "reason": "manual"})
        assert client.post(f"/v1/campaigns/{campaign}/start").status_code == 200
        assert client.post(f"/v1/campaigns/{campaign}/pause").status_code == 200
        paused = settled(client, campaign)
        assert paused["requested"] == sum(paused.values()) - paused["requested"]
        time.sleep(1)
        assert progress(client, campaign) == paused, "a pause is silent"
        assert client.post(f"/v1/campaigns/{campaign}/resume").status_code == 200
        # The upload is repeated while it runs, with one who is new.
        again = client.post(path, content=f"email,headline\n{people}late@example.org,Hi\n", headers=table).json()
        assert (again["new"], again["duplicates"]) == (1, NUMBER)
        ended = until_nobody_is_left(client, campaign)
        assert (ended["requested"], ended["suppressed"], ended["sent"]) == (NUMBER + 1, 2, NUMBER - 1), ended
        reached = reached_by(client, campaign)
        assert sorted(reached) == sorted([f"p{place}@example.org" for place in range(2, NUMBER)] + ["late@example.org"])
