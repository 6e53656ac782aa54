"""A relay that takes its time, and remembers every mail that it took, and when its DATA began."""

import asyncio
import email.utils
import re
import sys
import time

_LINK = re.compile(rb"^List-Unsubscribe:\s*<([^>]+)>", re.MULTILINE)
_KEY = re.compile(rb"^Message-ID:\s*(\S+)", re.MULTILINE)
_DATE = re.compile(rb"^Date:\s*(.+?)\r$", re.MULTILINE)


def written(recipient: str, began: float, mail: bytes) -> str:
    """Return the line of a mail: recipient, Message-ID, beginning of DATA (monotonic), Date (Unix), opt-out link."""
    found = {name: pattern.search(mail) for name, pattern in (("key", _KEY), ("date", _DATE), ("link", _LINK))}
    said = {name: match[1].decode() if match else "-" for name, match in found.items()}
    date = email.utils.parsedate_to_datetime(said["date"]).timestamp()
    return f"{recipient} {said['key']} {began:.6f} {date:.0f} {said['link']}\n"


async def main(port: int, path: str, delay: float) -> None:
    log = open(path, "a", buffering=1)  # noqa: SIM115

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recipient = ""
        writer.write(b"220 slow.example ESMTP\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    writer.write(b"250-slow.example\r\n250 PIPELINING\r\n")
                elif verb == b"RCPT":
                    recipient = line.partition(b"<")[2].partition(b">")[0].decode()
                    writer.write(b"250 OK\r\n")
                elif verb == b"DATA":
                    began = time.monotonic()
                    writer.write(b"354 go on\r\n")
                    mail = await reader.readuntil(b"\r\n.\r\n")
                    # Taken now, told later: what a crash in between makes doubtful.
                    log.write(written(recipient, began, mail))
                    await asyncio.sleep(delay)
                    writer.write(b"250 taken\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                else:
                    writer.write(b"250 OK\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=1 << 22)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
