"""Mail of the past goes out: claimed, intended and settled by the verbs of delivery; a relay's answers are played."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import NamedTuple

from sqlmodel import Session

from mailer import people
from mailer.causes import Category
from mailer.delivery import claims, measuring
from mailer.delivery.claims import Ask, Job, Outcome, Step, Worker
from mailer.delivery.measuring import Said
from mailer.links import Audience
from mailer.models import Tenant
from mailer.status import Status
from suppression.rules import Stream

_HOLDER = "demo"
#: How many mails go out together, and how long these take.
_TOGETHER, _TAKEN = 40, timedelta(seconds=20)
_ROUNDS = 50
_LATER = timedelta(minutes=6)


class Sent(NamedTuple):
    """A mail that went out, and what its pixel and links say."""

    job: Job
    at: datetime
    said: Said


class Answer(NamedTuple):
    """What the relay says."""

    status: Status
    reply: str = "250 2.0.0 queued"
    category: Category = Category.UNKNOWN
    hard: bool = False


TAKEN = Answer(Status.SENT)
_GREY = Answer(Status.DEFERRED, "451 4.7.1 greylisted, try again later", Category.TRANSIENT)
_NOBODY = Answer(Status.BOUNCED, "550 5.1.1 user unknown", Category.INVALID_RECIPIENT, hard=True)
_FULL = Answer(Status.BOUNCED, "552 5.2.2 mailbox full", Category.MAILBOX_FULL)
#: The how-manieth mail of a sending -> what the relay says of it; all others are taken.
NEWS: Mapping[int, Answer] = MappingProxyType({11: _GREY, 29: _NOBODY, 83: _FULL})
QUIET: Mapping[int, Answer] = MappingProxyType({})


class Sending(NamedTuple):
    """What goes out: of which stream, how many at most, and which mails the relay does not take at once."""

    stream: Stream
    most: int = 1000
    answers: Mapping[int, Answer] = QUIET


def send(session: Session, what: Sending, moment: datetime) -> list[Sent]:
    """Send what is due at a moment, some together; what was put off goes when its time has come."""
    lease, sent, tried = claims.open_lease(session, what.stream, _HOLDER, moment), list[Sent](), 0
    waits: datetime | None = None
    for _ in range(_ROUNDS):
        jobs = claims.claim(session, Ask(what.stream, None, lease, min(_TOGETHER, what.most - tried)), moment)
        if not jobs and waits is None:
            break
        if not jobs and waits is not None:
            moment, waits = waits, None
            continue
        moment += _TAKEN
        answers = [what.answers.get(tried + place, TAKEN) for place in range(len(jobs))]
        if any(answer.status is Status.DEFERRED for answer in answers):
            waits = moment + _LATER
        sent += _together(session, list(zip(jobs, answers, strict=True)), Worker(lease), moment)
        tried += len(jobs)
    claims.give_back(session, lease, moment)
    return sent


def _together(session: Session, tries: Sequence[tuple[Job, Answer]], worker: Worker, moment: datetime) -> list[Sent]:
    """Commit the intents, and then the outcomes of those that were granted."""
    steps = [Step(intent=job) for job, _answer in tries]
    claims.commit(session, steps, worker, moment - _TAKEN / 2)
    refused = [job for (job, _answer), step in zip(tries, steps, strict=True) if not step.granted]
    claims.refuse(session, refused, worker, moment - _TAKEN / 2)
    granted = [each for each, step in zip(tries, steps, strict=True) if step.granted]
    said = _said(session, [job for job, _answer in granted])
    outcomes = [_outcome(job, answer, said[job.id], moment) for job, answer in granted]
    claims.commit(session, [Step(outcome=outcome) for outcome in outcomes], worker, moment)
    return [Sent(job, moment, said[job.id]) for job, answer in granted if answer.status is Status.SENT]


def _outcome(job: Job, answer: Answer, said: Said, moment: datetime) -> Outcome:
    went = answer.status is Status.SENT
    return Outcome(
        job,
        answer.status,
        answer.reply,
        answer.category,
        hard=answer.hard,
        tracked=went and said.opened is not None,
        tracked_links=went and said.clicked is not None,
        due_at=moment + _LATER if answer.status is Status.DEFERRED else None,
    )


def _said(session: Session, jobs: Sequence[Job]) -> Mapping[str, Said]:
    """Return what the pixel and the links of each mail say, as composing it asks it; all here are of one tenant."""
    if not jobs:
        return {}
    tenant = session.get_one(Tenant, jobs[0].tenant_id)
    choices = people.tracking_choices(session, jobs[0].tenant_id, [job.fingerprint for job in jobs])

    def audience(job: Job) -> bytes:
        named = (job.campaign_id or "", job.topic or "", job.template or "", job.created_at.date())
        return Audience(job.tenant_id, job.stream, *named).pack()

    return {job.id: measuring.said(job, tenant.consent, choices.get(job.fingerprint), audience(job)) for job in jobs}
