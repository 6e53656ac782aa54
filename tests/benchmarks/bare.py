"""What a bare sender reaches on this machine at this hour: the floors of `mailer bench` are calibrated by it.

python -m tests.benchmarks.bare [--workers 1|2] [--emails N] [--dkim rsa] [--connections N]

It does what nobody can do without: a row's intent is durable before DATA and its outcome after the reply, suppressions
are asked with each intent, mail is personal, with signed links. No limits, templates, counters, retries, and no bells
(the Redis of `mailer bench` starts too, and is left alone). A refusal ends the run.
"""

import argparse
import asyncio
import hashlib
import html
import re
import sys
import tempfile
import time
from base64 import b64encode, urlsafe_b64encode
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from typing import cast

import asyncpg
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from mailer.bench import Size, interrupts, letters, sink, throwaway
from mailer.bench.watching import Child, child, need_proc
from mailer.cli import printing
from mailer.errors import MailerError

#: How many mails one claim takes, below how many at hand the next is made, and how many connections commit.
BATCH, LOW, COMMITTERS = 200, 100, 2
SIZE, FILL, KEY = Size.SMALL.bytes, 20_000, b"the key of links that lead nowhere"
#: Advisory locks that the parent holds: until all senders run, and until they have been measured.
START, END = 1, 2

TABLES = """
    CREATE TABLE mail (
        id bigint PRIMARY KEY, waiting boolean NOT NULL DEFAULT true, status text NOT NULL DEFAULT 'queued',
        address text NOT NULL, fingerprint bytea NOT NULL,
        name text, plan text, city text, code text, claimed_at timestamptz, settled_at timestamptz
    ) WITH (fillfactor = 70);
    CREATE INDEX mail_waiting ON mail (id) WHERE waiting;
    CREATE TABLE suppression (fingerprint bytea PRIMARY KEY);
"""
ROWS = """
    INSERT INTO mail (id, address, fingerprint, name, plan, city, code)
    SELECT n, address, sha256(address::bytea), (ARRAY['Ann Meyer', 'Tom Hill', 'Lena O''Berg'])[1 + n % 3],
           (ARRAY['Starter', 'Team'])[1 + n % 2], (ARRAY['Kyiv', 'Lisbon', 'Berlin'])[1 + n / 3 % 3], 'RING-' || n
    FROM (SELECT n, format('reader-%s@mail-%s.example', n, n % 50) AS address FROM generate_series(1, $1::int) n) reader
"""
CLAIM = f"""
    UPDATE mail SET waiting = false, status = 'claimed', claimed_at = clock_timestamp()
    WHERE id = ANY (ARRAY (SELECT id FROM mail WHERE waiting ORDER BY id FOR UPDATE SKIP LOCKED LIMIT {BATCH}))
    RETURNING id, address, name, plan, city, code
"""
COMMIT = """
    UPDATE mail SET
        status = CASE step.was WHEN 'claimed' THEN 'sending' ELSE 'sent' END,
        settled_at = CASE step.was WHEN 'sending' THEN clock_timestamp() END
    FROM unnest($1::bigint[], $2::text[]) AS step (id, was)
    WHERE mail.id = step.id AND mail.status = step.was AND (step.was = 'sending' OR NOT EXISTS (
        SELECT FROM suppression WHERE suppression.fingerprint = mail.fingerprint)) RETURNING mail.id
"""
COUNT = "SELECT count(*), extract(epoch FROM max(settled_at) - min(claimed_at)) FROM mail WHERE status = 'sent'"
#: As the connections that commit for a worker have them: every row is found by its id, however it was planned.
SETTINGS = {"random_page_cost": "1.1", "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

# It is in DKIM's relaxed form already: no text and no value has runs of spaces, or spaces before a line's end.
HEAD = f"""From: {letters.FROM}
To: %(name)b <%(address)b>
Subject: %(name)b, what is new in %(city)b
Date: %(date)b
Message-ID: <%(id)b@{letters.DOMAIN}>
List-Unsubscribe: <%(unsubscribe)b>
List-Unsubscribe-Post: List-Unsubscribe=One-Click
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary="=_bare"
""".replace("\n", "\r\n")
NAME = re.compile(r"(?m)^(\S+): ")
#: As it is signed: the names in lower case, no space behind them (RFC 6376 section 3.4.2).
SIGNED = NAME.sub(lambda found: f"{found[1].lower()}:", HEAD).encode("ascii")
TAGS = f"v=1; a=rsa-sha256; c=relaxed/relaxed; d={letters.DOMAIN}; s=bench; h={':'.join(NAME.findall(HEAD))}; "
TEXT = "After four minutes of waiting, half of all callers hang up. There is a better moment to offer a call back.\n"
BODY = f"""--=_bare
Content-Type: text/plain; charset="utf-8"

Good news for %(city)b, %(name)b: your plan %(plan)b answers in two languages. Your code: %(code)b.
{TEXT * 7}Unsubscribe: %(unsubscribe)b
{letters.POSTAL_ADDRESS}
--=_bare
Content-Type: text/html; charset="utf-8"

<p>Good news for %(html_city)b, %(html_name)b: %(html_plan)b answers in two languages. Code: %(html_code)b.</p>
{f'<p style="padding: 0 40px 16px; font: 16px Roboto, Helvetica, Arial, sans-serif; text-align: left">{TEXT}</p>' * 10}
<p><a href="%(unsubscribe)b">Unsubscribe</a> <a href="%(preferences)b">Choose what you receive</a></p>
--=_bare--
""".replace("\n", "\r\n")
PREPARED_HEAD, PREPARED_BODY, DATE = HEAD.encode("ascii"), BODY.encode("ascii"), lru_cache(maxsize=1)(formatdate)


def compose(mail: asyncpg.Record, key: rsa.RSAPrivateKey | None) -> bytes:
    """Return the mail of a row as it arrives, signed if there is a key: its dots are not stuffed."""
    texts = {name: str(value) for name, value in mail.items()}
    texts |= {f"html_{name}": html.escape(texts[name]) for name in ("name", "plan", "city", "code")}
    texts |= {purpose: _link(purpose, texts["id"]) for purpose in ("unsubscribe", "preferences")}
    texts["date"] = DATE(int(time.time()))
    values = {name.encode("ascii"): text.encode("ascii") for name, text in texts.items()}
    head, body = PREPARED_HEAD % values, PREPARED_BODY % values
    return b"%b%b\r\n%b" % (b"" if key is None else _signature(key, SIGNED % values, body), head, body)


def _signature(key: rsa.RSAPrivateKey, head: bytes, body: bytes) -> bytes:
    # RFC 6376 section 3.7: the hash of the body, then the signed headers with this one, whose b= is empty.
    hashed = b64encode(hashlib.sha256(body).digest()).decode("ascii")
    tags = f"{TAGS}t={int(time.time())}; bh={hashed}; b=".encode("ascii")
    signature = b64encode(key.sign(head + b"dkim-signature:" + tags, PKCS1v15(), hashes.SHA256()))
    return b"DKIM-Signature: %b%b\r\n" % (tags.replace(b"; ", b";\r\n "), signature)


def _link(purpose: str, identifier: str) -> str:
    said = f"{purpose}/{identifier}"
    token = hashlib.blake2b(said.encode("ascii"), key=KEY, digest_size=15).digest()
    return f"{letters.PUBLIC_URL}/{said}/{urlsafe_b64encode(token).decode('ascii')}"


class _Talk(asyncio.Protocol):
    """One connection: MAIL and RCPT of a mail are in flight behind the last dot, and while its intent is committed."""

    def __init__(self, sender: "Sender") -> None:
        self._sender, self._rest = sender, b""
        self._last: asyncpg.Record | None = None
        self._next: asyncpg.Record | None = None
        #: DATA waits for three things: the sender is accepted, the recipient is, and the intent is durable.
        self._missing = 3
        self._expected = deque[tuple[bytes, Callable[[], None]]]()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._expected += [(b"220", lambda: self._transport.write(b"EHLO bare.example\r\n")), (b"250", self.begin)]

    def connection_lost(self, exc: Exception | None) -> None:
        self._sender.fail("the relay closed a connection")

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\r\n")
        for code in [line[:3] for line in lines if line[3:4] != b"-"]:
            if not self._expected or code != self._expected[0][0]:
                self._sender.fail(f"the relay answered {code.decode('ascii', 'replace')}, and everything must be taken")
                return
            self._expected.popleft()[1]()

    def begin(self) -> None:
        """Offer the next mail; wait where none is at hand, and be done where none will be."""
        self._last, self._next = None, self._sender.take()
        if self._next is not None:
            self._transport.write(self._offer(self._next))
            self._settled()
        else:
            self._sender.wait(self)

    def go(self) -> None:
        """Hear of one of the things that DATA waits for."""
        self._missing -= 1
        if not self._missing:
            self._missing = 3
            self._transport.write(b"DATA\r\n")
            self._expected.append((b"354", self._hand_over))

    def _offer(self, mail: asyncpg.Record) -> bytes:
        self._expected += [(b"250", self.go), (b"250", self.go)]
        return f"MAIL FROM:<b{mail['id']}@{letters.DOMAIN}>\r\nRCPT TO:<{mail['address']}>\r\n".encode("ascii")

    def _hand_over(self) -> None:
        self._last, self._next = self._next, self._sender.take()
        data = compose(self._last, self._sender.key).replace(b"\r\n.", b"\r\n..") + b".\r\n"
        self._expected.append((b"250", self._settled))
        self._transport.write(data if self._next is None else data + self._offer(self._next))

    def _settled(self) -> None:
        self._sender.steps.append((self, self._last, self._next))
        self._sender.some.set()


class Sender:
    """One worker: claims ahead, sends over many connections, and commits for all of them together."""

    def __init__(self, key: rsa.RSAPrivateKey | None, connections: int) -> None:
        self.key, self.commits, self._connections, self._exhausted = key, 0, connections, False
        self._queue, self._idle = deque[asyncpg.Record](), list[_Talk]()
        #: What waits for a commit: of a connection the outcome of the last mail, the intent of the next.
        self.steps: list[tuple[_Talk, asyncpg.Record | None, asyncpg.Record | None]] = []
        self.some, self._hungry = asyncio.Event(), asyncio.Event()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, port: int, databases: Sequence[asyncpg.Connection]) -> None:
        """Send until nothing waits; the first of the databases claims, the others commit."""
        for _ in range(self._connections):
            await asyncio.get_running_loop().create_connection(lambda: _Talk(self), "127.0.0.1", port)
        await asyncio.gather(self._over, self._claim(databases[0]), *map(self._commit, databases[1:]))

    def take(self) -> asyncpg.Record | None:
        """Return the next mail that is at hand, and have a batch claimed before there is none."""
        if len(self._queue) < LOW:
            self._hungry.set()
        return self._queue.popleft() if self._queue else None

    def wait(self, talk: _Talk) -> None:
        """Let a connection wait for the next batch; the run is over when all wait and nothing is left to claim."""
        self._idle.append(talk)
        if self._exhausted and len(self._idle) == self._connections:
            self._over.set_result(None)
            self.some.set()

    def fail(self, reason: str) -> None:
        """End the run in error."""
        if not self._over.done():
            self._over.set_exception(MailerError(reason))

    async def _claim(self, database: asyncpg.Connection) -> None:
        claim = await database.prepare(CLAIM)
        while not self._exhausted:
            await self._hungry.wait()
            mails = await claim.fetch()
            self._queue.extend(mails)
            self._exhausted = len(mails) < BATCH
            self._hungry.clear()
            idle, self._idle = self._idle, []
            for talk in idle:
                talk.begin()

    async def _commit(self, database: asyncpg.Connection) -> None:
        commit = await database.prepare(COMMIT)
        while not self._over.done():
            await self.some.wait()
            steps, self.steps = self.steps, []
            self.some.clear()
            if not steps:
                continue
            sent = [(mail["id"], "sending") for _, mail, _ in steps if mail is not None]
            intended = [(mail["id"], "claimed") for _, _, mail in steps if mail is not None]
            if len(await commit.fetch(*zip(*sent, *intended, strict=True))) != len(sent) + len(intended):
                raise MailerError("an intent was refused, or a mail is not in the state in which it was left")
            self.commits += 1
            for talk, _, mail in steps:
                (talk.begin if mail is None else talk.go)()


async def be_sender(url: str, port: int, asked: argparse.Namespace) -> None:
    """Be a worker: say that it runs, wait for the start, send, say what was done, wait until it was measured."""
    databases = [await asyncpg.connect(url, server_settings=SETTINGS) for _ in range(1 + COMMITTERS)]
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048) if asked.dkim == "rsa" else None
    sender = Sender(key, asked.connections)
    with ExitStack() as stack:
        for database in databases:
            stack.callback(database.terminate)
        print("ready", flush=True)
        await databases[0].execute(f"SELECT pg_advisory_lock_shared({START})")
        await sender.run(port, databases)
        print(f"done, commits: {sender.commits}", flush=True)
        await databases[0].execute(f"SELECT pg_advisory_lock_shared({END})")


async def until_done(senders: Sequence[Child], emails: int) -> int:
    """Wait until all say that they are done, a minute and 20 ms an email at most; return how many commits they made."""
    end = time.monotonic() + 60 + emails / 50
    while time.monotonic() < end:
        said = [re.findall(r"^done, commits: (\d+)$", sender.log.read_text(), re.MULTILINE) for sender in senders]
        if all(said):
            return sum(int(commits) for (commits,) in said)
        for sender in senders:
            sender.check()
        await asyncio.sleep(0.1)
    raise MailerError("the senders have come to a stand")


async def measure(asked: argparse.Namespace, stack: ExitStack) -> dict[str, float]:
    """Return what the rows and /proc say, with smtp-source before and after; the stack ends what runs."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailer-bare-")))
    relay = stack.enter_context(sink.running(folder))
    before = sink.fill(relay, SIZE, FILL)
    servers = stack.enter_context(throwaway.servers(folder))
    database = await asyncpg.connect(servers.database_url)
    await database.execute(TABLES)
    await database.execute(ROWS, asked.emails)
    await database.execute(f"ANALYZE; SELECT pg_advisory_lock({START}), pg_advisory_lock({END})")
    words = ["--sender", servers.database_url, relay.port, "--connections", asked.connections]
    command = [sys.executable, "-m", "tests.benchmarks.bare", *map(str, words), "--dkim", asked.dkim]
    senders = [stack.enter_context(child(f"sender {n}", command, folder)) for n in range(1, asked.workers + 1)]
    for sender in senders:
        sender.until_says("^ready$")
    database_used = servers.cpu() or 0.0
    await database.execute(f"SELECT pg_advisory_unlock({START})")
    commits = await until_done(senders, asked.emails)
    senders_used, database_used = sum(sender.cpu for sender in senders), (servers.cpu() or 0.0) - database_used
    await database.execute(f"SELECT pg_advisory_unlock({END})")
    sent, took = await database.fetchrow(COUNT)
    await database.close()
    if sent != asked.emails:
        raise MailerError(f"the rows say that {sent} of {asked.emails} mails were sent")
    after, speed = sink.fill(relay, SIZE, FILL), sent / float(took)
    return {
        "emails a second, from the first claim to the last outcome": speed,
        "processor seconds of the workers, for 1,000 emails": 1000 * senders_used / sent,
        "mails a second of smtp-source into the same sink, before": before,
        "mails a second of smtp-source into the same sink, after": after,
        "ratio to the mean of those": 2 * speed / (before + after),
        "sent": sent,
        "mails sent a commit": sent / commits,
        "processor seconds of PostgreSQL, for 1,000 emails": 1000 * database_used / sent,
    }


def main() -> None:
    """Measure and print a table; with --sender, be one of its workers."""
    parser = argparse.ArgumentParser(description="What a bare sender reaches beside smtp-source.")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1)
    parser.add_argument("--emails", type=int, default=20_000)
    parser.add_argument("--dkim", choices=("off", "rsa"), default="off")
    parser.add_argument("--connections", type=int, default=32, help="of each worker")
    parser.add_argument("--sender", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if min(asked.emails, asked.connections) < 1:
        parser.error("--emails and --connections must be at least 1")
    try:
        need_proc()
        if asked.sender:
            uvloop.run(be_sender(asked.sender[0], int(asked.sender[1]), asked))
            return
        with interrupts.noted(), ExitStack() as stack:
            found = uvloop.run(measure(asked, stack))
        printing.table(("measured", "value"), [(name, round(value, 4)) for name, value in found.items()])
    except MailerError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
