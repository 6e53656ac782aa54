"""Two processes deliver webhooks, and one is killed in the middle: the consumer misses nothing, each email in order."""

import asyncio
from collections import defaultdict
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, update
from sqlmodel import Session, SQLModel
from standardwebhooks import Webhook

from mailer.feedback.hearing import Fate, hear
from mailer.feedback.inbound.report import Kind, Proof, Report
from mailer.models import DeliveryState
from mailer.status import Status
from tests import hooks
from tests.hooks import Reply
from tests.servers import Postgres, Redis
from tests.stories.crew import Crew, crew

MAILS = 60
TOLD = ["email.queued", "email.deferred", "email.delivered"]
_EMAIL, _DELIVERY = (SQLModel.metadata.tables[name] for name in ("email", "webhook_delivery"))
_WAITING = _DELIVERY.c.state == DeliveryState.WAITING


async def test_one_of_two_delivering_processes_is_killed_and_nothing_is_missed(
    tmp_path: Path, postgres: Postgres, redis: Redis
) -> None:
    async with (
        hooks.server() as consumer,
        crew(
            tmp_path,
            postgres,
            redis,
            outside_loopback="yes",
            transactional_relay="smtp://127.0.0.1:9",
            promotional_relay="smtp://127.0.0.1:9",
        ) as ours,
    ):
        words = [word for kind in TOLD for word in ("--event", kind)]
        secret = (await ours.run("webhook", "create", consumer.url, *words)).strip()
        consumer.answer = lambda _asked: Reply(wait=2.0)
        victim, _survivor = await ours.start("clock"), await ours.start("clock")
        emails = await happen(ours)
        # Both have claimed some, and no answer has come: their messages are on their way.
        while len(await leases(ours)) < 2:
            await asyncio.sleep(0.02)
        victim.kill()
        await asyncio.to_thread(victim.wait, 20)
        consumer.answer = lambda _asked: Reply()
        async with asyncio.timeout(60):
            # What is left in the end is what the killed one had claimed, and what waits behind it.
            while len(held := await leases(ours)) != 1:
                await asyncio.sleep(0.02)
            await lapse(ours, held)
            while await waiting(ours):
                await asyncio.sleep(0.05)
    verifier, seen = Webhook(secret), dict[str, str]()
    order: defaultdict[str, list[str]] = defaultdict(list)
    for asked in consumer.asked:
        told = verifier.verify(asked.body, dict(asked.headers))
        if asked.headers["webhook-id"] not in seen:
            seen[asked.headers["webhook-id"]] = told["type"]
            order[told["data"]["email_id"]].append(told["type"])
    assert order == dict.fromkeys(emails, TOLD)


async def happen(ours: Crew) -> list[str]:
    """Accept mails, and have their relay's provider tell that they were put off and arrived."""
    service = ours.service
    await ours.submit("transactional", [f"p{number}@example.org" for number in range(MAILS)])

    def tell(session: Session) -> list[str]:
        now = service.now()
        sent = update(_EMAIL).values(status=Status.SENT, sent_at=now, settled_at=now, attempts=1)
        found = list(session.execute(sent.returning(_EMAIL.c.id)).scalars())
        told = [
            (Report(kind, at=now - timedelta(seconds=before), source="generic"), Proof("provider:generic", identifier))
            for kind, before in ((Kind.DEFERRED, 2), (Kind.DELIVERED, 1))
            for identifier in found
        ]
        assert {each.fate for each in hear(session, told, now)} == {Fate.DONE}
        return found

    return await service.database.run(tell)


async def leases(ours: Crew) -> set[str]:
    """Return the processes that have messages which they have not settled."""
    asked = select(_DELIVERY.c.lease).where(_WAITING, _DELIVERY.c.lease.is_not(None)).distinct()
    return await ours.service.database.read(lambda session: set(session.execute(asked).scalars()))


async def lapse(ours: Crew, held: set[str]) -> None:
    """Let the 30 seconds be over for which a claim holds."""
    past = ours.service.now() - timedelta(seconds=1)
    over = update(_DELIVERY).where(_WAITING, _DELIVERY.c.lease.in_(held)).values(due_at=past)
    await ours.service.database.run(lambda session: session.execute(over))


async def waiting(ours: Crew) -> bool:
    """Return whether a message waits."""
    asked = select(_DELIVERY.c.number).where(_WAITING).limit(1)
    return await ours.service.database.read(lambda session: session.execute(asked).first() is not None)
