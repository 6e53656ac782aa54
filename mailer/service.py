"""Builds the parts from the settings; only edges ask for it."""

import asyncio
import fcntl
import logging
import os
import secrets as secrets_of_python
import socket
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import IO

from mailer import clock, migrate, published, receiving, secrets, tenancy
from mailer.database import Database
from mailer.delivery import claims, limits
from mailer.delivery.breaker import Breaker
from mailer.delivery.connections import Connections
from mailer.delivery.letters import Letterbox
from mailer.delivery.outcomes import Retry
from mailer.delivery.pipeline import Pipeline, Route
from mailer.delivery.relay import connect, tls_context
from mailer.delivery.wire import Wire
from mailer.errors import ConfigurationError
from mailer.feedback import hearing, inbound
from mailer.feedback.hearing import Heard
from mailer.feedback.inbound import Box, Mailroom
from mailer.feedback.inbound.report import Proof, Report
from mailer.feedback.tracking.hits import Hits
from mailer.feedback.tracking.networks import NetworkFile
from mailer.feedback.tracking.recording import record
from mailer.feedback.tracking.sightings import Sighting
from mailer.inbox import Listener, Store
from mailer.keyring import Keyring
from mailer.links import Links
from mailer.outside import Outside
from mailer.relays import Relay
from mailer.settings import Settings
from mailer.smtpd import Server
from mailer.submission import Intake
from mailer.tasks import Bells
from mailer.webhooks import Deliverer, Hooks
from suppression.entries import check_keys
from suppression.rules import Stream

logger = logging.getLogger(__name__)

#: A row committed by another process is found within this many seconds, whatever becomes of its bell.
_LOOK = 0.5
#: How many reports are heard together: a provider tells a thousand at once, and SQLite has one writer for all.
_HEARD = 20
#: Seconds between two looks into a box of inbound mail.
_EMPTY = 5.0
#: Seconds between two looks whether the list of networks has changed.
_REFRESH = 30.0
#: Seconds after which a loop that goes on is cancelled again.
_CANCEL_AGAIN = 1.0


@dataclass(kw_only=True)
class Service:
    """Everything that an edge needs, built once a process."""

    settings: Settings
    database: Database
    links: Links
    intake: Intake
    store: Store
    hits: Hits
    networks: NetworkFile
    letters: Letterbox
    keyring: Keyring
    hooks: Hooks
    streams: frozenset[Stream] = frozenset()
    pipelines: list[Pipeline] = field(default_factory=list)
    _breakers: list[Breaker] = field(default_factory=list)
    _bells: Bells | None = None
    _listener: Listener | None = None
    _inbound: Server | None = None
    _mailroom: Mailroom | None = None
    _deliverer: Deliverer | None = None
    _limits_store: limits.Store | None = None
    _loops: list[asyncio.Task[None]] = field(default_factory=list)
    _lock: IO[str] | None = None

    @classmethod
    def build(cls, settings: Settings, *, local_url: str = "http://127.0.0.1:8000") -> "Service":
        """Return the parts, connected to nothing yet; raises `ConfigurationError` where a setting cannot work."""
        folder = secrets.data_folder(settings)
        database = Database(settings.database_url or f"sqlite:///{folder / 'mailer.db'}")
        links = Links(settings, secrets.token_ring(settings), local_url)
        keyring = Keyring.build(settings)
        return cls(
            settings=settings,
            database=database,
            links=links,
            intake=Intake(settings=settings, fingerprints=secrets.fingerprints(settings), links=links),
            store=Store(folder / "inbox.db"),
            hits=Hits(_writer(database)),
            networks=NetworkFile(settings.networks),
            letters=Letterbox(database, links, keyring),
            keyring=keyring,
            hooks=Hooks.build(settings),
        )

    def now(self) -> datetime:
        """Return the present moment, as all processes see it."""
        return self.database.now()

    def ring(self, stream: Stream) -> None:
        """Say that a stream has mail; call it after the commit."""
        if self._bells is not None:
            self._bells.ring(stream)

    async def broker_trouble(self) -> str | None:
        """Return why bells cannot be rung between processes; None while they can."""
        return await asyncio.to_thread(self._bells.trouble) if self._bells is not None else "not started"

    async def view(self, email_id: str) -> str | None:
        """Return a promotional email's HTML without its pixel; None where it is unknown or erased."""
        return await self.letters.view(email_id)

    async def hear(self, reports: Sequence[tuple[Report, Proof]]) -> list[Heard]:
        """Take in what others tell about our mail; from the answer on, mail that it forbids goes no more.

        Where it fails in the middle, what was heard before is known when all of it comes again.
        """
        # What names a mail by a token of ours is as good as the return path itself, wherever it stands.
        proven = [(report, hearing.vouched(self.links.read_return_path, report, proof)) for report, proof in reports]
        heard: list[Heard] = []
        for start in range(0, len(proven), _HEARD):
            some = proven[start : start + _HEARD]
            heard += await self.database.run(
                partial(hearing.hear, heard=some, now=self.now()), urgency=0, conclusive=True
            )
        return heard

    @property
    def captures(self) -> bool:
        """Return whether a stream's mail stays in the inbox."""
        return any(self.settings.captures(stream) for stream in Stream)

    async def prepare(self) -> None:
        """Check the database's version and keys, and make what a fresh one needs."""
        await migrate.make_ready(self.database)
        await self.database.run(lambda session: check_keys(session, self.intake.fingerprints, self.now()))
        await self.database.run(lambda session: tenancy.prepare(session, self.settings, self.now()))

    async def start(
        self, *, streams: frozenset[Stream] = frozenset(), ticking: bool = False, inlet: Box | bool = False
    ) -> None:
        """Start what this process does: bells, workers of some streams, the clock, and an inlet of mail.

        `inlet` is a box to be emptied, or True for the listener of the settings.
        """
        self.streams = streams
        self._bells = Bells(self.settings, self._deliver)
        await asyncio.to_thread(self.networks.look)
        self.hits.start()
        self._loops.append(asyncio.create_task(self._refresh_networks()))
        if streams:
            await self._start_workers(streams)
        if ticking:
            self._loops.append(asyncio.create_task(clock.run(self.database, self._holder(), self.settings)))
            self._loops.append(asyncio.create_task(clock.sweep(self.database, self.intake)))
            self._deliverer = Deliverer(self.database, Outside(self.hooks.guard), self.hooks.seals)
            self._loops.append(asyncio.create_task(self._deliverer.run()))
        if inlet is True:
            await self._start_listening()
        elif inlet:
            self._loops.append(asyncio.create_task(inbound.watch(inlet, self.mailroom, every=_EMPTY)))

    @property
    def mailroom(self) -> Mailroom:
        """Return what takes mail to our domain of return paths, whichever way it comes.

        Raises `ConfigurationError` where no such domain is set.
        """
        if self._mailroom is None:
            self._mailroom = receiving.mailroom(self.database, self.links, self.hear)
        return self._mailroom

    async def _start_listening(self) -> None:
        settings = self.settings
        self._inbound = inbound.listener(self.mailroom, settings.inbound_address, lmtp=settings.inbound_lmtp)
        await self._inbound.start()
        logger.info("bounces, complaints and opt-outs are received on %s:%d", *settings.inbound_address)

    async def _start_workers(self, streams: frozenset[Stream]) -> None:
        assert self._bells is not None
        holder = self._holder()
        if not self.database.on_postgresql:
            self._lock_folder()
            # Nobody else can hold this role, so what an earlier process of it held is free at once.
            await self.database.run(lambda session: claims.recover(session, self.now(), holder=holder))
        await asyncio.to_thread(self.keyring.doubt, lambda signer: published.check(published.system_resolver(), signer))
        self._listener = Listener(self.store)
        port = await self._listener.start()
        url = self.settings.redis_url
        self._limits_store = limits.RedisStore(url) if url else limits.LocalStore(monotonic)
        for stream in sorted(streams):
            # Both routes of a stream share what is known of it: one look serves both.
            self._breakers.append(breaker := Breaker(self.database, stream))
            self.pipelines += self._pipelines(stream, port, breaker)
            await breaker.look()
        self._bells.start(streams)
        self._loops.append(asyncio.create_task(self._look()))
        self._loops.append(asyncio.create_task(self._keep_seats()))

    def _pipelines(self, stream: Stream, inbox_port: int, breaker: Breaker) -> list[Pipeline]:
        """Return what delivers a stream: all to the inbox, or what is captured there and the rest to its relays."""
        assert self._limits_store is not None
        inbox = Relay(
            scheme="smtp", host="127.0.0.1", port=inbox_port, starttls="off", connections=8, per_connection=None
        )
        here = limits.LocalStore(monotonic)
        if self.settings.captures(stream):
            return [self._pipeline(Route(stream), [inbox], here, breaker)]
        return [
            self._pipeline(Route(stream, captured=False), self.settings.relays(stream), self._limits_store, breaker),
            self._pipeline(Route(stream, captured=True), [inbox], here, breaker),
        ]

    def _pipeline(self, route: Route, relays: Sequence[Relay], store: limits.Store, breaker: Breaker) -> Pipeline:
        contexts = {relay.name: tls_context(relay) for relay in relays}
        hostname = socket.gethostname() or "localhost"
        worker = f"{self._holder()}:{secrets_of_python.token_hex(4)}"

        async def opened(relay: Relay) -> Wire:
            return await connect(relay, hostname, contexts[relay.name])

        shared = limits.Limits(route.stream, worker, store, self.database, now=self.database.now)
        connections = Connections(relays, opened, shared, breaker)
        retry = Retry(self.settings.retries, self.settings.give_up)
        return Pipeline(self.database, self.letters, route, connections, retry, self._holder())

    def _holder(self) -> str:
        if self.database.on_postgresql:
            return f"{socket.gethostname()}:{os.getpid()}"
        return f"serve:{self.settings.folder.resolve()}"

    def _lock_folder(self) -> None:
        """Take the workers' role of this data folder; the lock goes with the process, however it ends."""
        path = self.settings.folder / "serve.lock"
        self._lock = Path(path).open("w")  # noqa: SIM115 - held as long as the process lives
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigurationError(
                f"MAILER_DATA_DIR: another mailer serves from {self.settings.folder} already: "
                "stop it, or use another folder"
            ) from error

    async def _deliver(self, stream: Stream) -> None:
        await asyncio.gather(*(self._rung(pipeline) for pipeline in self.pipelines if pipeline.route.stream is stream))

    async def _rung(self, pipeline: Pipeline) -> None:
        # Mail that is captured beside a relay is rare: a look costs less than a run that finds none.
        if pipeline.route.captured is not True or await self._is_due(pipeline.route.stream, captured=True):
            await pipeline.ring()

    async def _look(self) -> None:
        """Find what is due without having heard a bell: retries, schedules, rows of other processes."""
        running: dict[Stream, asyncio.Task[None]] = {}
        while True:
            for stream in self.streams:
                idle = stream not in running or running[stream].done()
                if idle and await self._is_due(stream):
                    running[stream] = asyncio.create_task(self._deliver_quietly(stream))
            for verbs in ([each.look for each in self._breakers], [each.tidy for each in self.pipelines]):
                await asyncio.gather(*map(_tended, verbs))
            await asyncio.sleep(_LOOK)

    async def _keep_seats(self) -> None:
        """Say that open connections are still used, whatever the database does: what is not said lapses in seconds."""
        while True:
            await asyncio.gather(*(_tended(each.connections.limits.beat) for each in self.pipelines))
            await asyncio.sleep(_LOOK)

    async def _refresh_networks(self) -> None:
        """Read the list of networks again once the operator has changed it."""
        while True:
            await asyncio.sleep(_REFRESH)
            try:
                if await asyncio.to_thread(self.networks.look):
                    logger.info("the list of networks was read again")
            except ConfigurationError as error:
                logger.warning("%s; the list that was read before stays in use", error)

    async def _is_due(self, stream: Stream, captured: bool | None = None) -> bool:
        try:
            return await self.database.read(lambda session: claims.due(session, stream, self.now(), captured))
        except Exception as error:  # noqa: BLE001 - the database may be away; the next look tries again
            logger.warning("the queue could not be read: %s", type(error).__name__)
            return False

    async def _deliver_quietly(self, stream: Stream) -> None:
        try:
            await self._deliver(stream)
        except Exception as error:  # noqa: BLE001 - the database may be away; the next look tries again
            logger.warning("a run of the %s stream ended: %s", stream, type(error).__name__)

    async def stop(self) -> None:
        """Finish the mail in flight, write what is buffered, close everything."""
        if self._deliverer is not None:
            await self._deliverer.stop()
        await end_loops(self._loops)
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                await asyncio.gather(*(pipeline.stop() for pipeline in self.pipelines))
        if self._bells is not None:
            await self._bells.stop()
        await self.hits.stop()
        for server in (self._listener, self._inbound):
            if server is not None:
                await server.stop()
        if self._limits_store is not None:
            await self._limits_store.close()
        await self.database.close()
        self.store.close()
        if self._lock is not None:
            self._lock.close()


async def _tended(verb: Callable[[], Awaitable[None]]) -> None:
    try:
        await verb()
    except Exception as error:  # noqa: BLE001 - the database may be away; the next look tries again
        logger.warning("workers could not be tended: %s", type(error).__name__)


async def end_loops(loops: Collection[asyncio.Task[None]]) -> None:
    """Cancel what runs until it is cancelled, and wait until it is over; it must have nothing to clean up for long.

    Before Python 3.12 `asyncio.wait_for`, by which the Redis client writes, swallows a cancellation that comes together
    with its answer: a loop that was cancelled once may then go on for ever, and the process with it.
    """
    left = set(loops)
    while left:
        for loop in left:
            loop.cancel()
        _over, left = await asyncio.wait(left, timeout=_CANCEL_AGAIN)


def _writer(database: Database) -> Callable[[Sequence[Sighting]], Awaitable[None]]:
    async def write(sightings: Sequence[Sighting]) -> None:
        await database.run(lambda session: record(session, sightings, database.now()))

    return write
