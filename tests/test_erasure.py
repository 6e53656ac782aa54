"""Erasure: nothing we keep names the person any more, what waited is cancelled, and nobody brings them back."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from sqlmodel import Session, SQLModel

from mailer import counters, erasure, ids, people
from mailer.database import Database
from mailer.delivery import claims
from mailer.delivery.claims import Outcome, Step
from mailer.feedback.hearing import hear
from mailer.feedback.inbound.report import Kind, Proof, Report
from mailer.inbox import capture
from mailer.models import Consent, Event, OptIn, Person
from mailer.status import Status
from suppression import entries, rules
from suppression.entries import NewEntry
from suppression.rules import Origin, Reason, Stream
from tests import servers
from tests.delivery import mails
from tests.delivery.mails import NOW, P, T
from tests.test_api_world import Api, data, mail, news, rows, world

ANN, BOB = "Ann.Weaver@example.org", "bob@example.com"
SCOPES = ("send:transactional", "send:promotional", "read", "suppressions", "people")
#: Columns that hold a person's address or name of theirs, and so do before an erasure. A table that is new and knows
#: people (by a fingerprint or an address) fails the test below until it is told here, and forgotten there.
HOLD = {
    *("email.address", "email.variables", "email.metadata", "email.tags", "email.details", "email.reply"),
    *("content.data", "attachment.data", "event.data", "stored_answer.body", "tally.value"),
    *("counter.value", "month_counter.value"),
    *("suppression.address", "suppression.note", "suppression.evidence", "consent.evidence"),
    *("person.address", "opt_in.address", "told.recipient"),
}
KNOW_PEOPLE = {"email", "suppression", "consent", "person", "opt_in", "told"}
#: What knows fingerprints only, and is kept: an invitation is sent once, and kin find each other.
KEEP_FINGERPRINTS = {"invitation", "suppression_kin"}


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database, scopes=SCOPES) as found:
        yield found


def prints(api: Api) -> tuple[bytes, ...]:
    return api.service.intake.fingerprints.all_of(api.tenant_id, ANN.lower())


async def holding(database: Database, text: str) -> set[str]:
    """Return every column of every table in which a text stands, whatever its case."""

    def verb(session: Session) -> set[str]:
        found = set()
        for table in SQLModel.metadata.sorted_tables:
            for row in session.execute(select(table)).mappings():
                for name, value in row.items():
                    plain = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
                    if text.lower() in plain.lower():
                        found.add(f"{table.name}.{name}")
        return found

    return await database.read(verb)


def remember(session: Session, api: Api, email_id: str, now: datetime) -> None:
    """Leave traces of Ann wherever a table can have them."""
    [own, *_] = prints(api)
    whose = {"tenant_id": api.tenant_id, "fingerprint": own, "key_id": "k1"}
    evidence: dict[str, object] = {"from": ANN, "ip": "192.0.2.7", "email_id": email_id}
    session.add(
        Consent(
            id=ids.new("co", now),
            **whose,  # type: ignore[arg-type]
            purpose=people.TRACKING,
            granted=True,
            source="form",
            ip="192.0.2.7",
            evidence=evidence,
            at=now,
        )
    )
    session.add(Person(**whose, address=ANN, changed_at=now))  # type: ignore[arg-type]
    hear(session, [(Report(Kind.BOUNCED, recipient=ANN, source="ses"), Proof("provider:ses"))], now)
    session.add(
        OptIn(
            id=ids.new("oi", now),
            **whose,  # type: ignore[arg-type]
            address=ANN,
            name="Ann Weaver",
            locale="en",
            topics=["newsletter"],
            source="form",
            wording="1",
            ip="192.0.2.7",
            network=b"n" * 16,
            created_at=now,
            expires_at=now + timedelta(days=7),
        )
    )
    people.suppress(
        session,
        NewEntry(
            **whose,  # type: ignore[arg-type]
            reason=Reason.UNSUBSCRIBE,
            scope=rules.topic_scope("surveys"),
            origin=Origin.RECIPIENT,
            address=ANN,
            note=f"{ANN} called",
            evidence=evidence,
        ),
        now,
    )
    said = f"550 5.7.1 <{ANN}> is not wanted"
    mails.move(session, [email_id], reply=said)
    happened: dict[str, object] = {"reply": said}
    session.add(
        Event(
            id=ids.new("ev", now),
            tenant_id=api.tenant_id,
            email_id=email_id,
            kind="email.deferred",
            at=now,
            data=happened,
        )
    )


async def write_to(api: Api) -> dict[str, str]:
    """Send Ann mail of every kind, some of it together with Bob, and return the ids; half is in the sums already."""
    file = {"filename": "ann.txt", "content": base64.b64encode(f"For {ANN}".encode()).decode()}
    named = {"metadata": {"login": ANN}, "tags": {"login": ANN, "kind": "bill"}}
    alone = mail(to={"email": ANN, "name": "Ann Weaver"}, text=f"Dear {ANN}", attachments=[file], reply_to=ANN, **named)
    both = mail(to=[ANN, BOB], subject="For two")
    letter = news(to=ANN)
    letter["variables"] = {**letter["variables"], "headline": f"News for {ANN}"}  # type: ignore[dict-item]
    first = data(await api.post("/v1/emails", alone, idempotency_key="one"))
    shared = rows(await api.post("/v1/emails", both, idempotency_key="two"))
    await api.service.database.run(counters.fold)
    promotional = data(await api.post("/v1/emails", {**letter, "tags": {"login": ANN}}))
    found = {"alone": first["id"], "hers": shared[0]["id"], "bobs": shared[1]["id"], "news": promotional["id"]}
    return {name: str(identifier) for name, identifier in found.items()}


async def erase(api: Api, note: str = "") -> dict[str, object]:
    answer = await api.call("DELETE", f"/v1/people/{ANN}", {"note": note} if note else None)
    assert answer.status_code == 200, answer.text
    return data(answer)


async def test_after_an_erasure_no_table_and_no_inbox_holds_the_address(api: Api) -> None:
    database, store = api.service.database, api.service.store
    sent = await write_to(api)
    await database.run(lambda session: remember(session, api, sent["alone"], datetime.now(UTC)))
    raw = f"From: us@x.example\r\nTo: {ANN}, {BOB}\r\nSubject: Hi {ANN}\r\n\r\nHi\r\n".encode()
    for to in (ANN, BOB, "joann.weaver@example.org"):
        store.add(capture("us@x.example", [to], raw if to != "joann.weaver@example.org" else b"To: j\r\n\r\n", NOW))
    assert await holding(database, ANN) == HOLD
    for table in SQLModel.metadata.sorted_tables:
        assert {"fingerprint", "address"}.isdisjoint(
            table.c.keys()
        ) or table.name in KNOW_PEOPLE | KEEP_FINGERPRINTS | {"identity"}, (
            f"{table.name} knows people: have erasure forget them there, and this test see it"
        )

    erased = await erase(api, note=f"ticket 7 of {ANN}")

    assert await holding(database, ANN) == set()
    assert await holding(database, "Ann Weaver") == set()
    assert await holding(database, "192.0.2.7") == set()
    assert [each.rcpt_to for each in store.list()] == [("joann.weaver@example.org",)]
    assert ANN.lower() not in str(erased).lower()
    assert (erased["emails"], erased["cancelled"], erased["in_flight"]) == (3, 3, 0)
    again = await erase(api)
    assert (again["emails"], again["suppression_id"]) == (0, erased["suppression_id"])


async def test_waiting_mail_is_cancelled_and_what_others_got_with_them_stays(api: Api) -> None:
    sent = await write_to(api)
    await erase(api)
    for name, status in (("alone", "cancelled"), ("hers", "cancelled"), ("news", "cancelled"), ("bobs", "queued")):
        email = data(await api.get(f"/v1/emails/{sent[name]}"))
        assert (email["status"], email["to"]) == (status, BOB if name == "bobs" else None), name
        told = [each["type"] for each in email["events"]]  # type: ignore[attr-defined]
        assert ("email.cancelled" in told) is (status == "cancelled")
    sums = await api.service.database.read(mails.sums)
    assert (sums["requested"], sums["cancelled"]) == (4, 3)
    details = await api.service.database.read(lambda session: mails.email(session, sent["bobs"]).details or {})
    assert details["to"] == [[BOB, ""]]


async def test_a_shared_file_stays_for_others_who_wait_and_the_same_file_can_come_again(api: Api) -> None:
    file = {"filename": "terms.txt", "content": base64.b64encode(b"The terms").decode()}
    await api.post("/v1/emails", mail(to=ANN, attachments=[file]))
    kept = str(data(await api.post("/v1/emails", mail(to=BOB, attachments=[file])))["id"])
    files = SQLModel.metadata.tables["attachment"]
    await erase(api)
    held = await api.service.database.read(lambda session: session.execute(select(files.c.data)).scalars().all())
    assert held == [b"The terms"]
    await api.post(f"/v1/emails/{kept}/cancel")
    await api.post("/v1/emails", mail(to="ann.weaver@example.org", attachments=[file]))
    await erase(api)
    await api.post("/v1/emails", mail(to=BOB, attachments=[file]))
    held = await api.service.database.read(lambda session: session.execute(select(files.c.data)).scalars().all())
    assert sorted(held) == [b"", b"The terms"]


@pytest.mark.parametrize("knew", [True, False])
async def test_who_was_erased_is_not_brought_back_by_an_import_or_an_api_call(api: Api, knew: bool) -> None:
    """Not even who never left, and not even whom we never mailed."""
    if knew:
        await api.post("/v1/emails", news(to=ANN))
    erased = await erase(api)
    [own, *_] = prints(api)

    def reimport(session: Session) -> None:
        again = NewEntry(
            tenant_id=api.tenant_id,
            fingerprint=own,
            key_id="k1",
            reason=Reason.UNSUBSCRIBE,
            scope=rules.ALL,
            origin=Origin.IMPORT,
            address=ANN,
        )
        assert entries.add_many(session, [again], api.service.now()) == 0

    await api.service.database.run(reimport)
    blocked = data(await api.post("/v1/emails", news(to=ANN.upper())))
    assert (blocked["status"], blocked["suppression"]["id"]) == ("suppressed", erased["suppression_id"])  # type: ignore[index]
    assert blocked["suppression"]["origin"] == "erasure"  # type: ignore[index]
    owed = data(await api.post("/v1/emails", mail(to=ANN)))
    assert owed["status"] == "queued"
    lifted = await api.call("DELETE", f"/v1/suppressions/{erased['suppression_id']}", {"note": "please"})
    assert lifted.status_code in {409, 422}


async def test_what_a_person_permitted_ends_with_them(api: Api) -> None:
    await write_to(api)
    sent = await write_to(api)
    await api.service.database.run(lambda session: remember(session, api, sent["alone"], datetime.now(UTC)))
    await erase(api)
    chosen = await api.service.database.read(
        lambda session: people.tracking_choice(session, api.tenant_id, prints(api)[0])
    )
    assert chosen is False


async def test_only_the_scope_people_may_and_only_within_its_tenant(api: Api) -> None:
    other = await api.of_tenant("customer")
    await other.post("/v1/emails", mail(to=ANN))
    refused = await (await api.with_key("read", "suppressions")).call("DELETE", f"/v1/people/{ANN}")
    assert refused.status_code == 403
    await erase(api)
    assert await holding(api.service.database, ANN) == {"email.address"}
    assert (await api.call("DELETE", "/v1/people/nobody")).status_code == 422


def forget(session: Session, who: str) -> erasure.Erased:
    return erasure.erase(session, 1, (mails.fingerprint(who),), NOW, None)


@pytest.mark.parametrize("status", [Status.SENT, Status.BOUNCED, Status.DEFERRED])
async def test_a_mail_in_flight_settles_honestly_and_brings_no_address_back(database: Database, status: Status) -> None:
    def verb(session: Session) -> tuple[int, Status, str | None]:
        mails.watch_transitions(session)
        [sent] = mails.add(session, 1, T)
        worker, [job] = mails.claim(session, T)
        claims.commit(session, [step := Step(intent=job)], worker, NOW)
        assert step.granted
        erased = forget(session, "t0@example.org")
        hard = status is Status.BOUNCED
        outcome = Outcome(job, status, reply="said", hard=hard, due_at=NOW + timedelta(minutes=1))
        claims.commit(session, [Step(outcome=outcome)], worker, NOW)
        row = mails.email(session, sent)
        return erased.in_flight, row.status, row.address

    assert await database.run(verb) == (1, status, None)
    # The fingerprints of these tests are readable; ours are keyed hashes.
    assert await holding(database, "t0@example.org") == {"suppression.fingerprint"}


async def test_a_claimed_mail_without_intent_never_goes(database: Database) -> None:
    def verb(session: Session) -> tuple[bool, Status]:
        [sent] = mails.add(session, 1, P)
        worker, [job] = mails.claim(session, P)
        forget(session, "p0@example.org")
        [granted] = mails.commit(session, [Step(intent=job)], worker, NOW)
        return granted, mails.email(session, sent).status

    assert await database.run(verb) == (False, Status.CANCELLED)


async def test_who_was_erased_while_deferred_in_flight_is_cancelled_at_the_next_try(database: Database) -> None:
    def arrange(session: Session) -> str:
        [sent] = mails.add(session, 1, T, datetime.now(UTC) - timedelta(minutes=1), address=None)
        return sent

    sent = await database.run(arrange)
    async with servers.relay() as relay:
        pipeline = mails.pipeline(database, relay.port, Stream.TRANSACTIONAL)
        await pipeline.ring()
        await pipeline.stop()
    row = await database.read(lambda session: mails.email(session, sent))
    assert row.status is Status.CANCELLED
    assert await database.read(lambda session: mails.kinds(session, sent)) == ["email.cancelled"]
