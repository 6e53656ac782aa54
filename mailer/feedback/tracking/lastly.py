"""Where only the day of a person's last open may be kept: that day in their row, and sums that name nobody."""

from collections import Counter as Sums
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from sqlmodel import Session

from mailer import counters, people
from mailer.feedback.tracking import counting, judging
from mailer.feedback.tracking.counting import Fact
from mailer.feedback.tracking.judging import Seen
from mailer.feedback.tracking.permitting import Mail
from mailer.feedback.tracking.sightings import Class, Sighting
from mailer.people import LastOpen


def record(session: Session, tied: Mapping[Mail, Sequence[Sighting]], tally: counters.Tally, now: datetime) -> None:
    """Move the days of last opens on, and count.

    Nothing remembers which mail was opened, so "once" is told by the day alone: a mail counts as read when the person's
    last open was on an earlier day than the mail. Who opened another one on that day is missed: it is a lower bound.
    """
    people_of: dict[int, set[bytes]] = {}
    for mail in tied:
        people_of.setdefault(mail.about.tenant_id, set()).add(mail.fingerprint)
    days = {tenant: people.last_opens(session, tenant, who) for tenant, who in people_of.items()}
    fresh: dict[int, dict[bytes, LastOpen]] = {}
    for mail, sightings in tied.items():
        hits = judging.judge(list(map(judging.seen, sightings)), mail.sent_at)
        known, who = days[mail.about.tenant_id], mail.fingerprint
        counting.add(tally, mail.about, _counted(hits, mail, known.get(who)), anonymous=True)
        opened = max((hit.at.date() for hit in hits if hit.verdict.kind is Class.HUMAN), default=None)
        if opened is not None and (who not in known or known[who] < opened):
            known[who] = opened
            fresh.setdefault(mail.about.tenant_id, {})[who] = LastOpen(mail.address, opened)
    for tenant, opens in fresh.items():
        people.keep_last_opens(session, tenant, opens, now)


def _counted(hits: Sequence[Seen], mail: Mail, last: date | None) -> Sums[Fact]:
    sums: Sums[Fact] = Sums()
    for hit in hits:
        sums.update(counting.every(hit))
    humans = [hit for hit in hits if hit.verdict.kind is Class.HUMAN]
    if humans and (last is None or last < mail.sent_on):
        sums[None, "read"] = 1
        sums[None, f"opens:{Class.HUMAN}"] = int(any(hit.place is None for hit in humans))
    return sums
