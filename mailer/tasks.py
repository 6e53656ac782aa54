"""Bells: the only file that knows dramatiq. A bell says that a stream has mail; the database says which."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from redis import ConnectionPool, Redis
from redis.exceptions import RedisError

from mailer.settings import Settings
from suppression.rules import Stream

logger = logging.getLogger(__name__)

Deliver = Callable[[Stream], Awaitable[None]]

#: A burst of commits needs one bell: further ones within this many seconds are rung together.
_TOGETHER = 0.005
#: An actor runs until nothing is due, which may take as long as a campaign.
_NO_LIMIT = 7 * 24 * 3600 * 1000
_POLL = 50
_PREFETCH = 1000


class Bells:
    """Rings for a stream, and answers the bell where this process has workers."""

    def __init__(self, settings: Settings, deliver: Deliver) -> None:
        """Connect nothing yet; `deliver` runs a stream's pipelines on this process's event loop."""
        self._remote = bool(settings.redis_url)
        self._deliver = deliver
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scheduled: dict[Stream, asyncio.TimerHandle] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._worker: dramatiq.Worker | None = None
        self._broker = _broker(settings)
        self._actors = {
            stream: dramatiq.actor(
                broker=self._broker,
                actor_name=f"deliver_{stream}",
                queue_name=stream.value,
                time_limit=_NO_LIMIT,
            )(self._answering(stream))
            for stream in Stream
        }

    def _answering(self, stream: Stream) -> Callable[[], None]:
        def answer() -> None:
            if self._loop is not None and not self._loop.is_closed():
                asyncio.run_coroutine_threadsafe(self._hear(stream), self._loop).result()

        return answer

    async def _hear(self, stream: Stream) -> None:
        try:
            await self._deliver(stream)
        except Exception:
            # The rows are where they were: the next bell, or the worker's own look, finds them.
            logger.exception("a run of the %s stream ended", stream)

    def ring(self, stream: Stream) -> None:
        """Ring once for everything that was committed just now; call it on the event loop, after the commit."""
        if stream in self._scheduled:
            return
        loop = asyncio.get_running_loop()
        self._scheduled[stream] = loop.call_later(_TOGETHER, self._send, stream)

    def _send(self, stream: Stream) -> None:
        self._scheduled.pop(stream, None)
        if not self._remote:
            self._actors[stream].send()
            return
        task = asyncio.create_task(asyncio.to_thread(self._send_remote, stream))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def _send_remote(self, stream: Stream) -> None:
        try:
            self._actors[stream].send()
        except (RedisError, dramatiq.errors.DramatiqError) as error:
            # Workers look for themselves every half second, so a lost bell costs that and no mail.
            logger.warning("a bell could not be rung: %s", type(error).__name__)

    def trouble(self) -> str | None:
        """Return why bells cannot be rung between processes; None while they can. It blocks for two seconds at most."""
        if not isinstance(self._broker, RedisBroker):
            return None
        try:
            self._broker.client.ping()
        except RedisError as error:
            return f"away ({type(error).__name__}): mail is found by the workers' own look"
        return None

    def start(self, streams: frozenset[Stream]) -> None:
        """Answer the bells of these streams in this process."""
        self._loop = asyncio.get_running_loop()
        self._worker = dramatiq.Worker(
            self._broker,
            queues={stream.value for stream in streams},
            worker_threads=2 * len(streams),
            worker_timeout=_POLL,
        )
        # An actor runs as long as there is mail: with a full prefetch its consumer would wake up all the time.
        self._worker.queue_prefetch = _PREFETCH
        self._worker.start()

    async def stop(self) -> None:
        """Stop answering; what is not answered is found by the next worker that looks."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop, 5000)
        if self._sending:
            await asyncio.wait(self._sending, timeout=2)
        self._broker.close()


def _broker(settings: Settings) -> dramatiq.Broker:
    middleware = [dramatiq.middleware.TimeLimit(), dramatiq.middleware.ShutdownNotifications()]
    if not settings.redis_url:
        return StubBroker(middleware=middleware)
    pool = ConnectionPool.from_url(settings.redis_url, socket_timeout=5, socket_connect_timeout=2)
    return RedisBroker(  # type: ignore[no-untyped-call]
        client=Redis(connection_pool=pool), middleware=middleware, maintenance_chance=100_000
    )
