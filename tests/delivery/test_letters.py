"""From claimed rows to mail: what a batch needs is at hand, and nobody's choice is lost on the way."""

import re
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlmodel import Session, update

from mailer import people
from mailer.compose.templates import Content as Parts
from mailer.database import Database
from mailer.delivery import letters
from mailer.delivery.carrier import Ready
from mailer.delivery.claims import Job
from mailer.delivery.letters import Letterbox
from mailer.errors import MailerError
from mailer.keyring import Keyring
from mailer.links import Links
from mailer.models import Attachment, ConsentRule, Content, Opens, Tenant
from mailer.sealing import Seals
from mailer.settings import Settings
from suppression.token import Ring
from tests.delivery import mails
from tests.delivery.mails import NOW, P

WORDS: dict[str, object] = {
    "name": None,
    "stream": "promotional",
    "parts": {"en": {"subject": "Hello", "html": "<p>Hello</p>", "text": None}},
    "literal": True,
}


def composing(database: Database) -> Letterbox:
    ring = "k1:" + "a" * 32
    links = Links(Settings(public_url="https://x.example"), Ring(ring))
    return Letterbox(database, links, Keyring(Seals(ring, "dkim")))


@pytest.fixture
def letterbox(sqlite: Database) -> Letterbox:
    """Composes for a tenant with a postal address."""
    return composing(sqlite)


def write(session: Session, rule: ConsentRule = ConsentRule.REQUIRED) -> None:
    mails.found(session)
    session.execute(update(Content).values(data=Parts.from_dict(WORDS).to_dict()))
    session.execute(update(Tenant).values(postal_address="1 High Street", consent=rule))


async def composed(letterbox: Letterbox, jobs: Sequence[Job]) -> Sequence[Ready]:
    made = await letterbox.compose(jobs)
    assert all(isinstance(mail, Ready) for mail in made), made
    return [mail for mail in made if isinstance(mail, Ready)]


def claimed(session: Session) -> Sequence[Job]:
    return mails.claim(session, P)[1]


@pytest.mark.parametrize("rule", ConsentRule)
@pytest.mark.parametrize("granted", [True, False, None])
async def test_every_mail_of_a_batch_obeys_the_persons_choice(
    sqlite: Database, letterbox: Letterbox, rule: ConsentRule, granted: bool | None
) -> None:
    def verb(session: Session) -> Sequence[Job]:
        write(session, rule)
        for _ in range(3):
            mails.add(session, 1, P)
        mails.move(session, [job.id for job in session.execute(mails.TABLE.select())], opens=Opens.INDIVIDUAL)
        if granted is not None:
            someone = mails.fingerprint("p0@example.org")
            people.choose_tracking(session, 1, someone, granted=granted, source="test", now=NOW)
        return claimed(session)

    jobs = await sqlite.run(verb)
    await letterbox.prepare(jobs)
    measured = granted or (granted is None and rule is ConsentRule.NOT_REFUSED)
    assert [mail.tracked for mail in await composed(letterbox, jobs)] == [measured] * 3


@pytest.mark.parametrize("mode", [Opens.AGGREGATE, Opens.INDIVIDUAL])
async def test_who_refused_to_be_measured_gets_links_as_they_were_written(
    sqlite: Database, letterbox: Letterbox, mode: Opens
) -> None:
    html = '<p><a href="https://shop.example/sale">The sale</a></p>'
    address, yes, no = (
        b"https://shop.example/sale",
        mails.fingerprint("p0@example.org"),
        mails.fingerprint("p1@example.org"),
    )

    def verb(session: Session) -> Sequence[Job]:
        write(session, ConsentRule.REQUIRED)
        data = Parts.from_dict(WORDS).to_dict() | {"parts": {"en": {"subject": "s", "html": html, "text": None}}}
        session.add(Content(id=2, tenant_id=1, digest="links", data=data, created_at=NOW))
        session.flush()
        mails.add(session, 2, P)
        mails.move(session, [job.id for job in session.execute(mails.TABLE.select())], content_id=2, clicks=mode)
        for person, granted in ((yes, True), (no, False)):
            people.choose_tracking(session, 1, person, granted=granted, source="test", now=NOW)
        return claimed(session)

    jobs = await sqlite.run(verb)
    await letterbox.prepare(jobs)
    by_person = dict(zip([job.fingerprint for job in jobs], await composed(letterbox, jobs), strict=True))
    assert {person: mail.tracked_links for person, mail in by_person.items()} == {yes: True, no: False}
    shown = {person: mail.data.replace(b"=3D", b"=").replace(b"=\r\n", b"") for person, mail in by_person.items()}
    # In the text part it stands in any case.
    assert [shown[person].count(address) for person in (yes, no)] == [1, 2]
    assert (b"/c/" in shown[yes], b"/c/" in shown[no]) == (True, False)


async def test_what_a_broken_off_read_fetched_is_not_used(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    # A run that ends breaks off the reading for its next batch, and the rows that it had read cannot be read any more.
    letterbox = composing(database)

    def verb(session: Session) -> Sequence[Job]:
        write(session)
        mails.add(session, 3, P)
        return claimed(session)

    jobs = await database.run(verb)
    with monkeypatch.context() as patched:
        patched.setattr(people, "tracking_choices", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await letterbox.prepare(jobs)
    await letterbox.prepare(jobs)
    assert len(await composed(letterbox, jobs)) == 3


async def test_mail_that_waits_keeps_its_content_while_others_come(
    sqlite: Database, letterbox: Letterbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letters, "_KEPT_CONTENTS", 6)

    def verb(session: Session) -> Sequence[Job]:
        write(session)
        for number in range(2, 13):
            data = Parts.from_dict(WORDS).to_dict()
            session.add(Content(id=number, tenant_id=1, digest=str(number), data=data, created_at=NOW))
        session.flush()
        for number, identifier in enumerate(mails.add(session, 12, P)):
            mails.move(session, [identifier], content_id=number + 1)
        return claimed(session)

    jobs = await sqlite.run(verb)
    for start in range(0, 12, 3):
        await letterbox.prepare(jobs[start : start + 3])
        for mail in await composed(letterbox, jobs[max(0, start - 3) : start + 3]):
            assert b"Hello" in mail.data
    assert len(letterbox._shelf.contents) <= 6
    assert len(letterbox._shelf.compiled) <= 6


async def test_a_mail_is_the_same_at_every_attempt(sqlite: Database, letterbox: Letterbox) -> None:
    def verb(session: Session) -> Sequence[Job]:
        write(session)
        mails.add(session, 1, P)
        return claimed(session)

    [job] = await sqlite.run(verb)
    made = []
    for _ in range(2):
        await letterbox.prepare([job])
        made += [mail.data for mail in await composed(letterbox, [job])]
    assert made[0] == made[1]


@pytest.mark.parametrize("domain", ["", "b.example.org"])
async def test_each_mail_of_a_batch_has_its_own_return_path_where_there_is_a_domain(
    sqlite: Database, domain: str
) -> None:
    ring = "k1:" + "a" * 32
    links = Links(Settings(public_url="https://x.example", return_path_domain=domain), Ring(ring))
    letterbox = Letterbox(sqlite, links, Keyring(Seals(ring, "dkim")))

    def verb(session: Session) -> Sequence[Job]:
        write(session)
        mails.add(session, 3, P)
        return claimed(session)

    jobs = await sqlite.run(verb)
    await letterbox.prepare(jobs)
    made = await composed(letterbox, jobs)
    if domain:
        assert [links.read_return_path(mail.envelope.sender) for mail in made] == [job.id for job in jobs]
        assert [links.read_return_path(mail.envelope.envelope_id) for mail in made] == [job.id for job in jobs]
    else:
        assert [(mail.envelope.sender, mail.envelope.envelope_id) for mail in made] == [
            (job.from_address, "") for job in jobs
        ]


async def test_a_mail_that_cannot_be_made_spoils_no_other(sqlite: Database, letterbox: Letterbox) -> None:
    def verb(session: Session) -> Sequence[Job]:
        write(session)
        mails.add(session, 3, P)
        return claimed(session)

    jobs = await sqlite.run(verb)
    await letterbox.prepare(jobs)
    erased = [job._replace(address=None) if place == 1 else job for place, job in enumerate(jobs)]
    first, second, third = await letterbox.compose(erased)
    assert isinstance(second, MailerError)
    assert isinstance(first, Ready)
    assert isinstance(third, Ready)


@pytest.mark.parametrize("broken", [{4}, {0, 6}, set(range(7))])
async def test_a_value_that_cannot_be_printed_spoils_no_other(
    sqlite: Database, letterbox: Letterbox, broken: set[int]
) -> None:
    def verb(session: Session) -> Sequence[Job]:
        mails.found(session)
        words = {"en": {"subject": "Hello", "html": "<p>{{ name }}</p>", "text": None}}
        body = {**WORDS, "parts": words, "literal": False, "variables": {"name": "string"}}
        session.execute(update(Content).values(data=Parts.from_dict(body).to_dict()))
        session.execute(update(Tenant).values(postal_address="1 High Street"))
        mails.add(session, 7, P)
        return claimed(session)

    jobs = await sqlite.run(verb)
    await letterbox.prepare(jobs)
    asked = [
        job._replace(variables={"name": 5 if place in broken else f"Reader {place}"}) for place, job in enumerate(jobs)
    ]
    made = await letterbox.compose(asked)
    for place, mail in enumerate(made):
        if place in broken:
            assert isinstance(mail, MailerError)
            assert "name must be a string" in str(mail)
        else:
            assert isinstance(mail, Ready)
            assert f"Reader {place}".encode() in mail.data


async def test_a_picture_that_names_nobody_counts_on_the_day_of_the_acceptance(
    sqlite: Database, letterbox: Letterbox
) -> None:
    """As all else of the mail does, however much later it is sent: a report of that day shows both."""

    def verb(session: Session) -> Sequence[Job]:
        write(session, ConsentRule.NOT_REFUSED)
        mails.add(session, 1, P)
        all_of_them = [job.id for job in session.execute(mails.TABLE.select())]
        mails.move(session, all_of_them, opens=Opens.AGGREGATE, created_at=NOW - timedelta(days=3))
        return claimed(session)

    jobs = await sqlite.run(verb)
    await letterbox.prepare(jobs)
    [mail] = await composed(letterbox, jobs)
    token = re.search(rb"/o/([^.\"]+)\.gif", mail.data.replace(b"=\r\n", b"").replace(b"=3D", b"="))
    assert token is not None
    hit = Links(Settings(), Ring("k1:" + "a" * 32)).read_open(token[1].decode())
    assert hit is not None
    assert hit.audience is not None
    assert hit.audience.day == (NOW - timedelta(days=3)).date()


async def test_a_mail_that_was_put_back_is_composed_again_as_before(sqlite: Database, letterbox: Letterbox) -> None:
    """With its files, and with its recipient's refusal; a look at it in a browser meanwhile takes neither."""

    def verb(session: Session) -> Sequence[Job]:
        write(session, ConsentRule.NOT_REFUSED)
        file = Attachment(tenant_id=1, digest="d", data=b"%PDF")
        session.add(file)
        session.flush()
        of_file = {"id": file.id, "filename": "bill.pdf", "content_type": "application/pdf"}
        both = mails.add(session, 2, P)
        mails.move(session, both, opens=Opens.INDIVIDUAL, details={"attachments": [of_file]})
        someone = mails.fingerprint("p0@example.org")
        people.choose_tracking(session, 1, someone, granted=False, source="test", now=NOW)
        return claimed(session)

    jobs = await sqlite.run(verb)
    await letterbox.prepare(jobs)
    assert await letterbox.view(jobs[0].id) is not None
    first = await composed(letterbox, jobs)
    again = await composed(letterbox, jobs)
    assert [mail.tracked for mail in first] == [mail.tracked for mail in again] == [False, True]
    assert all(b"bill.pdf" in mail.data for mail in (*first, *again))
