"""What was stored of hits, judged again by the rules of today, and counted again from the start."""

from collections import Counter as Sums
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from sqlalchemy import func, select
from sqlmodel import Session

from mailer import counters, ids
from mailer.counters import FACTS, Key, Tally
from mailer.feedback.tracking import counting, judging, keeping, permitting
from mailer.feedback.tracking.classes import classify
from mailer.feedback.tracking.keeping import Stored
from mailer.feedback.tracking.sightings import Class, Trace

#: Mails judged again in one transaction, and hits read at once to be counted: more than one mail can have.
_MAILS, _HITS = 100, 5_000
_SHADOWED = (*counting.METRICS, *(f"{counting.ANONYMOUS}{metric}" for metric in counting.METRICS))


class Step(NamedTuple):
    """What was judged again, and the last mail of it; None where there is no more."""

    hits: int
    changed: int
    last: str | None


def reclassify(session: Session, tenant_id: int, since: date, kinds: Mapping[str, Class], after: str = "") -> Step:
    """Judge the next mails' hits again, and put right what was counted.

    `since` is the day from which on a mail must have a hit whose trace is kept; a hit without one stays what it was
    judged to be by itself. `kinds` are the classes of the network lists. Run it again with `last` until that is None.
    """
    keeping.alone(session, [tenant_id])
    mails = keeping.traced(session, tenant_id, since, after, _MAILS)
    if not mails:
        return Step(0, 0, None)
    known, traces = permitting.known(session, mails), keeping.traces(session, tenant_id, mails)
    tally, judged = Tally(), list[tuple[Stored, judging.Seen]]()
    for email_id, stored in keeping.stored(session, mails).items():
        if email_id not in known:
            continue
        about, sent_at = known[email_id]
        now = judging.judge([_by_itself(each, traces.get(each.id), kinds) for each in stored], sent_at)
        change = counting.of_mail(now)
        change.subtract(counting.of_mail([each.seen for each in stored]))
        counting.add(tally, about, change)
        judged += zip(stored, now, strict=True)
    tally.write(session)
    return Step(len(judged), keeping.judged(session, judged), mails[-1])


def _by_itself(hit: Stored, trace: Trace | None, kinds: Mapping[str, Class]) -> judging.Seen:
    return hit.seen._replace(verdict=classify(trace, kinds)) if trace is not None else hit.seen


def difference(session: Session, tenant_id: int, day: date) -> Tally:
    """Return what must be added to the sums of the mails accepted on a day so that they are what the hits say.

    What is counted of mail that names nobody has no hits; it is known by the sums that stand beside. Both sides must be
    read in one snapshot: then what is counted meanwhile changes nothing. The hours are left as they are.
    """
    right = Tally()
    start = datetime.combine(day, time.min, UTC)
    after, end = ids.first("em", start), ids.first("em", start + timedelta(days=1))
    while hits := keeping.between(session, tenant_id, after, end, _HITS):
        known = permitting.known(session, list(hits))
        for email_id, stored in hits.items():
            if email_id in known:
                counting.add(right, known[email_id][0], counting.of_mail([each.seen for each in stored]), hours=False)
        after = max(hits)
    missing = Sums(right.sums)
    for key, amount in _counted(session, tenant_id, day):
        if key.metric.startswith(counting.ANONYMOUS):
            missing[key._replace(metric=key.metric.removeprefix(counting.ANONYMOUS))] += amount
        else:
            missing[key] -= amount
    found = Tally()
    found.sums.update({key: amount for key, amount in missing.items() if amount})
    return found


def _counted(session: Session, tenant_id: int, day: date) -> list[tuple[Key, int]]:
    statement = (
        select(*(FACTS.c[name] for name in Key._fields), func.sum(FACTS.c.amount))
        .where(
            FACTS.c.tenant_id == tenant_id,
            FACTS.c.day == day,
            FACTS.c.metric.in_(_SHADOWED),
            FACTS.c.dimension.not_in((counters.STREAM_HOUR, counters.CAMPAIGN_HOUR)),
        )
        .group_by(*(FACTS.c[name] for name in Key._fields))
    )
    return [(Key(*key), int(amount)) for *key, amount in session.execute(statement)]
