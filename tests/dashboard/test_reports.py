"""Reports in the dashboard: every number as the API has it, charts with tables, who may see whom, two campaigns."""

import csv
import io
import re
from datetime import timedelta

import pytest
from sqlmodel import Session

from mailer import campaigns, reports, tenancy
from mailer.campaigns.drafts import CampaignDraft
from mailer.counters import Tally, dimensions
from mailer.drafts import parse
from mailer.errors import Invalid
from mailer.models import Campaign, LinkLabel, Opens
from mailer.reports.figures import NAMES, RATES, Counted
from mailer.submission import Submitter
from mailer.web.dashboard import comparing
from mailer.web.dashboard.charts import Bar, Line, Stack, bars, funnel, lines, stacks
from mailer.web.dashboard.comparing import verdict
from mailer.web.dashboard.figures import Figures
from mailer.web.dashboard.words import WORDS
from tests.campaigns.world import asked
from tests.dashboard.house import MARKETER, OWNER, SUPPORT, VIEWER, Browser, House, open_house

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
FROM = {"from_": "Ringwise <hello@ringwise.example>", "postal_address": "1 Main Street, Kyiv"}
#: Metric -> how many of 1,000; by provider, so that what tells it can tell it.
COUNTED = {
    "sent": 900,
    "bounced": 20,
    "hard_bounced": 12,
    "soft_bounced": 8,
    "returned": 5,
    "tracked": 800,
    "tracked_links": 850,
    "opens:human": 200,
    "opens:proxy": 90,
    "opens:machine": 250,
    "opens:unknown": 9,
    "opens_total:human": 340,
    "opens_total:proxy": 100,
    "clicked": 60,
    "clicks:human": 55,
    "clicks:proxy": 5,
    "clicks:machine": 40,
    "clicks_total:human": 80,
    "unsubscribed": 9,
    "resubscribed": 2,
    "complained": 1,
    "tracked:individual": 800,
    "read": 300,
    "touched": 510,
}


@pytest.fixture
def settings() -> dict[str, str]:
    return FROM


async def told(house: House, *, name: str = "Spring", times: int = 1, opens: Opens = Opens.INDIVIDUAL) -> str:
    """Make a campaign that started four days ago and of which a lot is told; return its id."""

    def verb(session: Session) -> str:
        sender, began = Submitter.trusted(1), house.time - timedelta(days=4)
        draft = parse(CampaignDraft, asked(name=name, tags={"team": HOSTILE[:90]}))
        campaign = campaigns.create(session, sender, draft, house.service.intake, began)
        campaign.started_at, campaign.opens, campaign.clicks = began, opens, opens
        tally = Tally()
        where = (1, began.date(), "promotional")
        plain = dimensions(tags=campaign.tags, topic="newsletter", template="offer", campaign=campaign.id)
        tally.add(*where, "requested", plain, 1000, at=began)
        tally.add(*where, "suppressed:unsubscribe", plain, 30, at=began)
        tally.add(*where, "suppressed:hard_bounce", plain, 7, at=began)
        for provider, hours in (("gmail", 1), ("apple", 30), ("other", 80)):
            dims = dimensions(
                tags=campaign.tags, topic="newsletter", template="offer", campaign=campaign.id, provider=provider
            )
            for metric, amount in COUNTED.items():
                tally.add(*where, metric, dims, times * amount // 3, at=began + timedelta(hours=hours))
        link = f"{campaign.id}#1"
        for metric, amount in (("clicks:human", 50), ("clicks:machine", 12), ("clicks_total:human", 70)):
            tally.add(*where, metric, [("link", link)], amount, at=began)
        session.add(LinkLabel(tenant_id=1, value=link, label=HOSTILE))
        tally.write(session)
        return campaign.id

    return await house.service.database.run(verb)


async def key(house: House) -> dict[str, str]:
    """Return the header by which a program asks the API of the same service."""
    issued = await house.service.database.run(
        lambda session: tenancy.create_key(session, 1, "reports", scopes=("read", "campaigns"), now=house.time)
    )
    return {"Authorization": f"Bearer {issued.plain}"}


def figures(browser: Browser) -> dict[str, str]:
    """Return every number of the page's table of all numbers, as it is written."""
    cells = browser.page.css("td[data-figure]")
    return {str(cell.attributes["data-figure"]): cell.text() for cell in cells}


def shown(name: str, value: float | None) -> str:
    written = Figures("en")
    return written.share(value, 2) if name in RATES else written.number(value)


async def test_every_number_of_a_campaign_is_the_apis(house: House) -> None:
    identifier = await told(house, name=HOSTILE)
    header = await key(house)
    async with house.browser() as ann:
        await ann.sign_in(MARKETER)
        page = await ann.get(f"@/campaigns/{identifier}/report")
        assert page.status_code == 200
        assert HOSTILE not in page.text
        assert "onerror=alert(1)&gt;" in page.text
        api = f"/v1/campaigns/{identifier}/report"
        numbers = (await ann.client.get(api, headers=header)).json()
        values = {name: each["value"] for name, each in numbers["numbers"].items()}
        assert figures(ann) == {name: shown(name, value) for name, value in values.items()}
        assert values["opened"] == 300
        said = ann.text
        for text in ("unsubscribed30", "the address does not exist7", "Estimated open rate", "Gmail", "Apple"):
            assert text in said
        for what, path in (
            ("numbers", api),
            ("provider", f"{api}/table?by=provider"),
            ("link", f"{api}/table?by=link"),
        ):
            own = await ann.get(f"@/campaigns/{identifier}/report/{what}.csv")
            assert own.headers["content-type"].startswith("text/csv")
            theirs = await ann.client.get(path, headers={**header, "Accept": "text/csv"})
            assert own.text == theirs.text
        assert (await ann.get(f"@/campaigns/{identifier}/report/other.csv")).status_code == 404


async def test_what_happened_in_time_adds_up_to_the_apis_beginning(house: House) -> None:
    identifier = await told(house)
    header = await key(house)
    async with house.browser() as ann:
        await ann.sign_in(VIEWER)
        report = (await ann.client.get(f"/v1/campaigns/{identifier}/report", headers=header)).json()
        for view, opened in {"24h": 100, "3d": 200, "7d": 300, "days": 300}.items():
            await ann.get(f"@/campaigns/{identifier}/report", view=view)
            rows = [[cell.text() for cell in row.css("td")] for row in ann.page.css(".as-table")[0].css("tbody tr")]
            assert sum(int(row[1].replace(",", "")) for row in rows) == opened
            sheet = await ann.get(f"@/campaigns/{identifier}/report/time.csv", view=view)
            assert sum(int(row["opened"]) for row in csv.DictReader(io.StringIO(sheet.text))) == opened
            assert view == "days" or report["first"][view]["counts"]["opened"] == opened


async def test_the_hours_of_a_beginning_are_those_of_its_sums(database_url: str) -> None:
    async with open_house(database_url, **FROM) as house:
        identifier = await told(house)

        def verb(session: Session) -> None:
            campaign = session.get_one(Campaign, identifier)
            firsts = {each.name: each.counts for each in reports.firsts(session, campaign, house.time)}
            # As far as they are over.
            for name, hours in {"24h": 24, "3d": 72, "7d": 97}.items():
                series = reports.campaign_beginning(session, campaign, name, house.time)
                assert len(series.points) == hours
                assert {each: sum(point.counts[each] for point in series.points) for each in firsts[name]} == firsts[
                    name
                ]
            with pytest.raises(Invalid):
                reports.campaign_beginning(session, campaign, "9y", house.time)

        await house.service.database.read(verb)


async def test_a_viewer_sees_numbers_and_nobody(house: House) -> None:
    identifier = await told(house)
    async with house.browser() as vera:
        await vera.sign_in(VIEWER)
        await vera.get(f"@/campaigns/{identifier}/report")
        assert not vera.page.css('a[href*="/who"]')
        for path in ("who", "who.csv"):
            assert (await vera.get(f"@/campaigns/{identifier}/{path}")).status_code == 403
    async with house.browser() as sam:
        await sam.sign_in(SUPPORT)
        await sam.get(f"@/campaigns/{identifier}/who", did="clicked")
        assert "Nobody yet" in sam.text
        assert (await sam.get(f"@/campaigns/{identifier}/who.csv", did="bounced")).status_code == 200


async def test_who_did_it_is_named_where_it_is_measured_by_person(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are real ones, as a worker leaves them; the mode is the campaign's."""
    monkeypatch.setattr(comparing, "_PAGE_OF_FILE", 25)
    identifier, sums = await told(house), await told(house, name="Sums", opens=Opens.AGGREGATE)
    people = [{"email": f"p{number}@example.org", "name": HOSTILE} for number in range(60)]
    upload = campaigns.Upload(
        database=house.service.database,
        intake=house.service.intake,
        sender=Submitter.trusted(1),
        campaign_id=identifier,
        now=house.now,
    )
    await upload.people(people)

    def bounce(session: Session) -> None:
        found = campaigns.get(session, 1, identifier)
        page = campaigns.recipients(session, found, house.time, status=None, limit=100, after=None)
        for row in page.emails:
            row.status, row.settled_at = type(row.status)("bounced"), house.time
            session.add(row)

    await house.service.database.run(bounce)
    async with house.browser() as ann:
        await ann.sign_in(MARKETER)
        page = await ann.get(f"@/campaigns/{identifier}/who", did="bounced")
        assert HOSTILE not in page.text
        shown_now = re.findall(r"p\d+@example\.org", ann.text)
        (older,) = [str(node.attributes["href"]) for node in ann.page.css("a[rel=next]")]
        await ann.get(older.removeprefix("/app"))
        rest = re.findall(r"p\d+@example\.org", ann.text)
        assert (len(shown_now), len(rest), len({*shown_now, *rest})) == (50, 10, 60)
        sheet = await ann.get(f"@/campaigns/{identifier}/who.csv", did="bounced")
        assert len({row["to"] for row in csv.DictReader(io.StringIO(sheet.text))}) == 60
        await ann.get(f"@/campaigns/{sums}/who", did="opened")
        assert "Nobody knows who" in ann.text
        assert (await ann.get(f"@/campaigns/{sums}/who.csv", did="opened")).status_code == 409


async def test_two_campaigns_are_compared_as_the_api_does(house: House) -> None:
    first, second = await told(house), await told(house, name="Summer", times=2)
    header = await key(house)
    async with house.browser() as ann:
        await ann.sign_in(VIEWER)
        await ann.get(f"@/campaigns/{first}/compare")
        assert "With which one?" in ann.text
        assert [node.text() for node in ann.page.css("select[name=with] option")] == ["Summer · 16 Nov"]
        await ann.get(f"@/campaigns/{first}/compare", **{"with": second})
        answer = await ann.client.get(f"/v1/campaigns/{first}/report/comparison?with={second}", headers=header)
        rates = {each["name"]: each["first"] for each in answer.json()["rates"]}
        assert figures(ann) == {name: Figures("en").share(value, 2) for name, value in rates.items()}
        own = await ann.get(f"@/campaigns/{first}/compare.csv", **{"with": second})
        theirs = await ann.client.get(
            f"/v1/campaigns/{first}/report/comparison?with={second}", headers={**header, "Accept": "text/csv"}
        )
        assert own.text == theirs.text
        assert (await ann.get(f"@/campaigns/{first}/compare", **{"with": "ca_none"})).status_code == 404
        assert (await ann.get(f"@/campaigns/{first}/compare.csv")).status_code == 422


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ((0, 0), (0, 0), "nothing"),
        ((1, 20), (2, 20), "few"),
        ((300, 1000), (310, 1000), "same"),
        ((300, 1000), (400, 1000), "higher"),
        ((400, 1000), (300, 1000), "lower"),
    ],
    ids=["nothing", "few", "same", "higher", "lower"],
)
def test_a_difference_is_called_by_what_the_test_says(
    before: tuple[int, int], after: tuple[int, int], word: str
) -> None:
    one, two = (Counted({"read": part, "tracked": whole}) for part, whole in (before, after))
    (rate,) = [each for each in reports.compared(one, two).differences if each.name == "open_rate"]
    assert verdict(rate) == word
    assert f"compare_is_{word}" in WORDS["uk"]


async def test_all_mail_of_some_days_is_what_the_api_says(house: House) -> None:
    await told(house, name=HOSTILE)
    header = await key(house)
    async with house.browser() as ann:
        await ann.sign_in(VIEWER)
        for by in reports.By:
            page = await ann.get("@/reports", by=by, days="7")
            assert page.status_code == 200
            assert HOSTILE not in page.text
            own = await ann.get("@/reports/table.csv", by=by, days="7")
            theirs = await ann.client.get(
                f"/v1/metrics/table?by={by}&days=7&limit=500", headers={**header, "Accept": "text/csv"}
            )
            assert own.text == theirs.text
            assert len(own.text.splitlines()) > 1, by
        await ann.get("@/reports", days="7")
        numbers = (await ann.client.get("/v1/metrics?days=7", headers=header)).json()["numbers"]
        assert figures(ann) == {name: shown(name, each["value"]) for name, each in numbers.items()}
        for what, path in (("numbers", "/v1/metrics?days=7"), ("time", "/v1/metrics/series?days=7&tz=Europe/Kyiv")):
            own = await ann.get(f"@/reports/{what}.csv", days="7", tz="Europe/Kyiv")
            theirs = await ann.client.get(path, headers={**header, "Accept": "text/csv"})
            assert own.text == theirs.text
        await ann.get("@/reports", stream="transactional")
        assert "No mail in these days" in ann.text
        await ann.get("@/reports", days="365", **{"from": "2020-01-01"})
        assert "at most 1,830 days" in ann.text
        for wrong, said in (
            ({"from": HOSTILE}, "must be a day"),
            ({"from": "2026-11-20", "to": "2026-11-01"}, "must not be after"),
            ({"tz": HOSTILE[:60]}, "must be a time zone"),
        ):
            page = await ann.get("@/reports", **wrong)
            assert page.status_code == 422
            assert said in ann.text
            assert HOSTILE not in page.text
        odd = await ann.get("@/reports", by="nothing", stream="third", days="-1")
        assert odd.status_code == 200
        assert (await ann.get("@/reports/other.csv")).status_code == 404


async def test_another_tenants_report_is_not_found(house: House) -> None:
    identifier, other = await told(house), await told(house)
    await house.customer()
    await house.user("boss@customer.example", tenant="customer")
    async with house.browser() as boss:
        await boss.sign_in("boss@customer.example")
        boss.tenant = "customer"
        for path in ("report", "report/numbers.csv", "compare", "compare.csv", "who", "who.csv"):
            assert (await boss.get(f"@/campaigns/{identifier}/{path}", **{"with": other})).status_code == 404
        await boss.get("@/reports")
        assert "No mail in these days" in boss.text


async def test_homes_charts_have_a_table(house: House) -> None:
    await told(house)
    async with house.browser() as ann:
        await ann.sign_in(OWNER)
        await ann.get("@")
        tables = [[cell.text() for cell in table.css("tbody td.number")] for table in ann.page.css(".as-table")]
        assert [sum(int(each.replace(",", "")) for each in table) for table in tables] == [0, 900]


@pytest.mark.parametrize("language", ["en", "uk"])
def test_every_figure_and_reason_has_words(language: str) -> None:
    words = WORDS[language]
    names = {*NAMES, "held"}
    assert {name for name in names if f"figure_{name}" not in words} == set()
    assert {name for name in names - set(RATES) if f"formula_{name}" not in words} == set()


def test_charts_say_what_they_show_and_stay_inside() -> None:
    two = [Bar(HOSTILE, 3, "3"), Bar("b", 0, "0")]
    for picture in (
        bars(HOSTILE, two),
        funnel(HOSTILE, two),
        stacks(HOSTILE, [Stack(HOSTILE, two)]),
        lines(HOSTILE, [HOSTILE], [Line(HOSTILE, [3])], str),
        lines("said", ["a", "b"], [Line("one", [-2, 4])], str),
        lines("said", ["a", "b", "c"], [Line("one", [1, 2, 3]), Line("two", [0, 0, 0])], str),
    ):
        assert HOSTILE not in picture
        assert 'role="img" aria-label="' in picture
        for points in re.findall(r'points="([^"]+)"', picture):
            assert all(0 <= float(number) <= 360 for point in points.split() for number in point.split(","))
        for name, number in re.findall(r' (x|y|width|height)="(-?[\d.]+)"', picture):
            assert float(number) >= 0, name
    whole = lines("said", ["a", "b", "c"], [Line("one", [0, 5, 10])], str)
    assert re.findall(r'points="([^"]+)"', whole) == ["8.0,150.0 180.0,84.0 352.0,18.0"]
