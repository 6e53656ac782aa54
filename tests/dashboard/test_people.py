"""People as a screen: found though their address stands nowhere, why mail comes or not, what support does for them."""

import json
import re

import pytest
from sqlmodel import Session, select

from mailer import people, tenancy
from mailer.feedback.inbound.report import Category, Kind
from mailer.models import AuditEntry, Consent, TopicDefault, UserRole
from mailer.people import LastOpen
from mailer.status import Status
from suppression import address
from suppression.entries import Entry
from tests.dashboard import mails
from tests.dashboard.house import MARKETER, OWNER, SUPPORT, VIEWER, Browser, House, open_house
from tests.dashboard.mails import ANN, HOSTILE


@pytest.fixture
async def house(house: House) -> House:
    await mails.ready(house)
    return house


async def opened(person: Browser, who: str = ANN) -> str:
    """Find somebody, open their page, and return its path."""
    await person.get("@/people")
    answer = await person.post("@/people", do="find", who=who)
    assert answer.status_code == 303, person.text
    path = "@" + answer.headers["location"].removeprefix("/app/t/default").partition("?")[0]
    assert re.fullmatch(r"@/people/[0-9a-f]{32}", path)
    assert (await person.get(path)).status_code == 200
    return path


async def stored(house: House) -> list[Entry]:
    return await house.service.database.read(lambda session: list(session.exec(select(Entry)).all()))


async def consents(house: House) -> list[Consent]:
    return await house.service.database.read(lambda session: list(session.exec(select(Consent)).all()))


async def test_somebody_is_found_by_address_or_mail_and_what_comes_is_told(house: House) -> None:
    email = await mails.sent(house, subject=HOSTILE)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        assert await opened(ann, f" {email.id} ") == path
        assert await opened(ann, "ANN@example.org") == path
        assert await opened(ann, mails.fingerprint(house)) == path, "as the audit log names them"
        assert ann.page.css("h1")[0].text() == ANN
        pairs = {mails.text_of(node, "b"): mails.text_of(node, ".badge") for node in ann.page.css(".pairs li")}
        assert pairs["Newsletter"] == "comes"
        assert "Yes: nothing forbids it." in ann.text
        assert "Nothing has ever stood against mail to this person." in ann.text
        assert ann.last is not None
        assert "<img" not in ann.last.text
        assert HOSTILE in ann.text, "the subject, escaped"


@pytest.mark.parametrize(
    ("who", "said"),
    [
        ("", "Type an address"),
        ("ann@", "nothing after the @"),
        (HOSTILE, "Type an address"),
        ("em_" + "0" * 26, "no such"),
    ],
    ids=["nothing", "address", "words", "id"],
)
async def test_who_cannot_be_looked_for_is_said(house: House, who: str, said: str) -> None:
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        await ann.get("@/people")
        answer = await ann.post("@/people", do="find", who=who)
        assert answer.status_code == 422
        assert said in ann.text
        assert HOSTILE not in answer.text


async def test_whoever_is_not_known_yet_can_be_opted_out_before_any_mail(house: House) -> None:
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        await ann.get("@/people")
        await ann.post("@/people", do="find", who="new@example.org")
        assert "Nobody is known by that address" in ann.text
        assert (await ann.post("@/people", do="leave", who="new@example.org", leave_topic="")).status_code == 422
        assert "Nobody is known by that address" in ann.text, "the form is still there"
        done = await ann.post("@/people", do="leave", who="new@example.org", leave_topic="", note_leave="t")
        assert done.status_code == 303
        await opened(ann, "new@example.org")
        assert "They have left all promotional mail" in ann.text
    (entry,) = await stored(house)
    assert (entry.reason, entry.scope, entry.note) == ("unsubscribe", "stream:promotional", "t")
    assert (await mails.accepted(house, "new@example.org")).status is Status.SUPPRESSED


async def test_why_names_each_rule_the_one_that_decides_its_mail_and_who_may_end_it(house: House) -> None:
    email = await mails.sent(house)
    await mails.left(house, email, ip="192.0.2.9")
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        rules = [node.text() for node in ann.page.css(".rules > li")]
        (decides,) = [node.text() for node in ann.page.css(".rules > .bad")]
        assert len(rules) == 7
        for said in ("Unsubscribed", "forbids it", "20 Nov 2026", "the person alone, by a fresh opt-in", email.id):
            assert said in decides, said
        await ann.get(path, mail="stream:transactional")
        assert "Yes: nothing forbids it." in ann.text
        assert "stands, but not for this mail" in ann.text
        await ann.get(path, mail="topic:newsletter")
        assert "No: the person has unsubscribed." in ann.text
        assert "the link in a mail" in ann.text
        assert (await ann.get(path, mail=HOSTILE)).status_code == 200

        def ask(session: Session) -> None:
            for topic in people.topics(session, 1):
                topic.default = TopicDefault.OPT_OUT

        await house.service.database.run(ask)
        await ann.get(path, mail="topic:events")
        assert "Yes to the topic is missing" in ann.text


async def test_support_opts_out_and_takes_it_back_within_half_an_hour(house: House) -> None:
    await mails.sent(house)
    waiting = await mails.accepted(house)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        assert (await ann.post(path, do="leave", leave_topic="", note_leave="")).status_code == 422
        assert "say what shows that they asked" in ann.text
        assert ann.page.css_first("details[open] [name=note_leave]") is not None, "its form is still open"
        assert (await ann.post(path, do="leave", leave_topic="nope", note_leave="t")).status_code == 422
        await ann.get(path)
        done = await ann.post(path, do="leave", leave_topic="newsletter", note_leave=HOSTILE)
        assert done.status_code == 303
        page = await ann.get(path, done="person_leave")
        assert "They are opted out." in ann.text
        assert HOSTILE in ann.text
        assert HOSTILE not in page.text
        assert "support, on their behalf" in ann.text
        assert f"Written down by: {SUPPORT}" in ann.text
        (entry,) = await stored(house)
        assert entry.scope == "topic:newsletter"
        kept = next(each for each in await mails.emails(house) if each.id == waiting.id)
        assert kept.status is Status.SUPPRESSED, "what waited is stopped at once"
        assert (await ann.post(path, do="undo")).status_code == 303
        (entry,) = await stored(house)
        assert entry.lifted_at is not None
        await ann.get(path)
        assert "Undo support’s last act" not in ann.text
        assert (await ann.post(path, do="undo")).status_code == 409
    assert [act for act in await house.acts() if act.startswith("person.")] == [
        "person.opted_out",
        "person.act_undone",
    ]


def seen(ann: Browser) -> dict[str, str]:
    """Return what the form says of the state that it shows."""
    (node,) = ann.page.css("[name=seen]")
    return {"seen": str(node.attributes["value"])}


async def test_a_stale_form_undoes_nothing_that_the_person_did_meanwhile(house: House) -> None:
    email = await mails.sent(house)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        ticked = [str(node.attributes["value"]) for node in ann.page.css("[name=topic][checked]")]
        stale = {"do": "save", "topic": ticked, "tracking": "", "locale": "uk", "note_save": "t", **seen(ann)}
        await mails.left(house, email)
        answer = await ann.post(path, stale)
        assert answer.status_code == 409
        assert [entry.lifted_at for entry in await stored(house)] == [None]


async def test_support_takes_back_no_opt_out_that_the_person_said_too(house: House) -> None:
    email = await mails.sent(house)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        await ann.post(path, {"do": "leave", "leave_topic": "", "note_leave": "ticket 9"})
        await ann.get(path)
        assert "Undo support" in ann.text
        house.later(minutes=5)
        await mails.left(house, email)
        await ann.get(path)
        assert "Undo support" not in ann.text
        await ann.post(path, {"do": "undo"})
    assert [entry.lifted_at for entry in await stored(house)] == [None]


async def test_support_saves_what_a_person_wants_with_the_proof_of_each_yes(house: House) -> None:
    email = await mails.sent(house)
    await mails.left(house, email)
    async with house.browser() as ann:
        await ann.sign_in(OWNER)
        path = await opened(ann)
        same = {"do": "save", "topic": ["notifications"], "tracking": "", "locale": "", "note_save": "t", **seen(ann)}
        assert (await ann.post(path, same)).status_code == 422
        assert "Nothing was changed" in ann.text
        await ann.get(path)
        wanted = {**same, "topic": ["events"], "tracking": "yes", "locale": "uk", "note_save": "ticket 9"}
        assert (await ann.post(path, {**wanted, "note_save": ""})).status_code == 422
        ticked = [str(node.attributes["value"]) for node in ann.page.css("[name=topic][checked]")]
        assert ticked == ["events"], "what was ticked stays"
        assert (await ann.post(path, {**wanted, "locale": "Klingon!"})).status_code == 422
        await ann.get(path)
        assert (await ann.post(path, wanted)).status_code == 303
        await ann.get(path)
        assert {mails.text_of(node, "b") for node in ann.page.css(".pairs li") if "comes" in node.text()} == {"Events"}
        assert "said yes" in ann.text
        assert "Українська" in ann.text
    said = {each.purpose: each for each in await consents(house)}
    assert set(said) == {"topic:events", "tracking"}
    for each in said.values():
        assert (each.granted, each.source, each.wording) == (True, "support", "told to support")
        assert each.evidence is not None
        assert each.evidence["note"] == "ticket 9"
    entries = await house.service.database.read(lambda session: list(session.exec(select(AuditEntry)).all()))
    changed = next(each for each in entries if each.act == "person.preferences_changed")
    assert changed.data == {"changed": ["locale", "topics", "tracking"]}
    assert not any("@" in f"{each.target}{each.data}" for each in entries), "no address in the log"


async def test_a_complaint_is_not_ended_by_support(house: House) -> None:
    await mails.told(house, await mails.sent(house), Kind.COMPLAINED, category=Category.COMPLAINT)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        assert "reported our mail as spam" in ann.text
        answer = await ann.post(
            path, {"do": "save", "topic": ["newsletter"], "note_save": "t", "tracking": "", **seen(ann)}
        )
        assert answer.status_code == 422
        assert "only they can end that" in ann.text
    assert [entry.lifted_at for entry in await stored(house)] == [None]


async def test_mail_pauses_and_comes_again(house: House) -> None:
    await mails.sent(house)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        assert (await ann.post(path, do="snooze", note_snooze="t")).status_code == 303
        await ann.get(path)
        assert "Promotional mail pauses until 20 Dec 2026" in ann.text
        assert (await ann.post(path, do="wake", note_wake="t")).status_code == 303
        await ann.get(path)
        assert "pauses until" not in ann.text


async def test_an_operators_entry_is_lifted_with_a_note_and_a_persons_is_not(house: House) -> None:
    email = await mails.sent(house)
    await mails.told(house, email, hard=True, category=Category.INVALID_RECIPIENT)
    await mails.left(house, await mails.sent(house, "bob@example.org"))
    hard, own = sorted(await stored(house), key=lambda entry: entry.reason != "hard_bounce")
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        assert "No: mail came back for good" in ann.text
        assert (await ann.post(path, do="lift", entry=hard.id, note_lift="")).status_code == 422
        await ann.get(path)
        assert (await ann.post(path, do="lift", entry=own.id, note_lift="t")).status_code == 404, "somebody else's"
        await ann.get(path)
        assert (await ann.post(path, do="lift", entry=hard.id, note_lift="they wrote")).status_code == 303
        await ann.get(path)
        assert f"{SUPPORT}: they wrote" in ann.text
        bob = await opened(ann, "bob@example.org")
        assert ann.page.css("[name=entry]") == [], "nothing to lift"
        assert (await ann.post(bob, do="lift", entry=own.id, note_lift="t")).status_code == 409


async def test_the_day_of_the_last_open_is_shown_where_nothing_else_is_kept(house: House) -> None:
    await mails.sent(house)
    prints = house.service.intake.fingerprints

    def open_once(session: Session) -> None:
        tenancy.only_tenant(session, "default").last_open_only = True
        one = prints.of(1, address.parse(ANN).canonical)
        people.keep_last_opens(session, 1, {one: LastOpen(ANN, house.now().date())}, house.now())

    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        assert "Last open" not in ann.text
        await house.service.database.run(open_once)
        await ann.get(path)
        assert "Last open20 Nov 2026" in ann.text.replace("Last open 20", "Last open20")
        handed = await ann.post(path, do="export")
        assert json.loads(handed.text)["person"]["last_open"] == "2026-11-20"


async def test_a_persons_data_are_handed_out_and_erased_once_the_address_is_typed(house: House) -> None:
    email = await mails.sent(house, metadata={"order": "o-1"})
    await mails.left(house, email)
    async with house.browser() as ann:
        await ann.sign_in(SUPPORT)
        path = await opened(ann)
        answer = await ann.post(path, do="export")
        assert answer.headers["content-disposition"].startswith('attachment; filename="person-')
        assert "@" not in answer.headers["content-disposition"]
        known = json.loads(answer.text)
        assert known["person"]["email"] == ANN
        assert known["emails"][0]["metadata"] == {"order": "o-1"}
        assert known["suppressions"][0]["reason"] == "unsubscribe"
        for confirm in ("", "bob@example.org", HOSTILE):
            await ann.get(path)
            answer = await ann.post(path, do="erase", note_erase="ticket 9", confirm=confirm)
            assert answer.status_code == 422
            assert "nothing was erased" in ann.text
            assert HOSTILE not in answer.text
        await ann.get(path)
        done = await ann.post(path, do="erase", note_erase="ticket 9", confirm="Ann@Example.org")
        assert done.headers["location"].endswith("/people?done=person_erased")
        page = await ann.get(path)
        assert page.status_code == 200
        assert "An erased person" in ann.text
        assert ANN not in page.text
        assert ann.page.css("[name=do]") == [], "nothing is left to act upon"
        await ann.get("@/people")
        assert (await ann.post(path, do="export")).status_code == 409
    (kept,) = await mails.emails(house)
    assert kept.address is None
    assert [act for act in await house.acts() if act.startswith("person.")] == ["person.exported", "person.erased"]


async def test_who_may_not_see_them_and_other_tenants_get_nothing(house: House) -> None:
    await house.customer()
    await house.user("boss@customer.example", UserRole.OWNER, "customer")
    await mails.sent(house)
    path = f"@/people/{mails.fingerprint(house)}"
    async with house.browser() as boss, house.browser() as person:
        await boss.sign_in("boss@customer.example")
        boss.tenant = "customer"
        await boss.get("@/people")
        unknown = boss.last
        for strange in (path, "@/people/" + "0" * 32, "@/people/x"):
            assert (await boss.get(strange)).status_code == 404
            boss.last = unknown
            assert (await boss.post(strange, do="export")).status_code == 404
        boss.last = unknown
        await boss.post("@/people", do="find", who=ANN)
        assert "Nobody is known by that address" in boss.text
        for email in (MARKETER, VIEWER):
            await person.sign_in(email)
            for strange in ("@/people", path):
                assert (await person.get(strange)).status_code == 403
            await person.get("/account")
            assert (await person.post(path, do="export")).status_code == 403
            await person.post("/sign-out")


async def test_it_works_on_both_engines(database_url: str) -> None:
    async with open_house(database_url) as house:
        await house.everybody()
        await mails.ready(house)
        await mails.left(house, await mails.sent(house))
        async with house.browser() as ann:
            await ann.sign_in(SUPPORT)
            path = await opened(ann)
            wanted = {"do": "save", "topic": ["newsletter"], "tracking": "no", "note_save": "t", **seen(ann)}
            assert (await ann.post(path, wanted)).status_code == 303
            await ann.get(path, mail="topic:newsletter")
            assert "Yes: nothing forbids it." in ann.text
            assert (await ann.post(path, do="export")).status_code == 200
