"""A fast relay in a process of its own that writes down every recipient; some it refuses for now, some it lets hang.

python -m tests.stories.sink FILE
"""

import asyncio
import sys
from pathlib import Path

import uvloop

_ANSWERS = {
    b"EHLO": b"250-sink.example\r\n250-8BITMIME\r\n250 PIPELINING\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
}
_FLUSH = 0.1


class Sink(asyncio.Protocol):
    """One connection."""

    def __init__(self, taken: list[str]) -> None:
        """Share what was taken with the others."""
        self._taken = taken
        self._rest = b""
        self._recipient = ""
        self._in_mail = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        """Answer every command and every final dot."""
        self._rest += data
        said: list[bytes] = []
        while True:
            mark = b"\r\n.\r\n" if self._in_mail else b"\r\n"
            part, found, rest = self._rest.partition(mark)
            if not found:
                break
            self._rest = rest
            said.append(self._dot() if self._in_mail else self._command(part))
        if said:
            self._transport.write(b"".join(said))

    def _dot(self) -> bytes:
        self._in_mail = False
        self._taken.append(self._recipient)
        return b"250 2.0.0 taken\r\n"

    def _command(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0].decode()
            if self._recipient.startswith("retry"):
                return b"451 4.3.0 not now\r\n"
        if verb == b"DATA":
            if self._recipient.startswith("hang"):
                return b""
            self._in_mail = True
        return _ANSWERS.get(verb, b"250 ok\r\n")


async def main(path: Path) -> None:
    """Serve on a free port, which is printed, until killed."""
    taken: list[str] = []
    server = await asyncio.get_running_loop().create_server(lambda: Sink(taken), "127.0.0.1", 0, backlog=500)
    print(server.sockets[0].getsockname()[1], flush=True)
    with path.open("a") as log:
        while True:
            await asyncio.sleep(_FLUSH)
            if taken:
                some = taken[:]
                del taken[: len(some)]
                log.write("".join(f"{each}\n" for each in some))
                log.flush()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
