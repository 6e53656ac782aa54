"""Emails as a screen: found by anything, one with all that happened to it, and what may be done about it."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest
from sqlmodel import Session

from mailer import emails, people
from mailer.emails import Filter
from mailer.feedback import optouts
from mailer.feedback.inbound.report import Category, Kind
from mailer.feedback.tracking.sightings import Class
from mailer.models import Email, Opens, UserRole
from mailer.people import Permission
from mailer.providers import PROVIDERS
from mailer.status import Status
from mailer.uncertain import Resolution
from mailer.web.dashboard.bounces import KINDS
from mailer.web.dashboard.words import WORDS
from mailer.web.explaining import enders
from suppression.rules import Origin, Reason
from tests.dashboard import mails
from tests.dashboard.house import MARKETER, OWNER, SUPPORT, VIEWER, Browser, House, open_house
from tests.dashboard.mails import ANN, HOSTILE


@pytest.fixture
async def house(house: House) -> House:
    await mails.ready(house)
    return house


async def found(person: Browser, **fields: str) -> list[str]:
    """Search, and return the ids of the emails that are shown."""
    await person.get("@/emails")
    answer = await person.post("@/emails", fields)
    assert answer.status_code == 303, person.text
    await person.get(answer.headers["location"].removeprefix("/app"))
    links = [str(node.attributes["href"]) for node in person.page.css("td:first-child a")]
    return [link.rpartition("/")[2] for link in links]


async def test_mail_is_found_by_whom_what_and_when_and_no_address_stands_in_an_address(house: House) -> None:
    first = await mails.sent(house, tags={"team": "blue"})
    house.later(days=1)
    second = await mails.accepted(house, "bob@example.org", topic="events")
    third = await mails.sent(house, stream="transactional", topic=None, tags={"team": "red"})
    campaign = await mails.campaign(house, "Spring")
    second = await mails.become(house, second, Status.QUEUED, campaign_id=campaign)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        assert await found(ann) == [third.id, second.id, first.id], "the newest first"
        for fields, wanted in (
            ({"who": " Ann@Example.org "}, [third.id, first.id]),
            ({"who": ANN, "stream": "promotional"}, [first.id]),
            ({"status": "queued"}, [second.id]),
            ({"topic": "newsletter"}, [first.id]),
            ({"tag": "team=red"}, [third.id]),
            ({"campaign": campaign}, [second.id]),
            ({"from": "2026-11-21"}, [third.id, second.id]),
            ({"to": "2026-11-20"}, [first.id]),
            ({"who": "nobody@example.org"}, []),
            ({"status": "failed"}, []),
        ):
            assert await found(ann, **fields) == wanted, fields
            assert ann.last is not None
            assert "@" not in str(ann.last.url), "an address would stand in somebody's log"
        assert "No such email" in ann.text
        await found(ann, who=ANN)
        assert "Only mail to ann@example.org." in ann.text
        await ann.get("@/emails")
        page = ann.last
        for words in (first.id, f"<{emails.message_id(first)}>", first.id.upper()):
            ann.last = page
            answer = await ann.post("@/emails", who=words)
            assert answer.headers["location"].endswith(f"/emails/{first.id}")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"who": "ann@"}, "the address has nothing after the @"),
        ({"who": HOSTILE}, "type an address, an email’s id or a Message-ID"),
        ({"who": "em_" + "0" * 26}, "there is no such email"),
        ({"tag": "blue"}, "is written name=value"),
    ],
    ids=["address", "words", "id", "tag"],
)
async def test_what_cannot_be_looked_for_is_said_beside_what_was_typed(
    house: House, fields: dict[str, str], said: str
) -> None:
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        await ann.get("@/emails")
        answer = await ann.post("@/emails", {**fields, "status": "sent"})
        assert answer.status_code == 422
        assert said in ann.text
        assert HOSTILE not in answer.text
        (name,) = fields
        field = ann.page.css_first(f"#f-{name}")
        assert field is not None
        assert field.attributes["value"] == fields[name]
        assert field.attributes["aria-invalid"] == "true"
        chosen = ann.page.css_first("#f-status option[selected]")
        assert chosen is not None
        assert chosen.attributes["value"] == "sent"


async def test_a_list_pages_by_keyset_and_says_how_to_begin_where_there_is_nothing(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        await ann.get("@/emails")
        assert "No email yet" in ann.text
        assert "mailer send" in ann.text
        made = [await mails.accepted(house, f"p{number}@example.org") for number in range(51)]
        await ann.get("@/emails")
        assert len(ann.page.css("tbody tr")) == 50
        (older,) = [str(node.attributes["href"]) for node in ann.page.css("a[rel=next]")]
        await ann.get(older.removeprefix("/app"))
        assert [str(node.attributes["href"]).rpartition("/")[2] for node in ann.page.css("td a")] == [made[0].id]
        for query in ({"after": HOSTILE}, {"person": HOSTILE}, {"from": "0000-99-99"}, {"stream": HOSTILE}):
            answer = await ann.get("@/emails", **query)
            assert answer.status_code == 200
            assert HOSTILE not in answer.text


async def test_one_email_tells_its_way_with_what_the_servers_said(house: House) -> None:
    email = await mails.sent(house, tags={"team": HOSTILE[:90]}, metadata={"order": HOSTILE}, subject=HOSTILE)
    reply = f"552 5.2.2 {HOSTILE} is full"
    await mails.told(house, email, diagnostic=reply, status="5.2.2", reporter=HOSTILE)
    await mails.happened(house, email, "email.opened", {"class": "human", "rule": "known-agent"})
    await mails.happened(
        house, email, "email.clicked", {"class": "machine", "rule": "burst", "link": 3, "url": f"https://x/{HOSTILE}"}
    )
    async with house.browser() as ann:
        await ann.sign_in(MARKETER)
        answer = await ann.get(f"@/emails/{email.id}")
        steps = [node.text() for node in ann.page.css(".steps b")]
        assert steps == ["Accepted", "The relay took it", "Came back", "Opened", "Link followed"]
        for said in ("mailbox full", "5.2.2", "a person", "known-agent", "a machine", "burst", "is full", "bounced"):
            assert said in ann.text, said
        assert f"<{emails.message_id(email)}>" in ann.text
        assert "250 2.0.0 taken as <b>42</b>" in ann.text
        assert "<script" not in answer.text.replace("&lt;script", "")
        assert "<img" not in answer.text
        await ann.get("@/emails")
        assert ann.last is not None
        assert "<img" not in ann.last.text


async def test_what_recipients_share_and_own_headers_are_shown_as_text(house: House) -> None:
    email = await mails.sent(
        house,
        stream="transactional",
        topic=None,
        to=[{"email": ANN, "name": "Ann <b>Weaver</b>"}, "bob@example.org"],
        cc=["cy@example.org"],
        reply_to="desk@ringwise.example",
        headers={"X-Ticket": "<script>7</script>"},
    )
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        answer = await ann.get(f"@/emails/{email.id}")
        facts = [" ".join(node.text().split()) for node in ann.page.css(".facts dd")]
        for said in (
            "Ann <b>Weaver</b> ann@example.org",
            "ann@example.org Ann <b>Weaver</b>, bob@example.org",
            "cy@example.org",
            "desk@ringwise.example",
            "<script>7</script>",
        ):
            assert said in facts, said
        assert "<b>Weaver" not in answer.text
        assert "<script" not in answer.text


@pytest.mark.parametrize("language", ["en", "uk"])
def test_everything_that_can_be_told_has_words(language: str) -> None:
    words = WORDS[language]
    told: dict[str, Sequence[str]] = {
        "email_status": list(Status),
        "email_event": [status for status in Status if status not in (Status.SCHEDULED, Status.HELD, Status.SENDING)],
        "email_mode": list(Opens),
        "email_class": list(Class),
        "email_do": list(Resolution),
        "done_email": [*Resolution, "cancel"],
        "person_rule": [*Reason, people.NOT_OPTED_IN],
        "person_why": [*Reason, people.NOT_OPTED_IN],
        "person_origin": list(Origin),
        "person_way": list(optouts.Kind),
        "person_end": [enders(rule) for rule in (*Reason, people.NOT_OPTED_IN)],
        "cause": list(Category),
        "unmatched_kind": list(Kind),
        "bounce_provider": list(PROVIDERS),
        "bounce_kind": list(KINDS),
    }
    keys = [f"{prefix}_{each}" for prefix, names in told.items() for each in names]
    assert [key for key in keys if key not in words] == []


async def test_hits_of_who_asked_not_to_be_measured_are_not_shown(house: House) -> None:
    email = await mails.sent(house)
    await mails.happened(house, email, "email.opened", {"class": "human", "rule": "known-agent"})

    def refuse(session: Session) -> None:
        no = Permission(
            tenant_id=1, fingerprint=email.fingerprint or b"", purpose=people.TRACKING, source="page", granted=False
        )
        people.permit(session, no, house.now())

    async with house.browser() as ann:
        await ann.sign_in(MARKETER)
        await ann.get(f"@/emails/{email.id}")
        assert "known-agent" in ann.text
        await house.service.database.run(refuse)
        await ann.get(f"@/emails/{email.id}")
        assert "known-agent" not in ann.text
        assert "asked not to be measured" in ann.text


async def test_a_stopped_email_says_by_which_rule_and_leads_to_all_of_them(house: House) -> None:
    await mails.left(house, await mails.sent(house))
    house.later(minutes=5)
    stopped = await mails.accepted(house)
    assert stopped.status is Status.SUPPRESSED
    async with house.browser() as ann, house.browser() as mark:
        await ann.sign_in(SUPPORT)
        await ann.get(f"@/emails/{stopped.id}")
        assert "Not sent: Unsubscribed." in ann.text
        assert "by the person. It covers: All promotional mail." in ann.text
        leads = [str(node.attributes["href"]) for node in ann.page.css(".notice a")]
        (why,) = leads
        assert (await ann.get(why.removeprefix("/app"))).status_code == 200
        assert "No: the person has unsubscribed." in ann.text
        await mark.sign_in(MARKETER)
        await mark.get(f"@/emails/{stopped.id}")
        assert mark.page.css(".notice a") == [], "marketers see no people"


async def test_an_email_is_taken_back_once_and_by_support_only(house: House) -> None:
    email = await mails.accepted(house)
    async with house.browser() as ann, house.browser() as mark:
        await mark.sign_in(MARKETER)
        await mark.get(f"@/emails/{email.id}")
        assert mark.page.css_first("[value=cancel]") is None
        assert (await mark.post(f"@/emails/{email.id}", do="cancel")).status_code == 403
        await ann.sign_in(SUPPORT)
        await ann.get(f"@/emails/{email.id}")
        assert (await ann.post(f"@/emails/{email.id}", do="explode")).status_code == 422
        done = await ann.post(f"@/emails/{email.id}", do="cancel")
        assert done.headers["location"].endswith("done=email_cancel")
        await ann.get(f"@/emails/{email.id}", done="email_cancel")
        assert "The email was taken back." in ann.text
        assert ann.page.css_first("[value=cancel]") is None
    (kept,) = await mails.emails(house)
    assert kept.status is Status.CANCELLED
    assert "email.cancelled" in await house.acts()


@pytest.mark.parametrize(("do", "status"), [("sent", Status.SENT), ("failed", Status.FAILED), ("again", Status.QUEUED)])
async def test_what_is_uncertain_is_settled_with_a_note(house: House, do: str, status: Status) -> None:
    email = await mails.become(house, await mails.accepted(house), Status.UNCERTAIN)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        await ann.get(f"@/emails/{email.id}")
        assert "Did it go?" in ann.text
        answer = await ann.post(f"@/emails/{email.id}", do=do, note_email=" ")
        assert answer.status_code == 422
        assert "is missing" in ann.text
        answer = await ann.post(f"@/emails/{email.id}", do=do, note_email=f"log: {HOSTILE}")
        assert answer.status_code == 303
        page = await ann.get(f"@/emails/{email.id}")
        assert f"log: {HOSTILE}" in ann.text
        assert SUPPORT in ann.text, "who decided"
        assert HOSTILE not in page.text
    (kept,) = await mails.emails(house)
    assert kept.status is status
    assert "email.resolved" in await house.acts()


async def test_a_mail_is_read_in_a_frame_by_whoever_may(house: House) -> None:
    news = await mails.sent(house, html=f"<p>Ding</p><a href='https://a.example'>b</a><!--{HOSTILE}-->")
    written_out = await mails.sent(house, stream="transactional", topic=None, text="your code is 4711", html=None)
    urgent = await mails.sent(house, ANN, **mails.templated("password-reset"))
    welcome = await mails.sent(house, ANN, **mails.templated("welcome"))
    async with house.browser() as ann, house.browser() as mark:
        await ann.sign_in(OWNER)
        await mark.sign_in(MARKETER)
        for person, email, readable in (
            (mark, news, True),
            (mark, welcome, False),
            (ann, news, True),
            (ann, welcome, True),
            (ann, written_out, False),
            (ann, urgent, False),
        ):
            await person.get(f"@/emails/{email.id}")
            frame = person.page.css_first("iframe")
            assert (frame is not None) is readable, email.template
            if frame is not None:
                assert frame.attributes["sandbox"] in ("", None), "nothing is allowed in it"
            answer = await person.get(f"@/emails/{email.id}/body")
            assert answer.status_code == (200 if readable else 404)
            assert ("4711" in answer.text) is False
            if readable:
                policy = answer.headers["content-security-policy"]
                assert "sandbox;" in policy
                assert "default-src 'none'" in policy


async def test_who_may_not_see_them_and_other_tenants_get_nothing(house: House) -> None:
    await house.customer()
    await house.user("boss@customer.example", UserRole.OWNER, "customer")
    email = await mails.sent(house)
    async with house.browser() as boss, house.browser() as viewer:
        await boss.sign_in("boss@customer.example")
        boss.tenant = "customer"
        for path in (f"@/emails/{email.id}", f"@/emails/{email.id}/body", "@/emails/em_none"):
            assert (await boss.get(path)).status_code == 404
        await boss.get("@/emails")
        assert (await boss.post(f"@/emails/{email.id}", do="cancel")).status_code == 404
        await boss.get("@/emails")
        assert (await boss.post("@/emails", who=email.id)).status_code == 422
        shown = await boss.get("@/emails", person=mails.fingerprint(house))
        assert "ann@" not in shown.text
        await viewer.sign_in(VIEWER)
        for path in ("@/emails", f"@/emails/{email.id}", f"@/emails/{email.id}/body"):
            assert (await viewer.get(path)).status_code == 403


@pytest.fixture
async def many(database_url: str) -> AsyncIterator[House]:
    async with open_house(database_url) as house:
        await mails.ready(house)
        yield house


async def test_a_search_looks_at_so_many_and_says_where_to_go_on(many: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded: what has no index of its own may be far between."""
    made: list[Email] = []
    for number in range(9):
        many.later(minutes=1)
        made.append(await mails.accepted(many, f"p{number}@example.org", tags={"n": str(number % 4)}))
    monkeypatch.setattr(emails, "LOOKED_AT", 3)
    wanted, pages, after = Filter(tag="n=0"), [], None
    for _ in range(4):
        page = await many.service.database.read(
            lambda session, after=after: emails.search(session, 1, wanted, limit=2, after=after)  # type: ignore[misc]
        )
        pages.append([each.id for each in page.emails])
        after = page.after
        if after is None:
            break
    assert pages == [[made[8].id], [made[4].id], [made[0].id], []]
    within = Filter(tag="n=0", accepted=(many.now() - timedelta(minutes=5), many.now() + timedelta(minutes=1)))
    page = await many.service.database.read(lambda session: emails.search(session, 1, within, limit=9))
    assert [each.id for each in page.emails] == [made[8].id]


async def test_the_subject_of_mail_that_may_hold_a_code_is_shown_to_nobody(house: House) -> None:
    secret = await mails.sent(house, stream="transactional", topic=None, subject="481516 is your code")
    await mails.sent(house, subject="The spring news")
    async with house.browser() as ann:
        await ann.sign_in(OWNER)
        await ann.get("@/emails")
        assert "The spring news" in ann.text
        assert "481516" not in ann.text
        await ann.get(f"@/emails/{secret.id}")
        assert ANN in ann.text
        assert "481516" not in ann.text
        links = [str(node.attributes["href"]) for node in ann.page.css("a")]
        await ann.get(next(link for link in links if "/people/" in link).removeprefix("/app"))
        assert "The spring news" in ann.text
        assert "481516" not in ann.text
