"""Plays the demo: everything goes the way that real mail goes, from the request to the inbox."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer import submission, tenancy
from mailer.demo import samples
from mailer.demo.samples import Sample
from mailer.errors import MailerError
from mailer.feedback import optouts
from mailer.feedback.optouts import How, Kind
from mailer.inbox import read
from mailer.models import Email, LinkKind, UserRole
from mailer.service import Service
from mailer.status import Status
from mailer.submission import Accepted, Submitter
from mailer.users import accounts
from suppression.rules import Stream
from suppression.token import OptOut, verify_opt_out

#: Everything has arrived long before; a machine that needs longer is told so.
PATIENCE = timedelta(seconds=60)
_LOOK = 0.05
#: What is on its way still.
_UNSETTLED = frozenset({Status.SCHEDULED, Status.HELD, Status.QUEUED, Status.SENDING, Status.DEFERRED})

Progress = Callable[[int, int], None]


class Outcome(NamedTuple):
    """What became of one mail."""

    id: str
    to: str
    stream: Stream
    template: str
    status: Status
    reason: str | None


async def play(service: Service, progress: Progress) -> list[Outcome]:
    """Send the samples, let Lena leave in between, and return what became of each once all are settled."""
    await service.database.run(found)
    opening = await _send(service, [samples.first()])
    await _settled(service, opening, lambda _done, _all: None)
    await _leave(service)
    rest = await _send(service, [*samples.after_leaving(), *samples.all_templates()])
    return await _settled(service, [*opening, *rest], progress)


async def way_in(service: Service) -> str:
    """Make the demo's user where there is none yet, and return the token of a fresh link that signs in as them."""

    def make(session: Session) -> str:
        tenant, now = tenancy.only_tenant(session, tenancy.DEFAULT), service.now()
        user = accounts.named(session, samples.USER.email)
        if user is None:
            user = accounts.create(session, samples.USER.email, now, name=samples.USER.name)
            accounts.seat(session, tenant.id or 0, user, UserRole.OWNER, now)
        return accounts.make_link(session, user, now, kind=LinkKind.ENTER)

    return await service.database.run(make)


def unsettled(outcomes: Iterable[Outcome]) -> int:
    """Return how many mails are on their way still."""
    return sum(outcome.status in _UNSETTLED for outcome in outcomes)


def found(session: Session) -> None:
    """Give the sample company its own topics; a demo that is started again has them already."""
    tenant = tenancy.only_tenant(session, tenancy.DEFAULT)
    known = {topic.key for topic in tenancy.topics(session, tenant.id or 0)}
    for draft in samples.topics():
        if draft.key not in known:
            tenancy.create_topic(session, tenant.id or 0, draft)


async def _send(service: Service, chosen: Sequence[Sample]) -> list[str]:
    drafts = [sample.draft() for sample in chosen]

    def submit(session: Session) -> list[Accepted]:
        tenant = tenancy.only_tenant(session, tenancy.DEFAULT)
        sender = Submitter.trusted(tenant.id or 0)
        return [submission.submit(session, sender, draft, service.intake, service.now()) for draft in drafts]

    accepted = await service.database.run(submit)
    for stream in {each.stream for each in accepted}:
        service.ring(stream)
    return [each.id for each in accepted]


async def _settled(service: Service, ids: Sequence[str], progress: Progress) -> list[Outcome]:
    """Wait until nothing is on its way, but not for ever."""
    outcomes = await _outcomes(service, ids)
    try:
        async with asyncio.timeout(PATIENCE.total_seconds()):
            while waiting := unsettled(outcomes):
                progress(len(outcomes) - waiting, len(outcomes))
                await asyncio.sleep(_LOOK)
                outcomes = await _outcomes(service, ids)
    except TimeoutError:
        return outcomes
    progress(len(outcomes), len(outcomes))
    return outcomes


async def _outcomes(service: Service, ids: Sequence[str]) -> list[Outcome]:
    def find(session: Session) -> list[Outcome]:
        statement = select(Email).where(col(Email.id).in_(ids)).order_by(col(Email.id))
        return [_outcome(email) for email in session.exec(statement)]

    return await service.database.read(find)


def _outcome(email: Email) -> Outcome:
    # What a relay says to mail that it takes is no reason for anything.
    reason = email.suppression_reason or (None if email.status is Status.SENT else email.reply)
    return Outcome(email.id, email.address or "", email.stream, email.template or "", email.status, reason)


async def _leave(service: Service) -> None:
    """Do what a mail provider does when Lena presses "unsubscribe": take the link out of her mail, and use it."""
    opt_out = await asyncio.to_thread(_link, service)
    await service.database.run(
        lambda session: optouts.opted_out(session, opt_out, How(Kind.ONE_CLICK), service.now()),
        urgency=0,
        conclusive=True,
    )


def _link(service: Service) -> OptOut:
    for mail in service.store.of(samples.LENA.email):
        token = (read(mail.raw).unsubscribe_url or "").rpartition("/u/")[2]
        if token and (opt_out := verify_opt_out(service.links.ring, token)) and opt_out.stream is Stream.PROMOTIONAL:
            return opt_out
    raise MailerError("the first newsletter of the demo did not arrive in the inbox")
