"""Where only the day of a person's last open may be kept: that day in their row, and sums that name nobody."""

from collections import Counter as Sums
from collections.abc import Mapping, Sequence
from datetime import date, datetime

from sqlmodel import Session

from mailer import counters, people
from mailer.feedback.tracking import counting, judging
from mailer.feedback.tracking.counting import Facts
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


def _counted(hits: Sequence[Seen], mail: Mail, last: date | None) -> Facts:
    sums: Facts = Sums()
    for hit in hits:
        sums.update((fact, counting.hour(hit)) for fact in counting.every(hit))
    humans = sorted((hit for hit in hits if hit.verdict.kind is Class.HUMAN), key=lambda hit: hit.at)
    if humans and (last is None or last < mail.sent_on):
        loads = [hit for hit in humans if hit.place is None]
        # What machines load is not counted once here, so that no mail is touched but by its reader.
        sums.update(((None, metric), counting.hour(humans[0])) for metric in ("read", "touched"))
        sums.update(((None, f"opens:{Class.HUMAN}"), counting.hour(hit)) for hit in loads[:1])
    return sums
