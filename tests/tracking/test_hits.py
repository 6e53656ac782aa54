"""No load of a picture ever waits for the database."""

from collections.abc import Sequence

from sqlalchemy.exc import OperationalError

from mailer.feedback.tracking.hits import Hits
from mailer.feedback.tracking.sightings import Class, Sighting, Verdict
from mailer.links import Audience, Hit
from suppression.rules import Stream
from tests.recipients.world import NOON

AUDIENCE = Audience(1, Stream.PROMOTIONAL, "november", "newsletter", "letter", NOON.date())


def crowd(mark: bytes) -> Sighting:
    return Sighting(Hit(None, AUDIENCE, mark), Verdict(Class.HUMAN, "browser"), NOON)


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
