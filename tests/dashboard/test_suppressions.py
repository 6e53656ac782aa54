"""The suppression list as screens: found, added, lifted, brought in, carried out; scanners' opt-outs are undone."""

from datetime import timedelta

from sqlmodel import Session, col, select

from mailer import people
from mailer.drafts import SuppressionDraft
from mailer.models import Alarm, AlarmKind, AuditEntry, OptOutMark
from mailer.people import Book
from suppression import address, rules
from suppression.entries import Entry, NewEntry
from suppression.rules import Origin, Reason
from tests.dashboard.house import MARKETER, OWNER, SUPPORT, VIEWER, Browser, House

HOSTILE = '"><img src=x onerror=alert(1)><script>alert(1)</script>'
RAW = ("<img src=x", "<script>alert")


async def forbid(house: House, email: str, reason: Reason, *, tenant_id: int = 1, note: str = "") -> str:
    """Write an entry as the API would and return its id."""
    draft = SuppressionDraft(email=email, reason=reason, note=note or None)
    book = Book(tenant_id, Origin.API, house.service.intake.fingerprints)
    left = await house.service.database.run(lambda session: people.forbid(session, book, draft, house.time))
    house.later(seconds=1)
    return left.entry.id


async def entry(house: House, entry_id: str) -> Entry:
    return await house.service.database.read(lambda session: session.get_one(Entry, entry_id))


async def data_of(house: House, act: str) -> dict[str, object]:
    """Return what the audit log keeps of the last act of a kind."""
    last = select(AuditEntry).where(AuditEntry.act == act).order_by(col(AuditEntry.id).desc())
    found = await house.service.database.read(lambda session: session.exec(last).first())
    assert found is not None
    return dict(found.data or {})


async def post_file(person: Browser, data: bytes, **fields: str) -> int:
    """Send the form of an import with a file."""
    person.last = await person.client.post(
        f"/app/t/{person.tenant}/suppressions/import",
        data={"csrf": person.csrf(), **fields},
        files={"file": ("list.csv", data, "text/csv")},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    return person.last.status_code


async def test_the_list_is_found_by_address_reason_origin_and_scope(everywhere: House) -> None:
    house = everywhere
    await house.customer()
    await forbid(house, "ann@example.org", Reason.HARD_BOUNCE)
    await forbid(house, "bob@example.org", Reason.COMPLAINT)
    await forbid(house, "other@example.org", Reason.MANUAL, tenant_id=2)
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions")
        rows = [node.text() for node in person.page.css("tbody td:first-child")]
        assert rows == ["bob@example.org", "ann@example.org"], "newest first, and nobody else's"
        for query, found in (
            ({"reason": "complaint"}, ["bob@example.org"]),
            ({"scope": "all"}, ["ann@example.org"]),
            ({"origin": "import"}, []),
            ({"state": "past"}, []),
            ({"reason": "no-such", "origin": HOSTILE, "state": "x"}, rows),
        ):
            page = await person.get("@/suppressions", **query)
            assert page.status_code == 200
            assert [node.text() for node in person.page.css("tbody td:first-child")] == found, query
            assert not any(raw in page.text for raw in RAW)
        await person.post("@/suppressions", email="ANN@example.org")
        assert [node.text() for node in person.page.css("tbody td:first-child")] == ["ann@example.org"]
        await person.post("@/suppressions", email="nobody@example.org")
        assert "Nothing forbids mail to this address" in person.text
        answer = await person.post("@/suppressions", email=HOSTILE)
        assert answer.status_code == 422
        assert "has no @" in person.text
        assert not any(raw in answer.text for raw in RAW)


async def test_a_long_list_is_read_page_by_page(house: House) -> None:
    for number in range(52):
        await forbid(house, f"p{number:02}@example.org", Reason.INVALID)
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions", reason="invalid")
        assert len(person.page.css("tbody tr")) == 50
        (older,) = [str(node.attributes["href"]) for node in person.page.css("a[rel=next]")]
        await person.get(older.removeprefix("/app"))
        assert [node.text() for node in person.page.css("tbody td:first-child")] == [
            "p01@example.org",
            "p00@example.org",
        ]
        assert person.page.css("a[rel=next]") == []


async def test_an_entry_is_lifted_with_a_note_where_an_operator_may(everywhere: House) -> None:
    house = everywhere
    bounced = await forbid(house, "ann@example.org", Reason.HARD_BOUNCE, note=HOSTILE)
    complained = await forbid(house, "bob@example.org", Reason.COMPLAINT)
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        page = await person.get(f"@/suppressions/{bounced}")
        assert HOSTILE.partition(">")[2] not in page.text
        assert (await person.post(f"@/suppressions/{bounced}", note=" ")).status_code == 422
        assert "This was not done" in person.text
        assert (await person.post(f"@/suppressions/{bounced}", note="they wrote again")).status_code == 303
        lifted = await entry(house, bounced)
        assert (lifted.lifted_at, lifted.lift_note) == (house.time, "they wrote again")
        assert str(lifted.lifted_by).startswith("operator:us_")
        await person.get(f"@/suppressions/{bounced}", done="suppression_lifted")
        assert "they wrote again" in person.text
        assert "Lift the entry" not in person.text
        await person.get(f"@/suppressions/{complained}")
        assert "Only the person, by a fresh opt-in" in person.text
        assert "Lift the entry" not in person.text
        assert (await person.post(f"@/suppressions/{complained}", note="please")).status_code == 409
        assert (await entry(house, complained)).lifted_at is None
    assert "suppression.lifted" in await house.acts()


async def test_another_tenants_entry_is_not_there(house: House) -> None:
    await house.customer()
    other = await forbid(house, "ann@example.org", Reason.HARD_BOUNCE, tenant_id=2)
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions")
        for path in (f"@/suppressions/{other}", "@/suppressions/su_nothing"):
            assert (await person.get(path)).status_code == 404
            await person.get("@/suppressions")
            assert (await person.post(path, note="mine now")).status_code == 404
    assert (await entry(house, other)).lifted_at is None


async def test_who_may_what(house: House) -> None:
    listed = await forbid(house, "ann@example.org", Reason.HARD_BOUNCE)
    async with house.browser() as marketer, house.browser() as viewer:
        await marketer.sign_in(MARKETER)
        await marketer.get("@/suppressions")
        assert "Add an entry" not in marketer.text
        await marketer.get(f"@/suppressions/{listed}")
        assert "Your role may not" in marketer.text
        await marketer.get("@/suppressions")
        for path in ("", "/add", "/import", "/import/run", "/export", "/alarms"):
            seen = {"": 200, "/alarms": 200}.get(path, 403)
            assert (await marketer.get("@/suppressions" + path)).status_code == seen, path
        await marketer.get("@/suppressions")
        for path in ("/add", f"/{listed}", "/import", "/import/run", "/export", "/alarms"):
            assert (await marketer.post("@/suppressions" + path, note="x")).status_code == 403, path
            await marketer.get("@/suppressions")
        await viewer.sign_in(VIEWER)
        for path in ("", f"/{listed}", "/alarms", "/add"):
            page = await viewer.get("@/suppressions" + path)
            assert page.status_code == 403
            assert "ann@" not in page.text
    assert (await entry(house, listed)).lifted_at is None


async def test_an_entry_is_added_by_hand_and_an_opt_out_for_support_is_the_persons_own(everywhere: House) -> None:
    house = everywhere
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions/add")
        for fields, said in (
            ({"email": "nobody"}, "has no @"),
            ({"email": "ann@example.org", "note": ""}, "Note"),
            ({"email": "ann@example.org", "reason": "whim"}, "Reason"),
            ({"email": "ann@example.org", "reason": "complaint", "scope": "all"}, "cannot have the scope all"),
            ({"email": "ann@example.org", "scope": "topic:nothing"}, "there is no topic nothing"),
            ({"email": "ann@example.org", "reason": "snooze"}, "say when it ends"),
            ({"email": "ann@example.org", "reason": "snooze", "until": "2026-11-01"}, "has passed"),
            ({"email": "ann@example.org", "reason": "snooze", "until": HOSTILE}, "RFC 3339"),
            ({"email": "ann@example.org", "reason": "manual", "until": "2027-01-01"}, "does not end by time"),
            ({"email": "ann@example.org", "reason": "unsubscribe", "until": "2027-01-01"}, "ends by the person alone"),
            (
                {"email": "ann@example.org", "reason": "unsubscribe", "scope": "stream:transactional"},
                "nobody can leave",
            ),
        ):
            answer = await person.post("@/suppressions/add", {"reason": "manual", "note": "ticket 7", **fields})
            assert answer.status_code == 422, fields
            assert said in person.text
            assert not any(raw in answer.text for raw in RAW)
            field = person.page.css_first("input[name=email]")
            assert field is not None
            assert field.attributes["value"] == fields["email"], "what was typed stays"
        made = await person.post(
            "@/suppressions/add", email="Ann@example.org", reason="manual", note="a friend of the house"
        )
        entry_id = made.headers["location"].partition("/suppressions/")[2].partition("?")[0]
        added = await entry(house, entry_id)
        assert (added.address, added.origin, added.scope) == ("Ann@example.org", Origin.ADMIN, rules.ALL)
        await person.get("@/suppressions/add")
        made = await person.post("@/suppressions/add", email="bob@example.org", reason="unsubscribe", note="ticket 8")
        left = await entry(house, made.headers["location"].partition("/suppressions/")[2].partition("?")[0])
        assert (left.origin, left.scope, left.note) == (Origin.RECIPIENT, rules.STREAM_PROMOTIONAL, "ticket 8")
        await person.get("@/suppressions/add")
        await person.post(
            "@/suppressions/add",
            {"email": "cy@example.org", "reason": "snooze", "until": "2026-12-24", "note": "on leave"},
        )
        assert person.last is not None
        assert person.last.status_code == 303
    assert (await data_of(house, "suppression.added")) == {"reason": "snooze", "covers": "stream:promotional"}


async def test_a_file_is_looked_at_first_and_then_brought_in_once(everywhere: House) -> None:
    house = everywhere
    listed = (
        "email,group_id,group_name,created_at\nann@example.org,14,Weekly,1736277945\n"
        f'nobody,14,Weekly,1\nbob@example.org,15,"{HOSTILE.replace(chr(34), chr(34) * 2)}",1\n'
    ).encode()
    async with house.browser() as person, house.browser() as other:
        await person.sign_in(SUPPORT)
        await other.sign_in(OWNER)
        await person.get("@/suppressions/import")
        assert await post_file(person, listed, form="sendgrid-groups", topic="14=newsletter") == 200
        assert "This is what the list would do" in person.text
        figures = [node.text() for node in person.page.css(".figure dd:first-of-type")]
        assert figures == ["2", "0", "0", "1"]
        assert "topic “Newsletter”" in person.text
        assert "The address has no @." in person.text
        assert person.last is not None
        assert not any(raw in person.last.text for raw in RAW)
        assert await house.service.database.read(lambda s: s.exec(select(Entry)).all()) == [], "nothing is written yet"
        fields = {str(n.attributes["name"]): str(n.attributes["value"]) for n in person.page.css("form.one input")}
        await other.get("@/suppressions/import")
        run = {"do": "run", "upload": fields["upload"]}
        assert (await other.post("@/suppressions/import/run", run)).status_code == 404, "it waits for one alone"
        assert (await person.post("@/suppressions/import/run", run)).status_code == 200
        assert "The list is brought in" in person.text
        kept = await house.service.database.read(lambda s: s.exec(select(Entry).order_by(Entry.address)).all())
        assert [(each.address, each.scope, each.origin) for each in kept] == [
            ("ann@example.org", "topic:newsletter", Origin.IMPORT),
            ("bob@example.org", "stream:promotional", Origin.IMPORT),
        ]
        await person.get("@/suppressions/import")
        assert (await person.post("@/suppressions/import/run", run)).status_code == 404
    assert await data_of(house, "suppression.imported") == {"new": 2, "standing": 0, "nothing": 0, "refused": 1}


async def test_a_list_of_no_use_is_refused_with_a_sentence_and_one_can_be_forgotten(house: House) -> None:
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions/import")
        good = b"email,reason\nann@example.org,complaint\n"
        for data, fields, said in (
            (b"", {"form": "list"}, "File: choose a file"),
            (b"x" * (5 * 1024 * 1024 + 1), {"form": "list"}, "is larger than 5 MB"),
            (b"name\nann\n", {"form": "ses"}, "must be a header with the column"),
            (b"\x00\xff\xfe" * 99, {"form": "list"}, "List: "),
            (good, {"form": HOSTILE}, "is none that is known here"),
            (good, {"form": "list", "reason": HOSTILE}, "must be one of"),
            (good, {"form": "list", "scope": "galaxy"}, "a scope is all"),
            (good, {"form": "list", "topic": "14=nothing"}, "there is no topic nothing"),
            (good, {"form": "list", "topic": "<b>"}, "GROUP=KEY"),
        ):
            assert await post_file(person, data, **fields) == 422, said
            assert said in person.text
            assert person.last is not None
            assert not any(raw in person.last.text for raw in RAW)
        assert await post_file(person, good, form="list") == 200
        gone = await person.post("@/suppressions/import/run", do="discard")
        assert gone.headers["location"].endswith("done=list_discarded")
        token = person.csrf()
        stale = await person.client.post(
            "/app/t/default/suppressions/import",
            data={"csrf": token[::-1], "form": "list"},
            files={"file": ("list.csv", good, "text/csv")},
        )
        assert stale.status_code == 403
    assert await house.service.database.read(lambda s: s.exec(select(Entry)).all()) == []


async def test_the_list_is_carried_out_and_who_did_is_written_down(house: House) -> None:
    await forbid(house, "ann@example.org", Reason.HARD_BOUNCE)
    await forbid(house, "bob@example.org", Reason.COMPLAINT)
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions/export")
        csv = await person.post("@/suppressions/export", format="csv")
        assert csv.headers["content-type"] == "text/csv; charset=utf-8"
        assert csv.headers["content-disposition"] == 'attachment; filename="suppressions-2026-11-20.csv"'
        assert csv.text.count("example.org") == 2
        await person.get("@/suppressions/export")
        lines = await person.post("@/suppressions/export", format="ndjson", reason="complaint")
        assert [line.partition('"email": "')[2].partition('"')[0] for line in lines.text.splitlines()] == [
            "bob@example.org"
        ]
        await person.get("@/suppressions/export")
        assert (await person.post("@/suppressions/export", format="xlsx")).status_code == 422
    assert (await house.acts()).count("suppression.exported") == 2


async def test_opt_outs_of_a_scanner_are_undone_with_a_note(house: House) -> None:
    who = address.parse("ann@corp.example")

    def burst(session: Session) -> str:
        prints = house.service.intake.fingerprints
        new = NewEntry(
            tenant_id=1,
            fingerprint=prints.of(1, who.canonical),
            key_id=prints.primary_id,
            reason=Reason.UNSUBSCRIBE,
            scope=rules.STREAM_PROMOTIONAL,
            origin=Origin.RECIPIENT,
            address=who.original,
            evidence={"after": 41},
        )
        left = people.suppress(session, new, house.time)
        session.add(
            OptOutMark(
                tenant_id=1, suppression_id=left.entry.id, domain="corp.example", network="", after=41, at=house.time
            )
        )
        for number, (kind, value, at) in enumerate(
            (
                (AlarmKind.DOMAIN, "corp.example", house.time),
                (AlarmKind.NETWORK, "198.51.100.0/24", house.time - timedelta(days=31)),
            )
        ):
            session.add(
                Alarm(id=f"al_{9 - number}", tenant_id=1, kind=kind, value=value, count=12, first_at=at, last_at=at)
            )
        return left.entry.id

    left = await house.service.database.run(burst)
    async with house.browser() as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions/alarms")
        assert "12 people of corp.example" in person.text
        assert "this is over" in person.text, "a month later there is no way back"
        assert (await person.post("@/suppressions/alarms", alarm="al_9", note="")).status_code == 422
        assert (await entry(house, left)).lifted_at is None
        assert (await person.post("@/suppressions/alarms", alarm="al_nothing", note="x")).status_code == 404
        await person.get("@/suppressions/alarms")
        await person.press("@/suppressions/alarms", alarm="al_9", note=HOSTILE)
        assert "1 opt-outs are undone, 0 stand" in person.text
        assert person.last is not None
        assert not any(raw in person.last.text for raw in RAW)
    assert (await entry(house, left)).lifted_at == house.time
    assert await data_of(house, "suppression.alarm_undone") == {"lifted": 1, "left_out": 0}


async def test_an_empty_list_says_what_to_do(house: House) -> None:
    async with house.browser("192.0.2.9", **{"Accept-Language": "uk"}) as person:
        await person.sign_in(SUPPORT)
        await person.get("@/suppressions")
        assert "Список порожній" in person.text
        await person.get("@/suppressions/alarms")
        assert "Тривог немає" in person.text
