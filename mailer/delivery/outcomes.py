"""What becomes of a mail after one try: policy over answers, pure but for the clock that is passed in."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from mailer.delivery import replies
from mailer.delivery.claims import Job, Outcome
from mailer.delivery.replies import Stage
from mailer.delivery.wire import Answer
from mailer.status import Status
from suppression.rules import Stream

_CLOSED = "the relay closed the connection"


class Retry(NamedTuple):
    """When a refused mail is tried again, and when no more."""

    waits: Sequence[timedelta]
    give_up: timedelta

    def after(self, attempts: int) -> timedelta:
        """Return the wait after so many tries, a tenth longer or shorter so that retries spread."""
        wait = self.waits[min(max(attempts, 1), len(self.waits)) - 1]
        return wait * random.uniform(0.9, 1.1)

    def soon(self, job: Job, shortest: float, longest: float, now: datetime) -> datetime:
        """Return when to try again: soon the first time; a relay that goes on so would get it every few seconds."""
        if job.attempts:
            return now + self.after(job.attempts)
        return now + timedelta(seconds=random.uniform(shortest, longest))


def sent(job: Job, answer: Answer, *, tracked: bool, tracked_links: bool = False) -> Outcome:
    """The relay took it."""
    return Outcome(job, Status.SENT, reply=replies.told(answer), tracked=tracked, tracked_links=tracked_links)


def refused(job: Job, answer: Answer, stage: Stage, retry: Retry, now: datetime) -> Outcome:
    """The relay said 4xx or 5xx."""
    verdict = replies.decide(answer, stage)
    told = replies.told(answer)
    if verdict.status is not Status.DEFERRED:
        return Outcome(job, verdict.status, reply=told, category=verdict.category, hard=verdict.hard)
    due_at = now + retry.after(job.attempts + 1)
    if due_at - (job.dated_at or now) > retry.give_up:
        return Outcome(job, Status.BOUNCED, reply=told, category="expired")
    return Outcome(job, Status.DEFERRED, reply=told, category=verdict.category, due_at=due_at)


def erased(job: Job) -> Outcome:
    """Return that nobody gets it any more: its recipient was erased after it was tried."""
    return Outcome(job, Status.CANCELLED, reply="the recipient was erased")


def unsent(job: Job, retry: Retry, now: datetime, *, worked_before: bool) -> Outcome:
    """The connection went before the mail was handed over: certainly not sent, so it is tried again soon."""
    if worked_before:
        # Yahoo and others close a connection silently after some mails: a fresh one will do at once.
        return Outcome(job, Status.QUEUED, reply=_CLOSED)
    due_at = retry.soon(job, 1, 5, now)
    return Outcome(job, Status.DEFERRED, reply=_CLOSED, category="transient", due_at=due_at)


def in_doubt(job: Job, retry: Retry, now: datetime) -> Outcome:
    """The connection went after the mail was handed over: nobody knows (RFC 1047)."""
    reply = f"{_CLOSED} before it answered"
    if job.stream is Stream.PROMOTIONAL:
        return Outcome(job, Status.UNCERTAIN, reply=reply)
    due_at = retry.soon(job, 5, 15, now)
    return Outcome(job, Status.DEFERRED, reply=reply, category="in_doubt", due_at=due_at, maybe_duplicate=True)


def failed(job: Job, sentence: str, category: str) -> Outcome:
    """Our or the content's fault, found before anything was offered."""
    return Outcome(job, Status.FAILED, reply=sentence[:500], category=category)


def ours(job: Job, error: Exception, retry: Retry, now: datetime) -> Outcome:
    """Our own bug kept it from being composed: it waits as long again as it has been tried, for nothing may be lost."""
    sentence, tried_for = f"our fault: {type(error).__name__}", now - (job.dated_at or now)
    if tried_for > retry.give_up:
        return failed(job, sentence, "content")
    wait = min(max(tried_for, retry.waits[0]), max(retry.waits))
    return Outcome(job, Status.DEFERRED, reply=sentence, category="transient", due_at=now + wait)
