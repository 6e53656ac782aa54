"""A pipelining SMTP client over a transport that is already greeted, encrypted and signed in (RFC 5321, RFC 2920)."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from functools import lru_cache
from typing import NamedTuple, cast

from mailer.delivery.envelope import Envelope, reports_asked
from mailer.delivery.offers import Offers

#: RFC 5321 section 4.5.3.2, in seconds.
_COMMAND_TIMEOUT = 300.0
_DATA_TIMEOUT = 120.0
_FINAL_DOT_TIMEOUT = 600.0
#: Lines of replies that are longer are not remembered.
_REMEMBERED = 200


class Answer(NamedTuple):
    """What the relay said to one command."""

    code: int
    text: str
    #: MAIL was refused, so the recipient was not judged.
    to_sender: bool = False

    @property
    def positive(self) -> bool:
        """Return whether the command was done (2xx)."""
        return 200 <= self.code < 300


class Lost(ConnectionError):
    """The connection ended or fell silent; `in_doubt` says whether the relay may have taken the mail."""

    def __init__(self, reason: str, *, in_doubt: bool = False) -> None:
        """Keep the reason, which holds no address."""
        super().__init__(reason)
        self.in_doubt = in_doubt


class _Expected:
    """Replies that are awaited together, and until when."""

    __slots__ = ("answer", "deadline", "first", "in_doubt", "number")

    def __init__(self, loop: asyncio.AbstractEventLoop, number: int, timeout: float, *, in_doubt: bool = False) -> None:
        self.number, self.in_doubt = number, in_doubt
        self.deadline = loop.time() + timeout
        #: The refusal of the first command, which outweighs the answer to the second.
        self.first: Answer | None = None
        self.answer: asyncio.Future[Answer] = loop.create_future()

    def take(self, answer: Answer) -> bool:
        """Take one reply; return whether it was the last."""
        self.number -= 1
        if self.number:
            if not answer.positive:
                self.first = answer._replace(to_sender=True)
            return False
        if not self.answer.done():
            self.answer.set_result(self.first or answer)
        return True

    def fail(self, reason: str) -> None:
        """End the waiting: no reply will come."""
        if not self.answer.done():
            self.answer.set_exception(Lost(reason, in_doubt=self.in_doubt))
            # Whoever waits hears of it; nobody has to.
            self.answer.exception()


class Wire(asyncio.Protocol):
    """One connection: a mail is offered, then handed over; the next may be offered behind its last dot."""

    def __init__(
        self,
        offers: Offers,
        *,
        dot_timeout: float = _FINAL_DOT_TIMEOUT,
        most: int | None = 100,
        successes: bool = False,
    ) -> None:
        """Know what the relay's EHLO offered, and how many seconds it may think after the final dot.

        `most` is how many mails one connection may carry (R4.7), None for any number. `successes`: reports are asked
        for of mail that arrives too.
        """
        self.offers = offers
        #: In lower case.
        self.extensions = offers.extensions
        #: Octets of the largest mail that the relay takes; None where it names no limit.
        self.size_limit = offers.size_limit
        self._dot_timeout = dot_timeout
        self._successes = successes
        self.lost: str | None = None
        #: Mails handed over on this connection, and how many it may carry.
        self.mails = 0
        self.most = most
        # Asking for it costs a system call each time.
        self._loop = asyncio.get_running_loop()
        self._pipelining = "pipelining" in offers.extensions
        self._transport: asyncio.Transport | None = None
        self._expected: deque[_Expected] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self._rest = b""
        self._lines: list[str] = []

    @property
    def worn(self) -> bool:
        """Return whether this connection has carried what it may."""
        return self.most is not None and self.mails >= self.most

    @property
    def nearly_worn(self) -> bool:
        """Return whether the next mail is its last."""
        return self.most is not None and self.mails + 1 >= self.most

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self._end("the relay closed the connection")

    def data_received(self, data: bytes) -> None:
        """Take replies apart; the last line of one has a space (or nothing) after its code."""
        *lines, self._rest = (self._rest + data if self._rest else data).split(b"\n")
        for line in lines:
            # What names a mailbox is not kept.
            last, code, text = _read(line) if b"@" in line or len(line) > _REMEMBERED else _known(line)
            if not last:
                self._lines.append(text)
                continue
            if self._lines:
                text, self._lines = "\n".join((*self._lines, text))[:2000], []
            if code is None:
                self._end("the relay answered with something that is not SMTP")
                return
            self._answered(Answer(code, text))
        if len(self._rest) > 65536:
            self._end("the relay sent a line without end")

    def _answered(self, answer: Answer) -> None:
        if not self._expected:
            # 421 unasked: the relay is about to close (RFC 5321 section 3.8).
            self._end(f"the relay ended the session ({answer.code})")
        elif self._expected[0].take(answer):
            self._expected.popleft()

    def _end(self, reason: str) -> None:
        self.lost = self.lost or reason
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._transport is not None:
            self._transport.abort()
        while self._expected:
            self._expected.popleft().fail(self.lost)

    def _send(self, data: bytes, *expected: _Expected) -> None:
        """Write, and expect these replies."""
        self._expected.extend(expected)
        if self.lost or self._transport is None or self._transport.is_closing():
            self._end("the connection is closed")
            return
        self._transport.write(data)
        if self._watch is None:
            # One look a second at the oldest wait costs less than a timer for each.
            self._look()

    def _look(self) -> None:
        self._watch = None
        if not self._expected:
            return
        wait = self._expected[0].deadline - self._loop.time()
        if wait > 0:
            self._watch = self._loop.call_later(min(wait, 1.0), self._look)
        else:
            self._end("no answer within the time that the standard gives")

    def offer(self, envelope: Envelope) -> "asyncio.Future[Answer]":
        """Send MAIL and RCPT, in one packet where PIPELINING is offered; the answer is a refusal, else RCPT's."""
        mail, rcpt = self._commands(envelope)
        if not self._pipelining:
            return _in_background(self._one_by_one(mail, rcpt))
        expected = _Expected(self._loop, 2, _COMMAND_TIMEOUT)
        self._send(mail + rcpt, expected)
        return expected.answer

    async def _one_by_one(self, mail: bytes, rcpt: bytes) -> Answer:
        answer = await self._command(mail, _COMMAND_TIMEOUT)
        if not answer.positive:
            return answer._replace(to_sender=True)
        return await self._command(rcpt, _COMMAND_TIMEOUT)

    def _command(self, command: bytes, timeout: float) -> "asyncio.Future[Answer]":
        expected = _Expected(self._loop, 1, timeout)
        self._send(command, expected)
        return expected.answer

    def _commands(self, envelope: Envelope) -> tuple[bytes, bytes]:
        options = asked = ""
        if envelope.envelope_id and "dsn" in self.extensions:
            options, asked = reports_asked(envelope, successes=self._successes)
        if "size" in self.extensions:
            options += f" SIZE={envelope.size}"
        if envelope.smtputf8:
            options += " SMTPUTF8"
            if "8bitmime" in self.extensions:
                options += " BODY=8BITMIME"
        return (
            f"MAIL FROM:<{envelope.sender}>{options}\r\n".encode(),
            f"RCPT TO:<{envelope.recipient}>{asked}\r\n".encode(),
        )

    def data(self) -> "asyncio.Future[Answer]":
        """Send DATA; 354 asks for the mail, anything else refuses it."""
        return self._command(b"DATA\r\n", _DATA_TIMEOUT)

    def hand_over(self, data: bytes, following: Envelope | None = None) -> "Handed":
        """Send the mail, and offer the next one behind its last dot (RFC 2920 section 3.1).

        Its lines end in CRLF and none begins with a dot: so composed mail is made, and nothing is scanned for it here.

        The answer to the dot raises `Lost` with `in_doubt` where the dot may have reached the relay (RFC 5321 section
        4.5.3.2.6, RFC 1047).
        """
        self.mails += 1
        dot = _Expected(self._loop, 1, self._dot_timeout, in_doubt=True)
        if following is None:
            self._send(data + b".\r\n", dot)
            return Handed(dot.answer, None)
        if not self._pipelining:
            self._send(data + b".\r\n", dot)
            return Handed(dot.answer, _in_background(self._afterwards(dot.answer, following)))
        offered = _Expected(self._loop, 2, self._dot_timeout + _COMMAND_TIMEOUT)
        self._send(b"".join((data, b".\r\n", *self._commands(following))), dot, offered)
        return Handed(dot.answer, offered.answer)

    async def _afterwards(self, dot: "asyncio.Future[Answer]", following: Envelope) -> Answer:
        with suppress(Lost):
            await asyncio.shield(dot)
        return await self.offer(following)

    async def reset(self) -> None:
        """Forget the envelope that was offered."""
        await self._command(b"RSET\r\n", _COMMAND_TIMEOUT)

    async def quit(self) -> None:
        """Say goodbye and close; never raises."""
        try:
            if not self.lost:
                await asyncio.wait_for(self._command(b"QUIT\r\n", 2.0), 2.0)
        except (Lost, TimeoutError):
            return
        finally:
            self._end("we quit")


def _read(line: bytes) -> tuple[bool, int | None, str]:
    """Return whether a line is the last of its reply, its code (None: it has none), and its text."""
    # No database keeps a NUL, and what became of a mail must not hang on one (RFC 5321 section 4.2 has none).
    text = line[4:2004].rstrip(b"\r").replace(b"\0", b"").decode("utf-8", "replace")
    # Of bytes only 0 to 9 are digits.
    return line[3:4] != b"-", int(line[:3]) if line[:3].isdigit() else None, text


#: Relays say the same again and again, but for the answer to the last dot.
_known = lru_cache(maxsize=256)(_read)


class Handed(NamedTuple):
    """What is awaited of a mail that was handed over, and of the one that was offered behind it."""

    dot: "asyncio.Future[Answer]"
    offered: "asyncio.Future[Answer] | None"


def _in_background(asking: Coroutine[None, None, Answer]) -> "asyncio.Future[Answer]":
    task = asyncio.ensure_future(asking)
    # As with every answer, nobody has to hear of a loss.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task
