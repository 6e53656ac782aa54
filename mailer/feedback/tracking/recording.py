"""Writing down what was seen, where it may be written down: consent is asked now (spec section 9)."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlmodel import Session

from mailer import counters
from mailer.feedback.tracking import counting, crowds, judging, keeping, lastly, permitting
from mailer.feedback.tracking.keeping import Fresh, Stored
from mailer.feedback.tracking.permitting import Mail
from mailer.feedback.tracking.sightings import Sighting

#: So many hits of one mail are kept; a machine that loads a picture for days fills no disk (R6.4).
MOST = 1_000


def record(session: Session, sightings: Sequence[Sighting], now: datetime) -> None:
    """Store what may be stored: a few statements, however many hits there are."""
    tally = counters.Tally()
    tied = _tied(session, sightings)
    _record(session, {mail: hits for mail, hits in tied.items() if not mail.last_open_only}, tally)
    lastly.record(session, {mail: hits for mail, hits in tied.items() if mail.last_open_only}, tally, now)
    crowds.record(session, sightings, tally, now)
    tally.write(session)


def _tied(session: Session, sightings: Sequence[Sighting]) -> dict[Mail, list[Sighting]]:
    """Return the hits that may be tied to a mail, by the mail."""
    mails = permitting.permitted(session, {each.hit.email_id for each in sightings if each.hit.email_id})
    tied: dict[Mail, list[Sighting]] = {}
    for each in sightings:
        mail = mails.get(each.hit.email_id or "")
        if mail is not None and (each.hit.link is not None) in mail.measured:
            tied.setdefault(mail, []).append(each)
    return tied


def _record(session: Session, tied: Mapping[Mail, Sequence[Sighting]], tally: counters.Tally) -> None:
    """Store hits one by one; those of the same mail that were stored before are judged again beside them."""
    if not tied:
        return
    keeping.alone(session, {mail.about.tenant_id for mail in tied})
    stored = keeping.stored(session, [mail.id for mail in tied])
    judged: list[tuple[Stored, judging.Seen]] = []
    fresh: list[Fresh] = []
    labels: dict[tuple[int, str], str] = {}
    for mail, sightings in tied.items():
        before = stored.get(mail.id, [])
        new = sightings[: max(0, MOST - len(before))]
        after = judging.judge([*(each.seen for each in before), *map(judging.seen, new)], mail.sent_at)
        change = counting.of_mail(after)
        change.subtract(counting.of_mail([each.seen for each in before]))
        counting.add(tally, mail.about, change)
        judged += zip(before, after, strict=False)
        fresh += [Fresh(mail.about.tenant_id, *each) for each in zip(new, after[len(before) :], strict=True)]
        labels |= counting.labels(mail.about, new)
    keeping.judged(session, judged)
    keeping.write(session, fresh)
    keeping.name(session, labels)
