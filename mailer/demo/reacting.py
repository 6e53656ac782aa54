"""What readers, and machines among them, do with the mail of the past: by the links that stand in it."""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from mailer import ids
from mailer.demo.cast import BROWSERS, HABITS, SCANNED, Habit
from mailer.demo.sending import Sent
from mailer.feedback.tracking.classes import classify
from mailer.feedback.tracking.sightings import Sighting, Trace
from mailer.links import Hit, Links
from mailer.targets import Link
from suppression.token import OptOut

#: Scanners come a median 43 s after the mail (peers.md section 2.4), and press everything within a second.
_SCANNER = timedelta(seconds=43)
#: How long a reader takes, in the middle.
_READER = timedelta(hours=3)


class Seen(NamedTuple):
    """One request of a reader's, or of a machine's."""

    at: datetime
    agent: str
    link: Link | None = None


class Reactions:
    """What happens to sent mail, as the die falls."""

    def __init__(self, links: Links, die: random.Random) -> None:
        """Begin with nothing; `die` decides everything."""
        self._links, self._die = links, die

    def sightings(self, sent: Sequence[Sent], wanted: Sequence[Link], until: datetime) -> list[Sighting]:
        """Return the requests that mails lead to, up to a moment, the oldest first."""
        found = [
            self._sighting(each, seen)
            for each in sent
            for seen in self._of_mail(each, wanted)
            if seen.at < until and (each.said.clicked if seen.link else each.said.opened) is not None
        ]
        return sorted(found, key=lambda each: each.at)

    def _of_mail(self, sent: Sent, wanted: Sequence[Link]) -> Iterator[Seen]:
        die, habit = self._die, HABITS.get(sent.job.provider, HABITS["other"])
        scanned = (sent.job.address or "").endswith(f"@{SCANNED}")
        if scanned or die.random() < habit.machines:
            yield from self._machine(sent, habit, wanted)
        if die.random() < habit.opens:
            yield from self._reader(sent, habit, wanted)

    def _machine(self, sent: Sent, habit: Habit, wanted: Sequence[Link]) -> Iterator[Seen]:
        at = sent.at + _SCANNER * self._die.uniform(0.7, 1.6)
        yield Seen(at, habit.machine)
        for link in wanted if habit.sweeps else ():
            at += timedelta(milliseconds=self._die.randrange(40, 160))
            yield Seen(at, habit.machine, link)

    def _reader(self, sent: Sent, habit: Habit, wanted: Sequence[Link]) -> Iterator[Seen]:
        die = self._die
        at = sent.at + timedelta(minutes=2) + _READER * die.expovariate(0.7)
        agent = die.choice(habit.agents)
        for _ in range(die.choice((1, 1, 1, 2, 3))):
            yield Seen(at, agent)
            at += timedelta(minutes=die.uniform(1, 400))
        if wanted and die.random() < habit.clicks:
            # The first links of a mail are followed most.
            link = wanted[min(int(die.expovariate(0.8)), len(wanted) - 1)]
            yield Seen(at, die.choice(BROWSERS), link)

    def _sighting(self, sent: Sent, seen: Seen) -> Sighting:
        hit, trace = self._hit(sent, seen.link), Trace(agent=seen.agent)
        return Sighting(hit, classify(trace, {}), seen.at, trace if hit.email_id else None)

    def _hit(self, sent: Sent, link: Link | None) -> Hit:
        """Return what the mail's own signed address says, as if it had been asked for."""
        stream, said = sent.job.stream, sent.said
        if link is None:
            pixel = self._links.of_mail(stream, None, said.opened).pixel or ""
            hit = self._links.read_open(pixel.rpartition("/")[2].removesuffix(".gif"))
        else:
            ((address,),) = self._links.clicks(stream, [(said.clicked or b"", [link])])
            hit = self._links.read_click((address or "").rpartition("/")[2])
        assert hit is not None, "a link that we signed"
        return hit


def opt_out(sent: Sent) -> OptOut:
    """Return what the opt-out link of a mail says."""
    job = sent.job
    return OptOut(job.tenant_id, job.fingerprint, job.stream, job.topic, ids.to_bytes(job.id))
