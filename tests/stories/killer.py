"""A relay that kills the worker that talks to it, at a point of the conversation that it sees itself."""

import asyncio
import os
import random
import signal
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple


class Point(StrEnum):
    """Where in a conversation the worker dies."""

    EHLO = "after its EHLO"
    MAIL = "after MAIL"
    RCPT = "after RCPT is answered"
    DATA = "at DATA, before 354"
    GO_ON = "after 354, before the body"
    BODY = "amid the body"
    DOT = "after the dot, before 250"
    TAKEN = "after 250 is written"


class Taken(NamedTuple):
    """A mail that the relay has: it saw the final dot."""

    recipient: str
    message_id: str


class _Half(Exception):
    """The rest of a mail never came."""


@dataclass
class Killer:
    """Takes mail like any relay, until it is armed."""

    taken: list[Taken] = field(default_factory=list)
    port: int = 0
    open: int = 0
    #: Connections that were open when the worker died.
    open_then: int = 0
    died: asyncio.Event = field(default_factory=asyncio.Event)
    _point: Point | None = None
    _pid: int = 0
    _connections: int = 0
    _mails: int = 0
    _server: asyncio.Server | None = None
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    def arm(self, pid: int, point: Point, *, connections: int, mails: int) -> None:
        """Kill at this point, once so many connections are open and so many further mails taken."""
        self.died.clear()
        self._pid, self._point, self._connections, self._mails = pid, point, connections, len(self.taken) + mails

    def see(self, point: Point) -> bool:
        """Kill if this is the moment, and return whether it was."""
        if point is not self._point or self.open < self._connections or len(self.taken) < self._mails:
            return False
        self._point, self.open_then = None, self.open
        os.kill(self._pid, signal.SIGKILL)
        self.died.set()
        return True

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=1 << 20)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and listen no more."""
        assert self._server is not None
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self.open += 1
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, _Half):
            pass
        finally:
            self.open -= 1
            self._talks.discard(task)
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = ""
        writer.write(b"220 killer.example ESMTP\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.see(Point.EHLO)
                writer.write(b"250-killer.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n")
            elif verb == b"MAIL":
                self.see(Point.MAIL)
                writer.write(b"250 2.1.0 ok\r\n")
            elif verb == b"RCPT":
                recipient = line.partition(b"<")[2].partition(b">")[0].decode()
                writer.write(b"250 2.1.5 ok\r\n")
                self.see(Point.RCPT)
            elif verb == b"DATA":
                self.see(Point.DATA)
                writer.write(b"354 go on\r\n")
                self.see(Point.GO_ON)
                await self._take(recipient, reader)
                self.see(Point.DOT)
                # So that connections are at all stages, and an answer meets commits at all stages.
                await asyncio.sleep(random.uniform(0.002, 0.02))
                writer.write(b"250 2.0.0 taken\r\n")
                if self._point is Point.TAKEN:
                    await asyncio.sleep(random.uniform(0, 0.004))
                self.see(Point.TAKEN)
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250 ok\r\n")

    async def _take(self, recipient: str, reader: asyncio.StreamReader) -> None:
        key = ""
        while (line := await reader.readline()) != b".\r\n":
            if not line:
                raise _Half
            if line.startswith(b"Message-ID: "):
                key = line[12:].strip().decode()
                if self.see(Point.BODY):
                    # What the worker had written may still come; this relay has seen half of the mail.
                    raise _Half
        self.taken.append(Taken(recipient, key))
