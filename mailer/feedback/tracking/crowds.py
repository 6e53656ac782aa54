"""Hits that name no person: counted, each random number once a metric, and nothing else is kept (spec section 9)."""

import hashlib
from collections import Counter as Sums
from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sqlmodel import Session, SQLModel

from mailer import counters, database
from mailer.feedback.tracking import counting, judging, keeping, permitting
from mailer.feedback.tracking.counting import About, Fact, Facts
from mailer.feedback.tracking.sightings import Sighting
from mailer.links import Audience
from mailer.models import SeenHit
from suppression.rules import Stream

_mark = SQLModel.metadata.tables[str(SeenHit.__tablename__)]


def record(session: Session, sightings: Sequence[Sighting], tally: counters.Tally, now: datetime) -> None:
    """Count hits; those of one mail that come together are judged together, for nothing else of them is known."""
    named = [(each.hit.audience, each) for each in sightings if each.hit.audience]
    kept = permitting.counted(session, {_asked(each, audience) for audience, each in named})
    mails: dict[tuple[Audience, bytes], list[Sighting]] = {}
    for audience, each in named:
        if _asked(each, audience) in kept:
            mails.setdefault((audience, each.hit.mark), []).append(each)
    labels: dict[tuple[int, str], str] = {}
    marks: dict[tuple[int, bytes], tuple[About, Fact, datetime]] = {}
    for (audience, number), some in mails.items():
        about = _about(audience)
        sums: Facts = Sums()
        for hit in judging.judge(list(map(judging.seen, some)), None):
            sums.update((fact, counting.hour(hit)) for fact in counting.every(hit))
            for fact in counting.once(hit):
                marks.setdefault((about.tenant_id, _marked(number, fact)), (about, fact, counting.hour(hit)))
        counting.add(tally, about, sums, anonymous=True)
        labels |= counting.labels(about, some)
    # The rows of marks decide between two processes that see the first hit of a mail at the same moment.
    for key in _first(session, marks, now.date()):
        about, fact, hour = marks[key]
        counting.add(tally, about, Sums([(fact, hour)]), anonymous=True)
    keeping.name(session, labels)


def _asked(sighting: Sighting, audience: Audience) -> tuple[int, Stream, bool]:
    return audience.tenant_id, audience.stream, sighting.hit.link is not None


def _about(audience: Audience) -> About:
    """Return what a hit counts in; a campaign that is no row of ours is a tag."""
    tagged = audience.campaign and not audience.campaign.startswith("ca_")
    return counting.about(
        *(audience.tenant_id, audience.day, audience.stream),
        tags={"campaign": audience.campaign} if tagged else None,
        topic=audience.topic or None,
        template=audience.template or None,
        campaign=None if tagged else audience.campaign or None,
        provider=None,
    )


def _marked(number: bytes, fact: Fact) -> bytes:
    """Return what stands for a mail that counted in something; the number cannot be told from it."""
    place, metric = fact
    return hashlib.blake2b(number + f"{metric}#{place}".encode(), digest_size=16).digest()


def _first(session: Session, marks: Iterable[tuple[int, bytes]], today: date) -> list[tuple[int, bytes]]:
    """Return those marks that nobody had seen, and remember them."""
    # One order for all writers, so that two never wait for each other.
    rows = [{"tenant_id": tenant, "mark": mark, "day": today} for tenant, mark in sorted(marks)]
    if not rows:
        return []
    statement = database.insert(session, _mark).on_conflict_do_nothing()
    found = session.execute(statement.returning(_mark.c.tenant_id, _mark.c.mark), rows)
    return [(int(tenant), bytes(mark)) for tenant, mark in found]
