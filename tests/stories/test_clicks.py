"""A campaign with links over a real service: a click leads on, and is counted by its link."""

import re
import sqlite3
import time
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from tests.stories.served import Served, serving
from tests.stories.test_campaign import until_nobody_is_left
from tests.stories.test_opt_out import captured

HTML = (
    '<p>News</p><a href="https://shop.example/sale?a=1&amp;copy=2">The sale</a>'
    '<a href="https://shop.example/free" data-no-track>Free</a><a href="https://shop.example/two#b">Two</a>'
)
PHONE = {
    "User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
}


def html_of(mail: EmailMessage) -> str:
    """Return the HTML of a mail."""
    part = mail.get_body(("html",))
    assert part is not None
    return str(part.get_content())


def counted(folder: Path) -> dict[tuple[str, str], int]:
    """Return what is counted by link, folded or not."""
    (file,) = folder.rglob("mailer.db")
    sums = "SELECT value, metric, amount FROM counter WHERE dimension = 'link'"
    facts = "SELECT value, metric, amount FROM tally WHERE dimension = 'link'"
    found: dict[tuple[str, str], int] = {}
    with sqlite3.connect(file) as connection:
        for value, metric, amount in connection.execute(f"{sums} UNION ALL {facts}"):
            found[value, metric] = found.get((value, metric), 0) + amount
    return found


def campaign_of(served: Served, client: httpx2.Client, to: str, **fields: object) -> str:
    """Send a campaign to one person and return its id."""
    made = {"name": "Spring", "topic": "newsletter", "subject": "Spring", "html": HTML, **fields}
    campaign = str(client.post("/v1/campaigns", json=made).json()["id"])
    client.post(f"/v1/campaigns/{campaign}/recipients", json={"recipients": [to]})
    client.post(f"/v1/campaigns/{campaign}/start")
    until_nobody_is_left(client, campaign)
    return campaign


def test_a_click_leads_on_and_is_counted_by_its_link(tmp_path: Path) -> None:
    with serving(tmp_path) as served, served.client("campaigns", "read") as client:
        campaign = campaign_of(served, client, "ann@example.org", utm={"source": "news"})
        html = html_of(captured(client, "ann@example.org")[0])
        assert 'href="https://shop.example/free" data-no-track' in html
        links = re.findall(r'href="(http[^"]*/c/[^"]*)"', html)
        assert len(links) == 2
        answers = [client.get(urlsplit(link).path, headers=PHONE, follow_redirects=False) for link in links]
        assert [(answer.status_code, answer.headers["location"]) for answer in answers] == [
            (302, "https://shop.example/sale?a=1&copy=2&utm_source=news"),
            (302, "https://shop.example/two?utm_source=news#b"),
        ]
        wanted = {(f"{campaign}#{place}", "clicks:human"): 1 for place in (1, 3)}
        until = time.monotonic() + 20
        while not wanted.items() <= counted(tmp_path).items():
            assert time.monotonic() < until, counted(tmp_path)
            time.sleep(0.1)


def test_with_tracking_off_the_mail_holds_no_link_of_ours(tmp_path: Path) -> None:
    with serving(tmp_path) as served, served.client("campaigns", "read") as client:
        campaign_of(served, client, "ann@example.org", tracking={"opens": "off", "clicks": "off"})
        html = html_of(captured(client, "ann@example.org")[0])
        assert ("/c/" in html, "/o/" in html) == (False, False)
        assert HTML in html
