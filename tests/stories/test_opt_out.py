"""The promise: who has opted out never gets promotional mail, and nothing else stops."""

import email
import email.policy
import re
from collections.abc import Iterator

import httpx2
import pytest

from tests.stories.served import Served, serving

NEWSLETTER = {
    "stream": "promotional",
    "topic": "newsletter",
    "subject": "News of the week",
    "html": "<html><body><h1>News</h1><p>Three things happened.</p></body></html>",
}
INVOICE = {"stream": "transactional", "subject": "Invoice 7", "text": "Please pay 12 euros."}
_MULTIPART = (
    b"---FormBoundaryjWmhtjORrn",
    b'Content-Disposition: form-data; name="List-Unsubscribe"',
    b"",
    b"One-Click",
    b"---FormBoundaryjWmhtjORrn--",
    b"",
)
#: RFC 8058 sections 8.1 to 8.3, letter by letter; the third lacks its closing boundary there too.
RFC_8058 = {
    "8.1": (b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
    "8.2": (b"List-Unsubscribe=One-Click", "application/x-www-form-urlencoded"),
    "8.3": (
        b"\r\n".join(_MULTIPART),
        "multipart/form-data; boundary=---FormBoundaryjWmhtjORrn",
    ),
    "empty": (b"", ""),
    "wrong type": (b"<xml/>", "text/xml"),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as running:
        yield running


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.client("send:transactional", "send:promotional", "read", "suppressions") as client:
        yield client


def send(client: httpx2.Client, to: str, body: dict[str, str]) -> str:
    answer = client.post("/v1/emails", json={**body, "to": to})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def captured(client: httpx2.Client, to: str) -> list[email.message.EmailMessage]:
    listed = client.get("/inbox.json", params={"to": to}).json()["data"]
    raw = [client.get(f"/inbox/{one['id']}/raw").content for one in listed]
    return [email.message_from_bytes(each, policy=email.policy.default) for each in raw]


def one_click(mail: email.message.EmailMessage) -> str:
    found = re.fullmatch(r"<(http[^<>\s]+)>", str(mail["List-Unsubscribe"]))
    assert found, mail["List-Unsubscribe"]
    return found[1]


@pytest.mark.parametrize("case", RFC_8058)
def test_a_one_click_post_stops_promotional_mail_at_once(served: Served, client: httpx2.Client, case: str) -> None:
    to = f"ann-{case.replace(' ', '-')}@example.org"
    served.settled(client, send(client, to, NEWSLETTER))
    url = one_click(captured(client, to)[0])
    body, kind = RFC_8058[case]
    answer = httpx2.post(url, content=body, headers={"Content-Type": kind} if kind else {}, trust_env=False)
    assert (answer.status_code, answer.headers.get("location")) == (200, None)
    again = client.post("/v1/emails", json={**NEWSLETTER, "to": to}).json()
    assert again["status"] == "suppressed"
    assert again["suppression"]["reason"] == "unsubscribe"
    assert served.settled(client, send(client, to, INVOICE))["status"] == "sent"
    assert len(captured(client, to)) == 2


def test_getting_every_link_a_hundred_times_changes_nothing(served: Served, client: httpx2.Client) -> None:
    to = "scanned@example.org"
    served.settled(client, send(client, to, NEWSLETTER))
    mail = captured(client, to)[0]
    html = mail.get_body(("html",))
    assert html is not None
    links = set(re.findall(r'(?:href|src)="(http[^"]+)"', html.get_content())) | {one_click(mail)}
    assert len(links) >= 4
    # Each new client reads all certificates of the system anew: that took most of this.
    with httpx2.Client(trust_env=False) as scanner:
        for link in sorted(links):
            for method in ("GET", "HEAD") * 50:
                assert scanner.request(method, link).status_code == 200
    check = client.get("/v1/suppressions/check", params={"email": to, "stream": "promotional"}).json()
    assert check["allowed"] is True
    assert served.settled(client, send(client, to, NEWSLETTER))["status"] == "sent"


def test_an_opt_out_between_submission_and_delivery_holds(served: Served, client: httpx2.Client) -> None:
    to = "late@example.org"
    served.settled(client, send(client, to, NEWSLETTER))
    waiting = client.post("/v1/emails", json={**NEWSLETTER, "to": to, "scheduled_at": "2090-01-01T00:00:00Z"}).json()
    assert waiting["status"] == "scheduled"
    httpx2.post(one_click(captured(client, to)[0]), trust_env=False)
    assert client.get(f"/v1/emails/{waiting['id']}").json()["status"] == "suppressed"


def test_an_opt_out_between_two_emails_of_a_batch_holds(served: Served, client: httpx2.Client) -> None:
    to = "batch@example.org"
    served.settled(client, send(client, to, NEWSLETTER))
    url = one_click(captured(client, to)[0])
    batch = [{**NEWSLETTER, "to": f"b{n}@example.org"} for n in range(200)]
    batch.append({**NEWSLETTER, "to": to, "scheduled_at": "2090-01-01T00:00:00Z"})
    ids = [one["id"] for one in client.post("/v1/emails/batch", json={"emails": batch}).json()["data"]]
    httpx2.post(url, trust_env=False)
    client.patch(f"/v1/emails/{ids[-1]}", json={"scheduled_at": "2020-01-01T00:00:00Z"})
    assert {served.settled(client, one)["status"] for one in ids[:-1]} == {"sent"}
    assert client.get(f"/v1/emails/{ids[-1]}").json()["status"] == "suppressed"
    assert len(captured(client, to)) == 1
