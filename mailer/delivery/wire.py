"""A pipelining SMTP client over a transport that is already greeted, encrypted and signed in (RFC 5321, RFC 2920)."""

import asyncio
import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, cast

from mailer.delivery.offers import Offers

#: RFC 5321 section 4.5.3.2, in seconds.
_COMMAND_TIMEOUT = 300.0
_DATA_TIMEOUT = 120.0
_FINAL_DOT_TIMEOUT = 600.0
_LINE_END = re.compile(rb"\r\n|\r|\n")


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


class Envelope(NamedTuple):
    """What MAIL and RCPT say."""

    sender: str
    recipient: str
    size: int
    smtputf8: bool


class Wire(asyncio.Protocol):
    """One connection. A caller offers an envelope, reads the answers, then hands over the data or resets."""

    def __init__(self, offers: Offers, *, dot_timeout: float = _FINAL_DOT_TIMEOUT) -> None:
        """Know what the relay's EHLO offered, and for how many seconds it may think after the final dot."""
        self.offers = offers
        #: In lower case.
        self.extensions = offers.extensions
        #: Octets of the largest mail that the relay takes; None where it names no limit.
        self.size_limit = offers.size_limit
        self._dot_timeout = dot_timeout
        self.lost: str | None = None
        #: Mails handed over on this connection.
        self.mails = 0
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[asyncio.Future[Answer]] = deque()
        self._buffer = bytearray()
        self._lines: list[str] = []
        self._can_write = asyncio.Event()
        self._can_write.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self._end("the relay closed the connection")

    def pause_writing(self) -> None:
        """Stop: the relay reads more slowly than we write."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Go on."""
        self._can_write.set()

    def data_received(self, data: bytes) -> None:
        """Take replies apart; the last line of one has a space (or nothing) after its code."""
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[:end]).rstrip(b"\r").decode("utf-8", "replace")
            del self._buffer[: end + 1]
            self._lines.append(line[4:])
            if line[3:4] == "-":
                continue
            text, self._lines = "\n".join(self._lines)[:2000], []
            if not (line[:3].isascii() and line[:3].isdigit()):
                self._end("the relay answered with something that is not SMTP")
                return
            self._answered(Answer(int(line[:3]), text))
        if len(self._buffer) > 65536:
            self._end("the relay sent a line without end")

    def _answered(self, answer: Answer) -> None:
        if not self._waiting:
            # 421 unasked: the relay is about to close (RFC 5321 section 3.8).
            self._end(f"the relay ended the session ({answer.code})")
            return
        future = self._waiting.popleft()
        if not future.done():
            future.set_result(answer)

    def _end(self, reason: str) -> None:
        self.lost = self.lost or reason
        self._can_write.set()
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(Lost(self.lost))
                future.exception()

    def _send(self, data: bytes, replies: int) -> Sequence[asyncio.Future[Answer]]:
        if self.lost or self._transport is None or self._transport.is_closing():
            raise Lost(self.lost or "the connection is closed")
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in range(replies)]
        self._waiting.extend(futures)
        self._transport.write(data)
        return futures

    async def _answer(self, future: asyncio.Future[Answer], timeout: float) -> Answer:
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            self._end(f"no answer within {timeout:.0f} s")
            raise Lost(self.lost or "") from None
        except asyncio.CancelledError:
            # A reply still on its way would be taken for the next command's: never use this connection again.
            self._end("cancelled")
            raise

    async def offer(self, envelope: Envelope) -> Answer:
        """Send MAIL and RCPT, in one packet where PIPELINING is offered; return a refusal, else RCPT's answer."""
        mail, rcpt = self._commands(envelope)
        if "pipelining" in self.extensions:
            first, second = self._send(mail + rcpt, 2)
            # Every status of a group must be read (RFC 2920 section 3.1).
            answers = [await self._answer(first, _COMMAND_TIMEOUT), await self._answer(second, _COMMAND_TIMEOUT)]
            return answers[1] if answers[0].positive else answers[0]._replace(to_sender=True)
        answer = await self._answer(self._send(mail, 1)[0], _COMMAND_TIMEOUT)
        if not answer.positive:
            return answer._replace(to_sender=True)
        return await self._answer(self._send(rcpt, 1)[0], _COMMAND_TIMEOUT)

    def _commands(self, envelope: Envelope) -> tuple[bytes, bytes]:
        options = ""
        if "size" in self.extensions:
            options += f" SIZE={envelope.size}"
        if envelope.smtputf8:
            options += " SMTPUTF8"
            if "8bitmime" in self.extensions:
                options += " BODY=8BITMIME"
        return (
            f"MAIL FROM:<{envelope.sender}>{options}\r\n".encode(),
            f"RCPT TO:<{envelope.recipient}>\r\n".encode(),
        )

    async def hand_over(self, data: bytes) -> Answer:
        """Send DATA and the mail (not yet dot-stuffed); return the answer to the final dot.

        Raises `Lost` with `in_doubt` where the dot may have reached the relay (RFC 5321 section 4.5.3.2.6, RFC 1047).
        """
        answer = await self._answer(self._send(b"DATA\r\n", 1)[0], _DATA_TIMEOUT)
        if answer.code != 354:
            return answer if answer.code >= 400 else Answer(451, f"unexpected answer {answer.code} to DATA")
        final = self._send(dot_stuffed(whole_lines(data)) + b".\r\n", 1)[0]
        try:
            await self._can_write.wait()
            answer = await self._answer(final, self._dot_timeout)
        except Lost as lost:
            raise Lost(str(lost), in_doubt=True) from None
        self.mails += 1
        return answer

    async def reset(self) -> None:
        """Forget the envelope that was offered."""
        await self._answer(self._send(b"RSET\r\n", 1)[0], _COMMAND_TIMEOUT)

    async def quit(self) -> None:
        """Say goodbye and close; never raises."""
        try:
            await self._answer(self._send(b"QUIT\r\n", 1)[0], 2.0)
        except Lost:
            return
        finally:
            self._end("we quit")


def whole_lines(data: bytes) -> bytes:
    """Return the data with CRLF at the end of every line, which composed mail has already.

    A bare CR or LF around a dot would end the mail for some servers only: SMTP smuggling (RFC 5321 section 2.3.8).
    """
    rest = data.replace(b"\r\n", b"")
    if b"\n" in rest or b"\r" in rest:
        data = _LINE_END.sub(b"\r\n", data)
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def dot_stuffed(data: bytes) -> bytes:
    """Return the data with a second dot before each leading one (RFC 5321 section 4.5.2)."""
    stuffed = data.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed
