"""A relay that takes its time, and remembers every mail that it took."""

import asyncio
import sys


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
                    writer.write(b"354 go on\r\n")
                    head = b""
                    while (data := await reader.readline()) not in (b".\r\n", b""):
                        head += data
                    if not data:
                        return
                    # Taken now, told later: what a crash in between makes doubtful.
                    key = head.partition(b"Message-ID: ")[2].partition(b"\r\n")[0].decode()
                    log.write(f"{recipient} {key}\n")
                    await asyncio.sleep(delay)
                    writer.write(b"250 taken\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                else:
                    writer.write(b"250 OK\r\n")
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
