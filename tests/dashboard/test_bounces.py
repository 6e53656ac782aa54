"""Bounces as a screen: the week against its limits, one by one with what followed, and reports that found no mail."""

import pytest
from sqlmodel import Session

from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.models import Email, UserRole
from mailer.reports import Wanted, returned
from tests import plans
from tests.dashboard import mails
from tests.dashboard.house import MARKETER, OWNER, SUPPORT, VIEWER, Browser, House, open_house
from tests.dashboard.mails import ANN, HOSTILE


@pytest.fixture
async def house(house: House) -> House:
    await mails.ready(house)
    return house


async def three(house: House) -> tuple[Email, Email, Email]:
    """Send three mails that come back: for good, for the moment, and as a complaint."""
    first = await mails.sent(house, "gone@gmail.com")
    await mails.told(house, first, hard=True, category=Category.INVALID_RECIPIENT, status="5.1.1", diagnostic=HOSTILE)
    second = await mails.sent(house, stream="transactional", topic=None, subject=HOSTILE)
    await mails.told(house, second, category=Category.MAILBOX_FULL, status="5.2.2")
    third = await mails.sent(house, "spam@yahoo.com")
    await mails.told(house, third, Kind.COMPLAINED, category=Category.COMPLAINT, source="arf")
    return first, second, third


def listed(person: Browser) -> list[str]:
    """Return the ids of the emails on the page."""
    return [str(node.attributes["href"]).rpartition("/")[2] for node in person.page.css("td:first-child a")]


async def test_each_is_listed_with_its_cause_and_what_followed(house: House) -> None:
    first, second, third = await three(house)
    campaign = await mails.campaign(house, HOSTILE)
    await mails.become(house, third, third.status, campaign_id=campaign)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        answer = await ann.get("@/bounces")
        assert listed(ann) == [third.id, second.id, first.id]
        rows = [" ".join(node.text().split()) for node in ann.page.css("tbody tr")]
        for row, said in (
            (rows[0], ("complaint", "Spam complaint: All promotional mail", "told by a complaint report")),
            (rows[1], ("not for good", "mailbox full", "5.2.2", "nothing is forbidden")),
            (rows[2], ("for good", "no such mailbox", "5.1.1", "Mailbox is gone: Everything", "Gmail")),
        ):
            for words in said:
                assert words in row, words
        assert "onerror=alert(1)>" in rows[2], "the server's words, escaped"
        assert "<img" not in answer.text
        assert "<script" not in answer.text
        for query, wanted in (
            ({"kind": "hard"}, [first]),
            ({"kind": "soft"}, [second]),
            ({"kind": "complaint"}, [third]),
            ({"category": "mailbox_full"}, [second]),
            ({"provider": "gmail"}, [first]),
            ({"stream": "transactional"}, [second]),
            ({"campaign": campaign}, [third]),
            ({"kind": "hard", "provider": "yahoo"}, []),
        ):
            await ann.get("@/bounces", **query)
            assert listed(ann) == [each.id for each in wanted], query
        assert "No such bounce" in ann.text
        for query in ({"kind": HOSTILE}, {"after": HOSTILE}, {"category": HOSTILE}, {"stream": HOSTILE}):
            assert HOSTILE not in (await ann.get("@/bounces", **query)).text


async def test_an_entry_that_was_lifted_is_told_as_lifted(house: House) -> None:
    first, *_ = await three(house)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = f"@/people/{mails.fingerprint(house, 'gone@gmail.com')}"
        await ann.get(path)
        entry = ann.page.css_first("[name=entry]")
        assert entry is not None
        await ann.post(path, do="lift", entry=str(entry.attributes["value"]), note_lift="t")
        await ann.get("@/bounces", kind="hard")
        assert listed(ann) == [first.id]
        assert "lifted 20 Nov 2026" in ann.text


async def test_the_numbers_of_the_week_stand_beside_their_limits_and_formulas(house: House) -> None:
    await three(house)
    async with house.browser() as ann:
        await ann.sign_in(MARKETER)
        await ann.get("@/bounces")
        promotional, transactional = (
            {mails.text_of(node, "dt"): mails.text_of(node, "dd") for node in article.css(".figure")}
            for article in sorted(ann.page.css("article"), key=lambda article: mails.text_of(article, "h2"))
        )
        assert promotional == {"Bounced for good": "1", "Bounced, not for good": "0", "Complaints": "1"}
        assert transactional == {"Bounced for good": "0", "Bounced, not for good": "1", "Complaints": "0"}
        assert "warning at 2.0 %, stop at 5.0 %" in ann.text
        assert "hard bounced / (sent + refused at once)" in ann.text
        assert ann.page.css(".figure.bad dt")[0].text() == "Bounced for good"


async def test_where_nothing_came_back_the_page_says_how_it_would_be_known(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in(OWNER)
        await ann.get("@/bounces")
        assert "Nothing has come back" in ann.text
        assert "MAILER_RETURN_PATH_DOMAIN" in ann.text
        await ann.get("@/bounces/unmatched")
        assert "Every report found its mail" in ann.text


async def test_reports_that_found_no_mail_are_shown_with_why_to_the_operator_alone(house: House) -> None:
    await house.customer()
    await house.user("boss@customer.example", UserRole.OWNER, "customer")
    lost = Report(
        Kind.BOUNCED,
        Category.MAILBOX_FULL,
        recipient=HOSTILE,
        diagnostic=f"552 {HOSTILE}",
        source="dsn",
        message_id=f"<{HOSTILE}@elsewhere.example>",
        envelope_id=HOSTILE,
        reporter=HOSTILE,
    )
    forged = lost._replace(kind=Kind.COMPLAINED, recipient=ANN, source="arf")
    await house.service.hear([(lost, Proof("operator")), (forged, Proof(""))])
    async with house.browser() as ann, house.browser() as boss, house.browser() as viewer:
        await ann.sign_in(SUPPORT)
        await ann.get("@/bounces")
        assert ann.page.css_first(".actions a") is not None
        answer = await ann.get("@/bounces/unmatched")
        for said in ("It names no mail of ours.", "Nobody vouches for it", "Final-Recipient", "elsewhere.example"):
            assert said in ann.text, said
        assert HOSTILE in ann.text
        assert "<img" not in answer.text
        assert ANN not in answer.text, "of what nobody vouches for no word about a person is kept"
        await boss.sign_in("boss@customer.example")
        boss.tenant = "customer"
        assert (await boss.get("@/bounces/unmatched")).status_code == 404
        await boss.get("@/bounces")
        assert boss.page.css_first(".actions a") is None
        await viewer.sign_in(VIEWER)
        for path in ("@/bounces", "@/bounces/unmatched"):
            assert (await viewer.get(path)).status_code == 403


async def test_another_tenants_bounces_are_not_listed(house: House) -> None:
    await house.customer()
    await house.user("boss@customer.example", UserRole.OWNER, "customer")
    await three(house)
    async with house.browser() as boss:
        await boss.sign_in("boss@customer.example")
        boss.tenant = "customer"
        await boss.get("@/bounces")
        assert listed(boss) == []


async def test_pages_are_bounded_and_walk_their_own_index(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_house(database_url) as house:
        await mails.ready(house)
        made: list[Email] = []
        for number in range(6):
            email = await mails.sent(house, f"p{number}@{'gmail.com' if number % 3 == 0 else 'example.org'}")
            await mails.told(house, email, hard=number == 3, category=Category.MAILBOX_FULL)
            await mails.happened(house, email, "email.opened", {"class": "human", "rule": "known-agent"})
            made.append(email)
        monkeypatch.setattr("mailer.reports.returns.LOOKED_AT", 2)
        wanted, pages, after = Wanted(provider="gmail"), [], None
        for _ in range(4):
            page = await house.service.database.read(
                lambda session, after=after: returned(session, 1, wanted, house.now(), limit=5, after=after)  # type: ignore[misc]
            )
            pages.append([each.email.id for each in page.returns if each.email])
            after = page.after
            if after is None:
                break
        assert pages == [[], [made[3].id], [made[0].id], []]
        hard = await house.service.database.read(
            lambda session: returned(session, 1, Wanted(hard=True), house.now(), limit=5, after=None)
        )
        assert [each.email.id for each in hard.returns if each.email] == []

        def planned(session: Session) -> list[str]:
            asked = plans.statements(session, lambda: returned(session, 1, wanted, house.now(), limit=5))
            return [plans.plan(session, statement) for statement in asked]

        if not house.service.database.on_postgresql:
            first, *_ = await house.service.database.read(planned)
            assert "USING INDEX event_returned" in first, first
