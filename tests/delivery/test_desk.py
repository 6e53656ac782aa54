"""Where mail is composed ahead: everybody hears of their own mail, whatever becomes of the others."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from mailer.delivery.carrier import Ready
from mailer.delivery.claims import Job
from mailer.delivery.desk import Desk, Waiting
from mailer.delivery.envelope import Envelope
from mailer.errors import MailerError
from tests.delivery.mails import NOW

Compose = Callable[[Sequence[Job]], Sequence[Ready | Exception]]


def ready(job: Job, size: int = 100) -> Ready:
    data = job.id.encode().ljust(size)
    return Ready(Envelope("us@x.example", str(job.address), len(data), smtputf8=False), data, tracked=False)


class Writer:
    """Composes as a test wants it, and remembers how many were asked for in one go."""

    def __init__(self, compose: Compose) -> None:
        self.batches: list[int] = []
        self._compose = compose

    async def prepare(self, jobs: Sequence[Job]) -> None:
        """Nothing is to be fetched."""

    async def compose(self, jobs: Sequence[Job], *, rewritten: frozenset[str] | None) -> Sequence[Ready | Exception]:
        self.batches.append(len(jobs))
        await asyncio.sleep(0)
        return self._compose(jobs)


def some(number: int) -> list[Waiting]:
    blank = Job._make([None] * len(Job._fields))._replace(urgency=1, due_at=NOW, address="ann@example.org")
    jobs = [blank._replace(id=f"em_{place:026}") for place in range(number)]
    return [(job.urgency, job.due_at, job.id, job) for job in jobs]


async def taken(writer: Writer, number: int) -> list[Ready | BaseException]:
    desk, waiting = Desk(writer), some(number)
    found: list[Ready | BaseException] = []
    while waiting:
        job = waiting.pop(0)[3]
        async with asyncio.timeout(5):
            found += await asyncio.gather(desk.take(job, frozenset(), waiting), return_exceptions=True)
    await desk.end()
    return found


async def test_everybody_gets_their_own() -> None:
    writer = Writer(lambda jobs: [ready(job) for job in jobs])
    found = await taken(writer, 200)
    assert [each.data.strip() for each in found if isinstance(each, Ready)] == [
        job.id.encode() for *_, job in some(200)
    ]
    assert max(writer.batches) == 63


@pytest.mark.parametrize("error", [MailerError("no"), StopIteration("no"), ValueError("no")])
async def test_one_error_reaches_its_own_mail_alone(error: Exception) -> None:
    found = await taken(Writer(lambda jobs: [error if job.id.endswith("3") else ready(job) for job in jobs]), 20)
    assert [str(each) for each in found if not isinstance(each, Ready)] == ["no", "no"]
    assert isinstance(found[3], Exception)


async def test_what_breaks_composing_reaches_all_who_wait() -> None:
    def broken(jobs: Sequence[Job]) -> Sequence[Ready | Exception]:
        raise OSError("the database is away")

    writer = Writer(broken)
    assert {str(each) for each in await taken(writer, 20)} == {"the database is away"}
    # Nobody knows why: after the first ones they are tried one by one.
    assert writer.batches == [8, *[1] * 12]


async def test_large_mail_is_composed_a_few_at_a_time() -> None:
    writer = Writer(lambda jobs: [ready(job, 100_000) for job in jobs])
    await taken(writer, 40)
    assert writer.batches[0] == 8
    assert 1 < max(writer.batches[1:]) <= 10
    writer = Writer(lambda jobs: [ready(job, 2_000_000) for job in jobs])
    await taken(writer, 12)
    assert writer.batches == [8, 1, 1, 1, 1]
