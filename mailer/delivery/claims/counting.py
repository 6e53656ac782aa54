"""What is counted of a batch of sent mail."""

from collections import Counter as Sums
from collections.abc import Iterable
from datetime import datetime

from mailer.counters import Tally
from mailer.delivery.claims.rows import Job, Outcome
from mailer.status import Status


def count_sent(tally: Tally, outcomes: Iterable[Outcome], now: datetime) -> None:
    """Count mails that were sent; those that differ in nothing that is counted are counted together."""
    alike: dict[tuple[object, ...], list[Job]] = {}
    tracked: Sums[tuple[object, ...]] = Sums()
    linked: Sums[tuple[object, ...]] = Sums()
    for outcome in outcomes:
        job = outcome.job
        tags = tuple(job.tags.items()) if job.tags else ()
        key: tuple[object, ...] = (
            job.tenant_id,
            job.created_at.date(),
            job.stream,
            job.campaign_id,
            job.topic,
            job.template,
            job.provider,
            job.opens,
            tags,
        )
        alike.setdefault(key, []).append(job)
        tracked[key] += outcome.tracked
        linked[key] += outcome.tracked_links
    for key, jobs in alike.items():
        tally.count(jobs[0], Status.SENT, now, len(jobs))
        tally.count_tracked(jobs[0], now, pixels=tracked[key], links=linked[key])
