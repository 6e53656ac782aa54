"""OAuth2 access tokens: a command prints one, and it is kept until it is refused or old."""

import asyncio
import os
import re
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

#: Tokens live an hour at Google and Microsoft; a young one is never caught by its end.
_KEEP_SECONDS = 300.0
_COMMAND_SECONDS = 10.0
_DRAIN_SECONDS = 1.0
_LONGEST = 65536
#: What may stand in a bearer token and in AUTH's arguments (RFC 6750 section 2.1, a little wider).
_TOKEN = re.compile(rb"[\x21-\x7e]+")


class NoToken(Exception):
    """The command printed no token; the text is a sentence without anything that it printed."""


class Token(NamedTuple):
    """An access token."""

    text: str
    #: By the clock of its keeper, in seconds.
    made: float


class Tokens:
    """Tokens by the command that prints them; connections that want one at the same time share one run of it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, timeout: float = _COMMAND_SECONDS) -> None:
        """Keep none yet; `timeout` bounds a command, in seconds."""
        self._clock, self._timeout = clock, timeout
        self._kept: dict[str, Token] = {}
        self._running: dict[str, asyncio.Task[Token]] = {}

    async def get(self, command: str) -> Token:
        """Return the kept token or a new one; raises `NoToken`."""
        kept = self._kept.get(command)
        if kept is not None and self._clock() - kept.made < _KEEP_SECONDS:
            return kept
        running = self._running.get(command)
        if running is None or running.done():
            running = self._running[command] = asyncio.create_task(self._make(command))
            # Whoever asked may be cancelled; then nobody reads the failure.
            running.add_done_callback(lambda task: task.cancelled() or task.exception())
        # One connection that gives up must not take the token from the others.
        return await asyncio.shield(running)

    def refused(self, command: str, token: Token) -> None:
        """Forget a token that the relay did not take."""
        if self._kept.get(command) == token:
            del self._kept[command]

    async def _make(self, command: str) -> Token:
        token = Token(await _printed(command, self._timeout), self._clock())
        self._kept[command] = token
        return token


async def _printed(command: str, timeout: float) -> str:
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        # A session of its own, so that what the command starts can be ended with it.
        process = await asyncio.create_subprocess_exec(
            *shlex.split(command), stdin=nothing, stdout=pipe, stderr=nothing, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise NoToken("token_command cannot be run") from error
    try:
        async with asyncio.timeout(timeout):
            printed = await _read(process)
            code = await process.wait() if len(printed) < _LONGEST else 0
    except TimeoutError as error:
        raise NoToken(f"token_command took longer than {timeout:g} s") from error
    finally:
        await _end(process)
    if code:
        raise NoToken(f"token_command ended with {code}")
    if not _TOKEN.fullmatch(printed.strip()):
        raise NoToken("token_command printed no access token")
    return printed.strip().decode()


async def _end(process: asyncio.subprocess.Process) -> None:
    """End what still runs, and read the pipe to its end: asyncio closes it only then."""
    assert process.stdout is not None
    if process.returncode is None or not process.stdout.at_eof():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            while await process.stdout.read(_LONGEST):
                pass
    await process.wait()


async def _read(process: asyncio.subprocess.Process) -> bytes:
    """Return what the command prints, up to a length that no token has."""
    assert process.stdout is not None
    try:
        return await process.stdout.readexactly(_LONGEST)
    except asyncio.IncompleteReadError as whole:
        return whole.partial
