"""Limits that hold across the workers of all machines, in Redis."""

import asyncio
import hashlib
import math
import time
from collections.abc import Sequence

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from mailer.delivery.limits.quota import USUAL, Schedule
from mailer.delivery.limits.scripts import GRANT, SEAT
from mailer.delivery.limits.stores import (
    ASK_AGAIN,
    BURST,
    SIP,
    TOLERANCE,
    WANTING,
    Ask,
    Grant,
    Need,
    Seats,
    StoreAway,
)

_PREFIX = "mailer:limit:"
#: Seconds that a question may take, and for which a Redis that is away is not asked again.
_PATIENCE = 0.5
_REST = 1.0


#: A script, its keys and its arguments.
_Call = tuple[str, list[str], list[str]]


def _ms(seconds: float) -> str:
    return str(math.ceil(seconds * 1000))


def _digest(script: str) -> str:
    # Redis names scripts so; nothing secret hangs on it.
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


_DIGESTS = {script: _digest(script) for script in (SEAT, GRANT)}


class RedisStore:
    """Counts in Redis, in few round trips and without retries: whoever waits for an answer holds up mail."""

    def __init__(self, url: str, schedule: Schedule = USUAL) -> None:
        """Connect nothing yet."""
        self._schedule = schedule
        self._redis: Redis = Redis.from_url(
            url,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
            retry=Retry(NoBackoff(), 0),
        )
        self._away_until = 0.0
        self._why = ""

    async def seat(self, worker: str, asks: Sequence[Ask]) -> list[Seats]:
        """Note what a worker holds, and say what it may."""
        lasting = self._schedule
        times = [_ms(lasting.lapse), _ms(lasting.pause), _ms(lasting.step), str(lasting.most)]
        times += [_ms(WANTING), _ms(ASK_AGAIN), _ms(TOLERANCE)]
        calls: list[_Call] = []
        for ask in asks:
            limit = -1 if ask.limit is None else ask.limit
            complained = "-1" if ask.complained is None else _ms(ask.complained)
            keys = [f"{_PREFIX}{ask.key}", f"{_PREFIX}{ask.key}:complaint"]
            calls.append((SEAT, keys, [worker, str(ask.held), str(ask.wanted), str(limit), complained, *times]))
        return [
            Seats(
                allowed=None if allowed < 0 else allowed,
                wait=wait / 1000,
                complained=None if past < 0 else past / 1000,
                workers=workers,
            )
            for allowed, wait, past, workers in await self._run(calls)
        ]

    async def grant(self, needs: Sequence[Need]) -> Grant:
        """Take tokens of every bucket, or of none."""
        arguments = [str(BURST), str(SIP)]
        for need in needs:
            arguments += [repr(need.rate), str(need.tokens)]
        answer = (await self._run([(GRANT, [f"{_PREFIX}{need.key}" for need in needs], arguments)]))[0]
        return Grant(answer[1:], answer[0] / 1_000_000)

    async def leave(self, worker: str, keys: Sequence[str]) -> None:
        """Forget a worker."""
        if keys:
            await self._run([("HDEL", [f"{_PREFIX}{key}"], [worker]) for key in keys])

    async def _run(self, calls: Sequence[_Call]) -> list[list[int]]:
        """Run commands and scripts in one round trip; two where Redis has forgotten a script."""
        if time.monotonic() < self._away_until:
            raise StoreAway(self._why)
        try:
            async with asyncio.timeout(_PATIENCE):
                try:
                    return await self._send(calls, known=True)
                except NoScriptError:
                    return await self._send(calls, known=False)
        except (RedisError, OSError, TimeoutError) as error:
            self._why = f"Redis is away ({type(error).__name__})"
            self._away_until = time.monotonic() + _REST
            raise StoreAway(self._why) from error

    async def _send(self, calls: Sequence[_Call], *, known: bool) -> list[list[int]]:
        pipeline = self._redis.pipeline(transaction=False)
        for script, keys, arguments in calls:
            if script not in _DIGESTS:
                pipeline.execute_command(script, *keys, *arguments)
            elif known:
                pipeline.evalsha(_DIGESTS[script], len(keys), *keys, *arguments)
            else:
                pipeline.eval(script, len(keys), *keys, *arguments)
        return await pipeline.execute()

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
