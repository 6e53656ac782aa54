"""Read a request's body without keeping it: a little is kept, the rest is only taken from the wire."""

import asyncio
from collections.abc import AsyncIterable
from typing import NamedTuple

from starlette.requests import ClientDisconnect


class Drained(NamedTuple):
    """The beginning of a body, and whether that was all of it."""

    kept: bytes
    whole: bool


async def drain(body: AsyncIterable[bytes], *, keep: int, limit: int, patience: float) -> Drained:
    """Return at most `keep` octets of a body; take up to `limit` off the wire, so that the sender reads our answer.

    `body` is a request's stream, of which some may have been read: a request gives it only once.
    """
    kept, taken = b"", 0
    try:
        async with asyncio.timeout(patience):
            async for chunk in body:
                taken += len(chunk)
                kept += chunk[: keep - len(kept)]
                if taken > limit:
                    break
            else:
                return Drained(kept, taken <= keep)
    except (TimeoutError, ClientDisconnect):
        pass
    return Drained(kept, whole=False)
