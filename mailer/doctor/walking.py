"""The walk: send a mail, take it back as it arrived, read it, leave as mail programs do, and give everything back."""

import asyncio
import secrets
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer import emails, ids, published, submission
from mailer.doctor import posting, reading
from mailer.doctor.findings import Finding, Verdict, told
from mailer.drafts import Draft, parse
from mailer.errors import Conflict, Invalid, Problem
from mailer.feedback import optouts
from mailer.feedback.optouts import Kind
from mailer.models import Topic
from mailer.service import Service
from mailer.status import WAITING, Status
from mailer.submission import Submitter
from suppression import address, entries, rules
from suppression.entries import Question
from suppression.rules import Stream
from suppression.token import OptOut

_LOOK = 0.3
#: Nobody's: RFC 2606 keeps the name from ever being anybody's.
_THROWAWAY = "doctor-{}@example.com"
_SUBJECT = "A test of unsubscribing"
_TEXT = "This mail tests whether unsubscribing works. Nobody needs to do anything.\n"


class Asked(NamedTuple):
    """What is to be tested."""

    tenant_id: int
    #: None: a person who is made up for the test; only the inbox takes their mail.
    to: str | None = None
    #: None: the tenant's first promotional topic.
    topic: str | None = None
    #: The mail as it arrived somewhere else; then nothing is sent.
    raw: bytes | None = None
    #: Whether links are used, or only read.
    posts: bool = True
    patience: timedelta = timedelta(seconds=30)


class Report(NamedTuple):
    """What was found."""

    #: The mail that was sent for it, if one was.
    email_id: str | None
    #: False: the mail left by a real relay, and how it arrived can only be told from the file.
    examined: bool
    findings: tuple[Finding, ...]


async def examine(service: Service, asked: Asked) -> Report:
    """Test unsubscribing from end to end; what the test leaves is given back by the link that left it."""
    if asked.raw is not None and not reading.is_mail(asked.raw):
        sentence = "the file is no mail as it arrived: save it with all its headers (`show original`, `save as .eml`)"
        raise Invalid(Problem("--eml", sentence))
    expected, email_id, raw = None, None, asked.raw
    local = service.settings.captures(Stream.PROMOTIONAL)
    if raw is None:
        email_id, to = await _send(service, asked)
        await _settled(service, asked, email_id)
        if not local:
            return Report(email_id, False, ())
        raw = _read_back(service, email_id, to)
        expected = await service.database.read(lambda session: _expected(service, session, asked.tenant_id, email_id))
    keys = await service.database.read(lambda session: _own_keys(service, session, asked.tenant_id))
    resolver = published.system_resolver()

    def key_of(name: str) -> str | None:
        return published.public_key(resolver, name) or keys.get(name)

    own_site = local and asked.raw is None
    examined = await asyncio.to_thread(
        lambda: reading.examine(
            raw, service.links.ring, key_of, expected=_on_site(raw, expected, service), local=own_site
        )
    )
    findings = list(examined.findings)
    if asked.posts and examined.ways.url and examined.ways.opt_out:
        findings += await _leave(service, examined.ways)
    return Report(email_id, True, tuple(findings))


async def _send(service: Service, asked: Asked) -> tuple[str, str]:
    """Place the mail of the test and return its id and where it goes."""
    if asked.to is None and not service.settings.captures(Stream.PROMOTIONAL):
        raise Invalid(Problem("--to", "is needed with a real relay: an address whose mail you can save as a file"))
    to = asked.to or _THROWAWAY.format(secrets.token_hex(6))

    def place(session: Session) -> str:
        topic = asked.topic or _first_topic(session, asked.tenant_id)
        wanted = {"stream": "promotional", "to": to, "topic": topic, "subject": _SUBJECT, "text": _TEXT}
        html = f"<html><body><p>{_TEXT}</p></body></html>"
        draft = parse(
            Draft,
            {**wanted, "html": html, "tags": {"test": "unsubscribe"}, "tracking": {"opens": "off", "clicks": "off"}},
        )
        sender = Submitter.trusted(asked.tenant_id)
        [placed] = submission.submit(session, sender, draft, service.intake, service.now()).emails
        if placed.status is Status.SUPPRESSED and placed.suppression is not None:
            raise Conflict(f"the address gets no promotional mail ({placed.suppression.reason}): test with another one")
        return placed.id

    return await service.database.run(place), address.parse(to).envelope


def _first_topic(session: Session, tenant_id: int) -> str:
    mine = select(Topic.key).where(Topic.tenant_id == tenant_id, Topic.stream == Stream.PROMOTIONAL)
    found = session.exec(mine.order_by(col(Topic.id)).limit(1)).first()
    if found is None:
        raise Invalid(Problem("--topic", "the tenant has no promotional topic: make one with `mailer topic create`"))
    return found


async def _settled(service: Service, asked: Asked, email_id: str) -> None:
    """Wait until the mail went; raises `Conflict` where it did not, and takes back what still waits."""
    until = asyncio.get_running_loop().time() + asked.patience.total_seconds()
    while True:
        email = await service.database.read(lambda session: emails.get(session, asked.tenant_id, email_id))
        if email.status in {Status.SENT, Status.DELIVERED}:
            return
        if email.status not in {*WAITING, Status.SENDING}:
            raise Conflict(f"the mail of the test is {email.status}: {email.reply or 'look at `mailer emails`'}")
        if asyncio.get_running_loop().time() > until:
            await service.database.run(lambda session: emails.cancel(session, asked.tenant_id, email_id, service.now()))
            raise Conflict(
                f"the mail was not sent within {asked.patience.total_seconds():.0f} seconds, and was taken back: "
                "is `mailer serve` or `mailer worker promotional` running?"
            )
        await asyncio.sleep(_LOOK)


def _read_back(service: Service, email_id: str, to: str) -> bytes:
    found = next((each.raw for each in service.store.of(to, 10) if email_id.encode() in each.raw), None)
    if found is None:
        raise Conflict("the inbox does not have the mail: is it another folder's (MAILER_DATA_DIR)?")
    return found


def _expected(service: Service, session: Session, tenant_id: int, email_id: str) -> str:
    """Return the token that we put into the mail of the test, as the path of its link."""
    email = emails.get(session, tenant_id, email_id)
    opt_out = OptOut(tenant_id, email.fingerprint or b"", email.stream, email.topic, ids.to_bytes(email_id))
    return service.links.ways_out(opt_out).unsubscribe


def _on_site(raw: bytes, expected: str | None, service: Service) -> str | None:
    """Return the address that we put in; without a public one, the server that sent it knew where it listens."""
    if expected is None or service.settings.base_url(Stream.PROMOTIONAL):
        return expected
    path = expected.removeprefix(service.links.base(Stream.PROMOTIONAL))
    ways = reading.ways_of(raw, service.links.ring)
    return ways.url if ways.url and ways.url.endswith(path) else expected


def _own_keys(service: Service, session: Session, tenant_id: int) -> Mapping[str, str]:
    """Return our own keys as they should be published: used where the DNS does not answer."""
    return {signer.name: signer.record for _, signer in service.keyring.usable(session, tenant_id).keys}


async def _leave(service: Service, ways: reading.Ways) -> list[Finding]:
    """Open the page, then leave by every client and by mail; each time what was left is given back."""
    assert ways.url is not None
    assert ways.opt_out is not None
    before = await _left(service, ways.opt_out)
    opened = await asyncio.to_thread(posting.ask, ways.url, None)
    still = await _left(service, ways.opt_out)
    found = [
        told(
            "opening the page",
            opened.good,
            "it answers",
            f"{opened.words}: {ways.url.partition('/u/')[0]} must be reached",
        ),
        told(
            "opening changes nothing", still == before, "nobody is unsubscribed by it", "opening the page unsubscribes"
        ),
    ]
    if before:
        words = "the person had left before, so only the answers are looked at"
        found.append(Finding("the person", Verdict.WARNING, words))
    for client in posting.CLIENTS:
        answered = await asyncio.to_thread(posting.ask, ways.url, client)
        found.append(await _judged(service, ways.opt_out, f"POST {client.name}", answered, before=before))
    if ways.mailto:
        found.append(await _by_mail(service, ways, before=before))
    return found


async def _by_mail(service: Service, ways: reading.Ways, *, before: bool) -> Finding:
    check = "by mail, as Apple does"
    opt_out = reading.mailto_token(ways, service.links.ring)
    if opt_out is None:
        return Finding(check, Verdict.FAILED, "the token in the mailto is not ours")
    listener, lmtp = service.settings.inbound_address, service.settings.inbound_lmtp
    answered = await asyncio.to_thread(lambda: posting.write_to(ways.mailto or "", listener, lmtp=lmtp))
    if answered.status is None:
        words = f"nobody receives on {listener[0]}:{listener[1]} ({answered.trouble}): run `mailer inbound`"
        return Finding(check, Verdict.FAILED, words)
    return await _judged(service, opt_out, check, answered, before=before, done_by=optouts.BY_MAIL)


async def _judged(
    service: Service,
    opt_out: OptOut,
    check: str,
    answered: posting.Answered,
    *,
    before: bool,
    done_by: Collection[Kind] = optouts.BY_LINK,
) -> Finding:
    """Say whether an answer was good and the person has left; what was left is given back at once."""
    if not answered.good:
        return Finding(check, Verdict.FAILED, answered.words)
    if before:
        return Finding(check, Verdict.OK, answered.words)
    if not await _left(service, opt_out):
        return Finding(check, Verdict.FAILED, f"{answered.words}, and the person gets mail all the same")
    await service.database.run(lambda session: optouts.undo(session, opt_out, service.now(), done_by=done_by))
    if await _left(service, opt_out):
        return Finding(check, Verdict.WARNING, f"{answered.words}, the person has left, and could not be given back")
    return Finding(check, Verdict.OK, f"{answered.words}, the person has left; given back")


async def _left(service: Service, opt_out: OptOut) -> bool:
    topic = rules.Topic(opt_out.topic, opt_out.stream, may_leave=True) if opt_out.topic else None
    question = Question(opt_out.fingerprint, opt_out.stream, topic)
    found = await service.database.read(
        lambda session: entries.check(session, opt_out.tenant_id, question, service.now())
    )
    return found is not None
