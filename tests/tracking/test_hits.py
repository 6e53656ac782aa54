"""No load of a picture ever waits for the database."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.exc import OperationalError

from mailer.feedback.tracking.hits import Hits
from mailer.feedback.tracking.sightings import Class, Sighting, Verdict
from mailer.links import Audience, Hit
from mailer.targets import Link
from suppression.rules import Stream
from tests.recipients.world import NOON

AUDIENCE = Audience(1, Stream.PROMOTIONAL, "november", "newsletter", "letter", NOON.date())


def crowd(mark: bytes, link: Link | None = None) -> Sighting:
    return Sighting(Hit(None, AUDIENCE, mark, link), Verdict(Class.HUMAN, "browser"), NOON)


async def test_r6_4_the_buffer_is_bounded_and_counts_what_it_drops() -> None:
    hits = Hits(_nowhere, limit=3)
    assert [hits.add(crowd(bytes([number]))) for number in range(5)] == [True, True, True, False, False]
    assert (len(hits), hits.dropped) == (3, 2)


async def _nowhere(_sightings: Sequence[Sighting]) -> None:
    return


async def test_what_waits_is_written_in_bulk_and_at_the_stop() -> None:
    written: list[int] = []

    async def write(sightings: Sequence[Sighting]) -> None:
        written.append(len(sightings))

    hits = Hits(write, pause=30)
    hits.start()
    for number in range(1200):
        hits.add(crowd(number.to_bytes(8)))
    await hits.stop()
    assert written == [500, 500, 200]
    assert (len(hits), hits.dropped) == (0, 0)


async def test_while_the_database_is_away_hits_wait() -> None:
    away = True
    written: list[Sighting] = []

    async def write(sightings: Sequence[Sighting]) -> None:
        if away:
            raise OperationalError("INSERT", {}, Exception("away"))
        written.extend(sightings)

    hits = Hits(write, pause=30)
    expected = [crowd(b"1"), crowd(b"2")]
    for each in expected:
        hits.add(each)
    await hits.flush()
    assert len(hits) == 2
    away = False
    await hits.flush()
    assert written == expected


async def test_a_batch_that_cannot_be_written_is_dropped_and_the_writer_lives() -> None:
    calls = 0

    async def write(_sightings: Sequence[Sighting]) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ValueError("poison")

    hits = Hits(write)
    hits.add(crowd(b"1"))
    await hits.flush()
    hits.add(crowd(b"2"))
    await hits.flush()
    assert (calls, hits.dropped) == (2, 1)


async def test_r6_4_a_thousand_hits_a_second_from_one_program_are_one_a_second() -> None:
    hits = Hits(_nowhere)
    for number in range(5_000):
        assert hits.add(crowd(b"1")._replace(at=NOON + timedelta(milliseconds=number)))
    assert (len(hits), hits.dropped) == (5, 0)
    # Another class, another link and another mail are others.
    machine = Verdict(Class.MACHINE, "head")
    later = NOON + timedelta(seconds=9)
    link = Link(1, "https://a.example", "a")
    for each in (crowd(b"1"), crowd(b"1")._replace(verdict=machine), crowd(b"2"), crowd(b"1", link), crowd(b"1", link)):
        hits.add(each._replace(at=later))
    assert len(hits) == 9


async def test_a_database_that_comes_back_at_the_end_gets_what_waited() -> None:
    calls = 0
    written: list[Sighting] = []

    async def write(sightings: Sequence[Sighting]) -> None:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise OperationalError("INSERT", {}, Exception("away"))
        written.extend(sightings)

    hits = Hits(write, pause=0.001)
    hits.add(crowd(b"1"))
    await hits.stop()
    assert (written, hits.dropped) == ([crowd(b"1")], 0)


async def test_a_database_that_stays_away_at_the_end_loses_what_waited_and_says_so() -> None:
    async def write(_sightings: Sequence[Sighting]) -> None:
        raise OperationalError("INSERT", {}, Exception("away"))

    hits = Hits(write, pause=0.001)
    hits.add(crowd(b"1"))
    await hits.stop()
    assert (len(hits), hits.dropped) == (0, 1)
