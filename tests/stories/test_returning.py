"""A relay takes a mail, and another server tells us later: by SMTP, LMTP, a folder, a pipe, HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlmodel import Session, select

from mailer import drafts, submission
from mailer.drafts import Draft
from mailer.feedback import inbound
from mailer.feedback.inbound import Maildir
from mailer.models import Counter, Email, Event, Told
from mailer.models import Tally as Waiting
from mailer.service import Service
from mailer.settings import Settings
from mailer.status import Status
from mailer.submission import Submitter
from suppression import entries
from suppression.entries import Question
from suppression.rules import Reason, Stream
from tests import commands, servers
from tests.servers import Mail, Relay, free_port
from tests.stories import returning
from tests.stories.returning import hand_in
from tests.stories.served import environment

DOMAIN = "b.example.org"
EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 36700160", "DSN")
NEWS: dict[str, object] = {
    "stream": "promotional",
    "topic": "newsletter",
    "subject": "News",
    "html": "<html><body><h1>News</h1></body></html>",
}
INVOICE: dict[str, object] = {"stream": "transactional", "subject": "Invoice", "text": "12 euros."}


@dataclass
class World:
    """A running service, and the relay that takes its mail."""

    service: Service
    relay: Relay

    async def send(self, to: str, body: dict[str, object] = INVOICE) -> tuple[str, Mail]:
        """Send a mail; return its id, and the mail as the relay took it."""
        draft = drafts.parse(Draft, {**body, "to": to})
        service = self.service
        accepted = await service.database.run(
            lambda session: submission.submit(session, Submitter.trusted(1), draft, service.intake, service.now())
        )
        service.ring(Stream(str(body["stream"])))
        await self.until(accepted.id, Status.SENT)
        [mail] = [mail for mail in self.relay.mails if mail.recipient == to]
        return accepted.id, mail

    async def email(self, identifier: str) -> Email:
        """Return a mail's row."""
        return await self.service.database.read(lambda session: session.get_one(Email, identifier))

    async def until(self, identifier: str, status: Status) -> None:
        """Wait until a mail has a status."""
        async with asyncio.timeout(30):
            while (await self.email(identifier)).status is not status:
                await asyncio.sleep(0.05)

    async def events(self, identifier: str) -> list[str]:
        """Return what happened to a mail."""
        return await self.service.database.read(
            lambda session: [each.kind for each in session.exec(select(Event).where(Event.email_id == identifier))]
        )

    async def forbids(self, email: Email, stream: Stream) -> Reason | None:
        """Return why an address gets no mail of a stream."""
        assert email.fingerprint is not None
        question = Question(email.fingerprint, stream)
        now = self.service.now()
        found = await self.service.database.read(lambda session: entries.check(session, 1, question, now))
        return found.reason if found is not None else None


@asynccontextmanager
async def world(folder: Path, **settings: str) -> AsyncIterator[World]:
    async with servers.relay(EXTENSIONS) as relay:
        url = f"smtp://127.0.0.1:{relay.port}?starttls=off"
        chosen = Settings(
            data_dir=str(folder),
            return_path_domain=DOMAIN,
            transactional_relay=url,
            promotional_relay=url,
            public_url="https://mail.example.org",
            postal_address="1 High Street",
            **{"inbound_listen": f"127.0.0.1:{free_port()}", **settings},
        )
        service = Service.build(chosen)
        await service.prepare()
        await service.start(streams=frozenset(Stream), inlet=True)
        try:
            yield World(service, relay)
        finally:
            await service.stop()


@pytest.fixture
async def smtp(tmp_path: Path, database_url: str) -> AsyncIterator[World]:
    async with world(tmp_path / "data", database_url=database_url) as running:
        yield running


@pytest.fixture
async def lmtp(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path / "data", inbound_listen=f"lmtp://127.0.0.1:{free_port()}") as running:
        yield running


async def came_back(world: World) -> None:
    identifier, mail = await world.send("gone@example.org")
    assert world.service.links.read_return_path(mail.sender) == identifier
    # The server in between may fold its case.
    assert await hand_in(world.service.settings, mail.sender.upper(), returning.bounce(mail)) == 250
    email = await world.email(identifier)
    assert email.status is Status.BOUNCED
    assert await world.forbids(email, Stream.TRANSACTIONAL) is Reason.HARD_BOUNCE
    assert (await world.events(identifier)).count("email.bounced") == 1


async def test_a_mail_that_comes_back_is_bounced_and_its_address_gets_no_more(smtp: World) -> None:
    await came_back(smtp)
    asked = [line for line in smtp.relay.commands if line.startswith(("MAIL", "RCPT"))]
    assert "RET=HDRS ENVID=" in asked[0]
    assert asked[1].endswith("NOTIFY=FAILURE,DELAY ORCPT=rfc822;gone@example.org")


async def test_a_mail_that_comes_back_by_lmtp_is_bounced_too(lmtp: World) -> None:
    await came_back(lmtp)


async def test_the_token_wins_over_what_the_report_says(smtp: World) -> None:
    (first, mail), (second, other) = await smtp.send("a@example.org"), await smtp.send("b@example.org")
    assert await hand_in(smtp.service.settings, mail.sender, returning.bounce(other)) == 250
    assert (await smtp.email(first)).status is Status.BOUNCED
    assert (await smtp.email(second)).status is Status.SENT


async def test_a_forged_return_path_is_refused_and_changes_nothing(smtp: World) -> None:
    identifier, mail = await smtp.send("ann@example.org")
    local = mail.sender.partition("@")[0]
    forged = local[:10] + ("a" if local[10] != "a" else "b") + local[11:]
    assert await hand_in(smtp.service.settings, f"{forged}@{DOMAIN}", returning.bounce(mail)) == 550
    assert (await smtp.email(identifier)).status is Status.SENT
    assert await smtp.service.database.read(lambda session: session.exec(select(Told)).all()) == []


async def test_a_bounce_that_comes_twice_is_one(smtp: World) -> None:
    identifier, mail = await smtp.send("gone@example.org")
    for _ in range(2):
        assert await hand_in(smtp.service.settings, mail.sender, returning.bounce(mail)) == 250
    assert (await smtp.events(identifier)).count("email.bounced") == 1


async def test_an_auto_reply_is_taken_dropped_and_counted(smtp: World) -> None:
    identifier, mail = await smtp.send("ann@example.org")
    reply = b"From: ann@example.org\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n"
    assert await hand_in(smtp.service.settings, mail.sender, reply) == 250
    assert (await smtp.email(identifier)).status is Status.SENT

    def counted(session: Session) -> int:
        rows = [*session.exec(select(Counter)), *session.exec(select(Waiting))]
        return sum(row.amount for row in rows if row.metric == "not_a_report:auto_reply")

    assert await smtp.service.database.read(counted) == 1


async def test_a_complaint_of_yahoo_stops_promotional_mail_alone(smtp: World) -> None:
    identifier, mail = await smtp.send("ann@yahoo.example", NEWS)
    assert await hand_in(smtp.service.settings, f"complaints@{DOMAIN}", returning.complaint(mail)) == 250
    email = await smtp.email(identifier)
    assert await smtp.forbids(email, Stream.PROMOTIONAL) is Reason.COMPLAINT
    assert await smtp.forbids(email, Stream.TRANSACTIONAL) is None
    assert "email.complained" in await smtp.events(identifier)


async def test_a_forged_complaint_stops_nothing_and_is_kept(smtp: World) -> None:
    identifier, mail = await smtp.send("ann@yahoo.example", NEWS)
    bare = mail._replace(
        sender="b+forged@" + DOMAIN,
        data=f"Message-ID: <{identifier}@mailer.example>\r\nTo: ann@yahoo.example\r\n\r\n".encode(),
    )
    assert await hand_in(smtp.service.settings, f"complaints@{DOMAIN}", returning.complaint(bare)) == 250
    assert await smtp.forbids(await smtp.email(identifier), Stream.PROMOTIONAL) is None
    [told] = await smtp.service.database.read(lambda session: session.exec(select(Told)).all())
    assert (told.proof, told.state, told.recipient) == ("", "unmatched", None)


async def test_of_a_report_of_30_mb_the_beginning_is_read(lmtp: World) -> None:
    identifier, mail = await lmtp.send("gone@example.org")
    large = returning.bounce(mail) + (b"x" * 998 + b"\r\n") * 30_000
    assert await hand_in(lmtp.service.settings, mail.sender, large) == 250
    assert (await lmtp.email(identifier)).status is Status.BOUNCED


async def test_a_folder_of_bounces_is_read(smtp: World, tmp_path: Path) -> None:
    for name in ("new", "cur", "tmp"):
        (tmp_path / "box" / name).mkdir(parents=True)
    identifier, mail = await smtp.send("gone@example.org")
    stored = f"Delivered-To: {mail.sender}\r\n".encode() + returning.bounce(mail, to="x@elsewhere.example")
    (tmp_path / "box" / "new" / "1.x").write_bytes(stored)
    assert (await inbound.collect(Maildir(tmp_path / "box"), smtp.service.mailroom)).taken == 1
    assert (await smtp.email(identifier)).status is Status.BOUNCED


async def test_a_pipe_ends_as_mail_servers_want_it(tmp_path: Path) -> None:
    async with world(tmp_path / "data") as running:
        identifier, mail = await running.send("gone@example.org")
        local, forged = mail.sender.partition("@")[0], f"b+forged@{DOMAIN}"
        env = environment(tmp_path / "data", return_path_domain=DOMAIN)

        async def piped(raw: bytes, *words: str, **more: str) -> int:
            done = await asyncio.to_thread(commands.run, "inbound", "--stdin", *words, env=env | more, given=raw)
            return done.returncode

        raw = returning.bounce(mail)
        assert await piped(raw, "--to", forged) == 67
        assert await piped(b"Subject: hello\r\n\r\nYou sent me spam.\r\n", "--to", f"abuse@{DOMAIN}") == 77
        assert await piped(raw, "--to", mail.sender, MAILER_DATABASE_URL="postgresql://nobody@127.0.0.1:1/x") == 75
        assert await piped(raw, "--to", mail.sender, MAILER_NONSENSE="1") == 75
        assert (await running.email(identifier)).status is Status.SENT
        assert await piped(raw, ORIGINAL_RECIPIENT=f"{local.upper()}@{DOMAIN}") == 0
        assert (await running.email(identifier)).status is Status.BOUNCED
