"""A program that is told of its mail: it is down for a while, we are killed meanwhile, and it misses nothing."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import httpx2
import orjson
from standardwebhooks import Webhook

from tests import hooks
from tests.hooks import Asked, Reply
from tests.stories import served

MAILS = 30


async def test_a_consumer_that_was_down_misses_nothing_though_we_were_killed(tmp_path: Path) -> None:
    async with hooks.server() as consumer:
        env = served.environment(tmp_path, postal_address=served.POSTAL, outside_loopback="yes")
        service = await asyncio.to_thread(served.start, env)
        words = ["webhook", "create", consumer.url, "--event", "email.queued", "--event", "email.sent"]
        secret = (await asyncio.to_thread(service.run, *words)).strip()
        client = await asyncio.to_thread(service.client, "send:transactional", "read")
        try:
            sent = await asyncio.to_thread(send, client, 0)
            await until(lambda: len(heard(consumer.asked)) == 2 * MAILS)
            # Down: mail goes on, and what is told of it waits.
            await consumer.stop()
            sent += await asyncio.to_thread(send, client, MAILS)
            for identifier in sent:
                await asyncio.to_thread(service.settled, client, identifier)
            # Back, but slow: we are killed while messages are on their way.
            consumer.answer = lambda _asked: Reply(wait=0.3)
            await consumer.start()
            await until(lambda: len(consumer.asked) > 2 * MAILS + 10)
            await asyncio.to_thread(service.kill)
            consumer.answer = lambda _asked: Reply()
            service = await asyncio.to_thread(served.start, env)
            await until(lambda: len(heard(consumer.asked)) == 4 * MAILS, seconds=90)
        finally:
            client.close()
            await asyncio.to_thread(service.process.end)
    verifier = Webhook(secret)
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for asked in consumer.asked:
        told = verifier.verify(asked.body, dict(asked.headers))
        if told["type"] not in kinds[told["data"]["email_id"]]:
            kinds[told["data"]["email_id"]].append(told["type"])
    assert kinds == {identifier: ["email.queued", "email.sent"] for identifier in sent}
    # Only what was on its way when we were killed came twice.
    assert len(consumer.asked) - 4 * MAILS <= 24


def send(client: httpx2.Client, start: int) -> list[str]:
    found = []
    for number in range(start, start + MAILS):
        mail = {"stream": "transactional", "to": f"p{number}@example.org", "subject": "Hello", "text": "It works."}
        answer = client.post("/v1/emails", json=mail)
        assert answer.status_code == 202
        found.append(str(orjson.loads(answer.content)["id"]))
    return found


def heard(asked: list[Asked]) -> set[str]:
    return {each.headers["webhook-id"] for each in asked}


async def until(condition: Callable[[], bool], seconds: float = 45) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"not so after {seconds} s"
        await asyncio.sleep(0.05)
