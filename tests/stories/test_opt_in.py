"""A newsletter is asked for: a scanner reads the mail first, a stranger tries to fill mailboxes."""

import asyncio
import email
import email.policy
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.servers import Relay
from tests.stories.served import Served, serving
from tests.stories.test_opt_out import NEWSLETTER, captured, one_click, send

FORM = {"tenant": "default", "topic": "newsletter", "source": "footer", "wording": "2027-01"}


@pytest.fixture
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    # Whoever asks stands behind a proxy of ours, so that each test comes from networks of its own.
    with serving(tmp_path_factory.mktemp("served"), trusted_proxies="127.0.0.1") as running:
        yield running


@pytest.fixture
def client(served: Served) -> Iterator[httpx2.Client]:
    with served.client("send:transactional", "send:promotional", "read", "suppressions") as client:
        yield client


@pytest.fixture
def stranger(served: Served) -> Iterator[httpx2.Client]:
    """Whoever has no key: one client, since each new one reads all certificates of the system anew."""
    with httpx2.Client(base_url=served.url, trust_env=False) as stranger:
        yield stranger


def ask(stranger: httpx2.Client, email: str, ip: str = "192.0.2.1") -> httpx2.Response:
    headers = {"X-Forwarded-For": ip, "Accept-Language": "en"}
    return stranger.post("/subscribe", data={**FORM, "email": email}, headers=headers)


def test_a_scanner_fetches_everything_and_only_the_person_says_yes(
    served: Served, client: httpx2.Client, stranger: httpx2.Client
) -> None:
    to = "ann@example.org"
    served.settled(client, send(client, to, NEWSLETTER))
    stranger.post(one_click(captured(client, to)[0]))
    assert client.post("/v1/emails", json={**NEWSLETTER, "to": to}).json()["status"] == "suppressed"
    assert ask(stranger, to).status_code == 200
    newest = client.get("/v1/emails", params={"to": to}).json()["data"][0]
    served.settled(client, newest["id"])
    mail = next(each for each in captured(client, to) if "confirm" in str(each["Subject"]))
    html = mail.get_body(("html",))
    assert html is not None
    text = html.get_content()
    assert "List-Unsubscribe" not in mail
    assert "/o/" not in text
    links = set(re.findall(r'href="(http[^"]+)"', text))
    url = next(each for each in links if "/s/" in each)
    for link in sorted(links) * 20:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert stranger.request(method, link).status_code in (200, 204)
    assert client.post("/v1/emails", json={**NEWSLETTER, "to": to}).json()["status"] == "suppressed"
    answer = stranger.post(url)
    assert (answer.status_code, answer.headers.get("location")) == (200, None)
    assert "You are subscribed" in answer.text
    assert served.settled(client, send(client, to, NEWSLETTER))["status"] == "sent"
    # What they left as a whole and did not ask for stays left.
    events = {**NEWSLETTER, "topic": "events", "to": to}
    assert client.post("/v1/emails", json=events).json()["status"] == "suppressed"


def test_nobody_fills_mailboxes_by_the_form(client: httpx2.Client, stranger: httpx2.Client) -> None:
    victim = "victim@example.org"
    answers = {ask(stranger, victim, f"198.51.100.{number}").text for number in range(40)}
    answers |= {ask(stranger, f"other{number}@example.org").text for number in range(40)}
    assert {len(client.get("/v1/emails", params={"to": victim}).json()["data"])} == {1}
    mails = client.get("/v1/emails", params={"limit": 100}).json()["data"]
    assert len(mails) == 1 + 20
    # Whatever the limit says, a stranger reads the same page.
    assert len({re.sub(r"\w+@example\.org", "", page) for page in answers}) == 1


async def test_over_a_real_relay_the_mail_asks_once_and_in_the_readers_language(
    tmp_path_factory: pytest.TempPathFactory, relay: Relay
) -> None:
    folder = tmp_path_factory.mktemp("relayed")
    url = f"smtp://127.0.0.1:{relay.port}?starttls=off"
    with serving(
        folder, transactional_relay=url, promotional_relay=url, public_url="https://mail.ringwise.example"
    ) as served:
        form = {**FORM, "email": "taras@example.org"}
        headers = {"Accept-Language": "uk"}
        async with httpx2.AsyncClient(trust_env=False) as browser:
            for _ in range(3):
                answer = await browser.post(f"{served.url}/subscribe", data=form, headers=headers)
                assert answer.status_code == 200
            async with asyncio.timeout(20):
                while not relay.mails:
                    await asyncio.sleep(0.05)
            mail = email.message_from_bytes(relay.mails[0].data, policy=email.policy.default)
            text = mail.get_body(("plain",))
            assert text is not None
            link = re.findall(r"https://mail\.ringwise\.example/s/[a-z2-7]+", text.get_content())[0]
            path = urlsplit(link).path
            page = await browser.post(f"{served.url}{path}", headers=headers)
            assert "Вас підписано" in page.text
    assert len(relay.mails) == 1
