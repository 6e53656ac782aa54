"""Campaigns in the dashboard: made, filled by a file, tested, started, watched, stopped; and who may do what."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from sqlmodel import Session, select

from mailer import campaigns, catalogue, tenancy
from mailer.campaigns.drafts import CampaignChange
from mailer.compose.templates import Content
from mailer.drafts import TemplateDraft, TenantChange, parse
from mailer.errors import Invalid
from mailer.models import AuditEntry, Campaign, CampaignStatus, Email
from mailer.submission import Submitter
from mailer.web.dashboard import moments
from tests.campaigns.world import TEMPLATE
from tests.dashboard.house import MARKETER, SUPPORT, VIEWER, Browser, House, open_house

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
CITY = HOSTILE.replace('"', "")
ESCAPED = "&lt;script&gt;"
#: What a browser had sent of a file when its line broke.
CUT = (
    b'--x\r\nContent-Disposition: form-data; name="csrf"\r\n\r\n%s\r\n'
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nemail\nlate@example.org\n'
)
FROM = {"from_": "Ringwise <hello@ringwise.example>", "postal_address": "1 Main Street, Kyiv"}


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """SQLite where nothing else is said: what a page shows does not depend on it."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
async def house(request: pytest.FixtureRequest, engine: str) -> AsyncIterator[House]:
    async with open_house(request.getfixturevalue(f"{engine}_url"), **FROM) as house:
        await house.everybody()
        yield house


@pytest.fixture
async def ann(house: House) -> AsyncIterator[Browser]:
    """A marketer."""
    async with house.browser() as browser:
        await browser.sign_in(MARKETER)
        yield browser


def texts(browser: Browser, selector: str) -> list[str]:
    """Return what stands in each of some places of the page."""
    return [node.text().strip() for node in browser.page.css(selector)]


async def make(browser: Browser, **fields: object) -> str:
    """Make a campaign with a pasted body, and return its path."""
    await browser.get("@/campaigns/new")
    given = {"name": "Spring", "subject": "Spring", "text": "It is here.", "topic": "newsletter", "zone": "UTC"}
    made = await browser.post("@/campaigns/new", {**given, **fields})
    assert made.status_code == 303, browser.text
    return "@" + made.headers["location"].removeprefix("/app/t/default").partition("?")[0]


async def upload(browser: Browser, path: str, content: bytes, name: str = "list.csv", csrf: str | None = None) -> int:
    """Send a file as a browser does."""
    await browser.get(path + "/recipients")
    token = browser.csrf() if csrf is None else csrf
    browser.last = await browser.client.post(
        browser._path(path + "/recipients"),
        data={"csrf": token},
        files={"file": (name, content, "text/csv")},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    return browser.last.status_code


async def do(browser: Browser, path: str, step: str, **fields: object) -> int:
    """Press a button of the campaign's page."""
    await browser.get(path)
    return (await browser.post(path, {"do": step, **fields})).status_code


async def rows(house: House) -> list[Email]:
    return await house.service.database.read(lambda session: list(session.exec(select(Email).order_by(Email.id))))


async def one(house: House) -> Campaign:
    return await house.service.database.read(lambda session: session.exec(select(Campaign)).one())


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
def typed(browser: Browser) -> dict[str, str]:
    """Return what a form of the page holds."""
    fields = {str(n.attributes["name"]): n.attributes.get("value") or n.text() for n in browser.page.css("main input")}
    fields |= {str(n.attributes["name"]): n.text() for n in browser.page.css("main textarea")}
    for chosen in browser.page.css("main select option[selected]"):
        if chosen.parent is not None:
            fields[str(chosen.parent.attributes["name"])] = str(chosen.attributes["value"])
    return fields


async def test_a_campaign_goes_its_whole_way(house: House, ann: Browser) -> None:
    await ann.get("@/campaigns")
    assert "No campaign yet" in ann.text
    path = await make(ann, expires_at="2026-12-01T09:00", zone="Europe/Kyiv", **{"utm.source": "news", "tags": "a=b"})
    campaign = await one(house)
    assert (campaign.expires_at, campaign.utm, campaign.tags) == (
        datetime(2026, 12, 1, 7, 0, tzinfo=UTC),
        {"source": "news"},
        {"a": "b"},
    )
    await ann.get(path, done="campaign_made")
    assert "nobody yet" in ann.text
    assert "The draft is made" in ann.text
    assert await upload(ann, path, b"email,name\nann@example.org,Ann\nbob@example.org\nann@example.org,A\n,x\n") == 200
    figures = dict(zip(texts(ann, ".figure dt"), texts(ann, ".figure dd:nth-child(2)"), strict=True))
    assert figures == {"New": "1", "Known": "1", "Suppressed": "0", "Refused": "2"}
    assert texts(ann, "tbody td:first-child") == ["3", "5"]
    assert await upload(ann, path, b'\xef\xbb\xbf\n {"email": "cid@example.org"}\n', "list.ndjson") == 200, ann.text
    assert (await ann.get(path + "/report")).status_code == 200, "before anything was sent"
    page = await ann.get(path)
    assert "2 would get it" in ann.text
    assert "refresh" not in page.headers
    assert await do(ann, path, "test", to="me@ringwise.example, you@ringwise.example") == 303
    assert ann.last is not None
    page = await ann.client.get(ann.last.headers["location"])
    assert "me@ringwise.example: on its way" in page.text
    assert ": on its way" not in (await ann.get(path, still="1")).text, "loaded again, nothing is sent nor said again"
    assert len([row for row in await rows(house) if (row.tags or {}).get("test")]) == 2
    assert await do(ann, path, "start") == 303
    assert (await one(house)).status is CampaignStatus.RUNNING
    page = await ann.get(path)
    assert page.headers["refresh"] == f"5; url={ann._path(path)}?unattended=1"
    assert "asks again every 5 seconds" in ann.text
    page = await ann.get(path, still="1", ask="cancel")
    assert "refresh" not in page.headers
    assert "2 mails that wait are never sent" in ann.text
    assert await do(ann, path, "pause", note=HOSTILE) == 303
    page = await ann.get(path)
    assert HOSTILE not in page.text
    assert "refresh" not in page.headers
    assert await do(ann, path, "resume") == 303
    assert await do(ann, path, "cancel") == 303
    await ann.get(path)
    assert "Cancelled" in ann.text
    assert await do(ann, path, "resume") == 409
    await ann.get("@/campaigns", status="cancelled")
    assert "Spring" in ann.text
    await ann.get("@/campaigns", status="running")
    assert "No campaign is in this state" in ann.text
    acts = [act.removeprefix("campaign.") for act in await house.acts() if act.startswith("campaign.")]
    assert acts == ["created", *["recipients_added"] * 2, "tested", "started", "paused", "resumed", "cancelled"]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
async def test_a_page_that_asks_for_itself_again_keeps_nobody_signed_in(house: House, ann: Browser) -> None:
    path = await make(ann)
    await upload(ann, path, b"email\nann@example.org\n")
    assert await do(ann, path, "start") == 303
    again = (await ann.get(path)).headers["refresh"].partition("url=")[2]
    for _ in range(3):
        house.later(hours=2)
        assert (await ann.client.get(again)).status_code == 200
    ann.last = await ann.client.get(again)
    house.later(hours=1.9)
    assert (await ann.post(path, do="pause")).status_code == 303, "whoever presses a button is there"
    house.later(hours=7.9)
    assert (await ann.client.get(again)).status_code == 200
    house.later(hours=0.2)
    left = await ann.client.get(again)
    assert (left.status_code, left.headers["location"]) == (303, f"/app/sign-in?next={ann._path(path)}")


async def test_what_an_act_leaves_is_for_one_page_of_one_sign_in(house: House, ann: Browser) -> None:
    path, other = await make(ann), await make(ann, name="Other")
    await ann.get(path)
    assert await do(ann, path, "test", to="me@ringwise.example") == 303
    assert ann.last is not None
    told = ann.client.cookies["mailer_told"]
    assert "HttpOnly" in ann.last.headers["set-cookie"]
    assert ": on its way" not in (await ann.get(other)).text, "left for another page"
    async with house.browser() as bea:
        await bea.sign_in(MARKETER)
        for cookie in (told, told[:-6], "no cookie of ours", "\u00fc".encode().hex()):
            bea.client.cookies.set("mailer_told", cookie, "mail.example.org", "/app")
            assert ": on its way" not in (await bea.get(path)).text, "left for another sign-in"
    assert ": on its way" in (await ann.get(path)).text
    assert "mailer_told" not in ann.client.cookies


async def test_a_test_that_cannot_go_to_all_goes_to_nobody(house: House, ann: Browser) -> None:
    path = await make(ann)
    await house.service.database.run(
        lambda session: tenancy.change_tenant(
            session, tenancy.only_tenant(session, "default"), parse(TenantChange, {"postal_address": ""})
        )
    )
    await ann.get(path)
    assert await do(ann, path, "test", to="me@ringwise.example") == 422
    assert "postal address" in ann.text
    assert await rows(house) == []


async def test_a_draft_is_scheduled_in_a_named_zone_changed_and_deleted(house: House, ann: Browser) -> None:
    path = await make(ann, opens="off")
    await upload(ann, path, b"email\nann@example.org\n")
    later = {"scheduled_at": "2026-11-21T09:00", "zone": "Europe/Kyiv"}
    assert await do(ann, path, "schedule", **{**later, "zone": "Mars/Olympus"}) == 422
    assert await do(ann, path, "schedule", **{**later, "scheduled_at": "tomorrow"}) == 422
    assert ann.page.css('input[value="tomorrow"]')
    assert await do(ann, path, "schedule", scheduled_at="2027-03-28T03:30", zone="Europe/Kyiv") == 422
    assert "does not exist in Europe/Kyiv" in ann.text
    assert await do(ann, path, "schedule", **later) == 303
    assert (await one(house)).scheduled_at == datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
    await ann.get(path)
    assert "starts 21 Nov 2026, 07:00 UTC" in ann.text
    await ann.get(path + "/edit")
    fields = typed(ann)
    assert (fields["opens"], fields["text"], fields["topic"]) == ("off", "It is here.", "newsletter")
    assert (await ann.post(path + "/edit", {**fields, "name": "Summer", "topic": "events"})).status_code == 409
    await ann.get(path + "/edit")
    assert (await ann.post(path + "/edit", {**fields, "name": "Summer", "subject": "New"})).status_code == 303
    assert (await one(house)).name == "Summer"
    assert await do(ann, path, "delete") == 409
    other = await make(ann, name="Other")
    assert await do(ann, other, "delete") == 303
    assert (await ann.get(other)).status_code == 404


async def test_a_template_asks_for_its_variables_and_the_list_brings_the_rest(house: House, ann: Browser) -> None:
    body = catalogue.drafted(parse(TemplateDraft, TEMPLATE))
    await house.service.database.run(lambda session: catalogue.save(session, 1, body, house.time))
    await ann.get("@/campaigns/new", template="offer")
    assert {str(n.attributes["name"]) for n in ann.page.css("main form[method=post] input")} >= {
        f"variables.{name}" for name in ("city", "points", "gold", "season")
    }
    given = {"name": "Offer", "template": "offer", "zone": "UTC", "variables.season": HOSTILE}
    wrong = await ann.post("@/campaigns/new", {**given, "variables.points": "many"})
    assert wrong.status_code == 422
    assert "points must be an integer" in ann.text or "points" in ann.text
    assert HOSTILE not in wrong.text
    assert ESCAPED in wrong.text
    await ann.get("@/campaigns/new", template="offer")
    made = await ann.post("@/campaigns/new", {**given, "variables.points": "7", "variables.gold": "yes"})
    assert made.status_code == 303
    campaign = await one(house)
    assert campaign.variables == {"season": HOSTILE, "points": 7, "gold": True}
    path = f"@/campaigns/{campaign.id}"
    assert await upload(ann, path, b"email\nann@example.org\n") == 422
    assert "the column city is missing" in " ".join(ann.text.split("'"))
    assert await upload(ann, path, b"email,city\nann@example.org,%s\n" % CITY.encode()) == 200
    assert [row.variables for row in await rows(house)] == [{"city": CITY}]
    assert HOSTILE not in (await ann.get(path)).text
    assert HOSTILE not in (await ann.get(path + "/edit")).text


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
async def test_the_page_says_what_is_missing_before_a_campaign_may_start(house: House, ann: Browser) -> None:
    path = await make(ann, name=HOSTILE)
    await house.service.database.run(
        lambda session: tenancy.change_tenant(
            session, tenancy.only_tenant(session, "default"), parse(TenantChange, {"postal_address": ""})
        )
    )
    page = await ann.get(path)
    assert HOSTILE not in page.text
    missing = texts(ann, ".checks li:has(.badge.bad, .badge.warn) b")
    assert missing == ["Way out", "Recipients"]
    assert "must show the sender's postal address" in ann.text
    assert "Mend what is missing first" in ann.text
    await ann.get(path)
    assert (await ann.post(path, do="start")).status_code == 422

    def asked(session: Session) -> campaigns.Preflight:
        campaign = session.exec(select(Campaign)).one()
        sender = Submitter.trusted(1)
        return campaigns.preflight(session, sender, campaign, house.service.intake, house.time)

    found = await house.service.database.run(asked)
    assert (found.may_start, found.waiting, found.leavable) == (False, 0, True)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
async def test_looking_at_a_draft_stores_no_template_and_its_start_does(house: House, ann: Browser) -> None:
    database = house.service.database
    shipped = catalogue.shipped()["promotion"][1]
    own = Content.from_dict({**shipped.to_dict(), "description": "Ours."})
    await database.run(lambda session: catalogue.save(session, 1, own, house.time))
    await ann.get("@/campaigns/new", template="promotion")
    made = await ann.post("@/campaigns/new", {"name": "Offer", "template": "promotion", "zone": "UTC"})
    assert made.status_code == 303, ann.text
    await database.run(lambda session: catalogue.retire(session, 1, "promotion", house.time))
    path = f"@/campaigns/{(await one(house)).id}"
    await ann.get(path)
    assert texts(ann, ".checks li:has(.badge.bad) b") == [], "the shipped template is in order"
    kept = await database.read(lambda session: catalogue.versions(session, 1, "promotion"))
    assert [(each.version, each.shipped) for each in kept] == [(1, False)]
    assert await do(ann, path, "start") == 303
    kept = await database.read(lambda session: catalogue.versions(session, 1, "promotion"))
    assert [(each.version, each.shipped) for each in kept] == [(2, True), (1, False)]


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)
async def test_a_list_of_any_length_goes_in_and_what_is_wrong_with_it_is_told(house: House, ann: Browser) -> None:
    path = await make(ann)
    many = b"email\n" + b"".join(b"p%d@example.org\n" % number for number in range(3000))
    assert await upload(ann, path, many) == 200
    assert "3,000" in ann.text
    for content, said in (
        (b"", "the body is empty"),
        (b"name\nAnn\n", "name one of its columns email"),
        ("email\n".encode("utf-16"), "save the file as UTF-8"),
    ):
        assert await upload(ann, path, content) == 422
        assert said in ann.text
    assert await upload(ann, path, many, csrf="0" * 64) == 403
    await ann.get(path + "/recipients")
    plain = await ann.client.post(ann._path(path + "/recipients"), data={"csrf": ann.csrf()})
    assert plain.status_code == 400
    cut = await ann.client.post(
        ann._path(path + "/recipients"),
        content=CUT % ann.csrf().encode(),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert cut.status_code == 400
    assert "was cut off" in cut.text
    told = await house.service.database.read(
        lambda session: [entry.data for entry in session.exec(select(AuditEntry)) if "recipients" in entry.act]
    )
    assert {"new": 3000, "suppressed": 0, "refused": 0} in told
    assert {"broken_off": True} in told


async def test_bad_input_is_told_and_what_was_typed_stays(house: House, ann: Browser) -> None:
    await ann.get("@/campaigns/new")
    given = {"name": "Spring", "subject": "Spring", "text": "It is here.", "topic": "newsletter", "zone": "UTC"}
    for wrong, said in (
        ({"name": ""}, "one line of text"),
        ({"subject": "a\r\nBcc: b@example.org"}, "Subject: holds a line end"),
        ({"subject": ""}, "Subject: is required"),
        ({"topic": ""}, "a campaign belongs to a topic"),
        ({"topic": "no-such"}, "there is no topic no-such"),
        ({"from": "else@example.org"}, "not one of the tenant"),
        ({"tags": "without"}, "written name=value"),
        ({"expires_at": "2020-01-01T00:00"}, "has passed already"),
        ({"expires_at": HOSTILE}, "must be a day and a time"),
    ):
        answer = await ann.post("@/campaigns/new", {**given, "html": "<b>kept</b>", **wrong})
        assert answer.status_code == 422, wrong
        assert said in ann.text, wrong
        assert "&lt;b&gt;kept&lt;/b&gt;" in answer.text
        assert HOSTILE not in answer.text
    assert (await ann.get("@/campaigns/new", template="no-such")).status_code == 404
    path = await make(ann)
    for to in ("", "nobody", " ".join(f"p{number}@example.org" for number in range(11))):
        assert await do(ann, path, "test", to=to) == 422
    assert await do(ann, path, "fly") == 422


async def test_roles_see_and_do_what_the_table_says(house: House, ann: Browser) -> None:
    path = await make(ann)
    for email in (SUPPORT, VIEWER):
        async with house.browser() as other:
            await other.sign_in(email)
            assert (await other.get("@/campaigns")).status_code == 200
            assert not other.page.css('a[href$="/campaigns/new"]')
            page = await other.get(path)
            assert page.status_code == 200
            assert not other.page.css("main form")
            for way in ("@/campaigns/new", path + "/edit", path + "/recipients"):
                assert (await other.get(way)).status_code == 403
            token = re.findall(r'name="csrf" value="([^"]+)"', (await other.get("@/campaigns")).text)[0]
            started = await other.client.post(other._path(path), data={"csrf": token, "do": "start"})
            assert started.status_code == 403
            files = {"file": ("a.csv", b"email\nann@example.org\n", "text/csv")}
            sent = await other.client.post(other._path(path + "/recipients"), data={"csrf": token}, files=files)
            assert sent.status_code == 403
    assert await rows(house) == []


async def test_another_tenants_campaign_is_not_found(house: House, ann: Browser) -> None:
    path = await make(ann)
    await house.customer()
    await house.user("boss@customer.example", tenant="customer")
    async with house.browser() as boss:
        await boss.sign_in("boss@customer.example")
        boss.tenant = "customer"
        await boss.get("@/campaigns")
        assert "No campaign yet" in boss.text
        for way in ("", "/edit", "/recipients"):
            assert (await boss.get(path + way)).status_code == 404
        await boss.get("@/campaigns/new")
        assert (await boss.post(path, do="cancel")).status_code == 404
        await boss.get("@/campaigns/new")
        files = {"file": ("a.csv", b"email\nann@example.org\n", "text/csv")}
        sent = await boss.client.post(boss._path(path + "/recipients"), data={"csrf": boss.csrf()}, files=files)
        assert sent.status_code == 404
    assert (await one(house)).status is CampaignStatus.DRAFT
    assert await rows(house) == []


async def test_the_list_goes_on_by_keyset(house: House, ann: Browser) -> None:
    def many(session: Session) -> None:
        first = session.exec(select(Campaign)).one()
        for number in range(30):
            copy = first.model_copy(update={"id": f"{first.id[:-3]}_{number:02}", "name": f"n{number}"})
            session.add(Campaign(**copy.model_dump()))

    await make(ann)
    await house.service.database.run(many)
    await ann.get("@/campaigns")
    shown = [node.text() for node in ann.page.css("tbody td a b")]
    (older,) = [str(node.attributes["href"]) for node in ann.page.css("a[rel=next]")]
    await ann.get(older.removeprefix("/app"))
    rest = [node.text() for node in ann.page.css("tbody td a b")]
    assert (len(shown), len(rest)) == (25, 6)
    assert not set(shown) & set(rest)


def test_moments_are_read_in_their_zone() -> None:
    assert moments.moment("", "UTC", "at") is None
    assert moments.moment("2026-07-01T12:00", "Europe/Kyiv", "at") == datetime(2026, 7, 1, 9, 0, tzinfo=UTC)
    assert moments.written(datetime(2026, 7, 1, 9, 0, tzinfo=UTC)) == "2026-07-01T09:00"
    for text in ("soon", "2026-07-01T12:00+02:00", "2026-13-01T12:00", "9999-12-31T23:59"):
        with pytest.raises(Invalid):
            moments.moment(text, "America/New_York", "at")
    assert "Europe/Kyiv" in moments.zones()


async def test_an_edit_keeps_what_its_form_does_not_show(house: House, ann: Browser) -> None:
    path = await make(ann)
    made = await one(house)
    who = {"email": made.from_address, "name": "Ann from Ringwise"}
    named = parse(CampaignChange, {"from": who, "locale": "uk"})
    sender, intake = Submitter.trusted(1), house.service.intake
    await house.service.database.run(
        lambda session: campaigns.update(session, sender, made.id, named, intake, house.now())
    )
    await ann.get(path + "/edit")
    fields = typed(ann)
    assert (await ann.post(path + "/edit", {**fields, "name": "Without a slip"})).status_code == 303
    kept = await one(house)
    assert (kept.name, kept.from_name, kept.locale) == ("Without a slip", "Ann from Ringwise", "uk")
