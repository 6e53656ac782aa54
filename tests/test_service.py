"""What a process does with its parts: it hears reports, and ends what it began."""

import asyncio
from pathlib import Path

from mailer.feedback.hearing import Fate
from mailer.feedback.inbound.report import Category, Kind, Proof, Report
from mailer.service import Service, end_loops
from mailer.settings import Settings
from mailer.status import Status
from tests.delivery import mails


async def test_a_loop_ends_though_a_library_swallowed_its_cancellation() -> None:
    answers = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def look() -> None:
        while True:
            # As redis-py waits for its socket.
            await asyncio.wait_for(answers[0], 60)
            answers.reverse()

    loop = asyncio.create_task(look())
    await asyncio.sleep(0)
    answers[0].set_result(None)
    # The answer is there, and nobody has looked at it yet.
    async with asyncio.timeout(5):
        await end_loops([loop])
    assert loop.done()


async def test_many_reports_are_heard_in_turns_each_by_the_return_path_that_it_quotes(tmp_path: Path) -> None:
    service = Service.build(Settings(data_dir=str(tmp_path), return_path_domain="b.example"))
    try:
        await service.prepare()
        found = await service.database.run(
            lambda session: mails.add(session, 45, mails.P, status=Status.SENT, attempts=1)
        )
        full = Report(Kind.BOUNCED, Category.MAILBOX_FULL, source="ses")
        reports = [full._replace(return_path=service.links.return_path(each)) for each in found]
        for fate in (Fate.DONE, Fate.REPEATED):
            heard = await service.hear([(report, Proof("provider:ses")) for report in reports])
            assert [(each.fate, each.email_id) for each in heard] == [(fate, each) for each in found]
        assert await service.database.read(mails.statuses) == {Status.BOUNCED: 45}
    finally:
        await service.stop()
