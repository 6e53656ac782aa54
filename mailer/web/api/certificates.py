"""Certificates that signed something, fetched from where they are published and kept for a day."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from mailer.errors import Forbidden
from mailer.outside import Answer, Guard, Outside, Unreachable

#: Fetches a URL that was judged before; raises `outside.Refused` or `outside.Unreachable`.
Fetch = Callable[[str], Awaitable[Answer]]

#: One has 2 KB.
_MOST = 32 * 1024
_KEPT = 24 * 3600.0
_MOST_KEPT = 16
#: Whoever knows the name of a topic can have us ask for certificates that do not exist: so many in so many seconds.
_ASKED, _WITHIN = 12, 60.0


async def fetched(url: str) -> Answer:
    """Fetch a URL by the guarded way (R10.6); it is done so rarely that no connection is kept."""
    outside = Outside(Guard())
    try:
        return await outside.get(url, most=_MOST)
    finally:
        await outside.close()


class Certificates:
    """What was fetched lately."""

    def __init__(self, fetch: Fetch) -> None:
        """Know none yet."""
        self._fetch = fetch
        self._kept: dict[str, tuple[float, bytes]] = {}
        self._asked: deque[float] = deque(maxlen=_ASKED)
        self._fetching = asyncio.Lock()

    async def get(self, url: str) -> bytes:
        """Return a certificate; raises `Forbidden` where there is none, `Unreachable` where it cannot be had now."""
        if (found := self._fresh(url)) is not None:
            return found
        # One after the other, so that many messages that wait for the same one fetch it once.
        async with self._fetching:
            if (found := self._fresh(url)) is not None:
                return found
            self._count()
            answer = await self._fetch(url)
            if answer.status >= 500:
                raise Unreachable(f"the server of the certificate answered {answer.status}")
            if answer.status != 200 or answer.cut:
                raise Forbidden("there is no certificate at SigningCertURL")
            if len(self._kept) >= _MOST_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[url] = (time.monotonic(), answer.body)
            return answer.body

    def _fresh(self, url: str) -> bytes | None:
        since, found = self._kept.get(url, (0.0, b""))
        return found if found and time.monotonic() - since < _KEPT else None

    def _count(self) -> None:
        now = time.monotonic()
        if len(self._asked) == _ASKED and now - self._asked[0] < _WITHIN:
            raise Unreachable("too many certificates were asked for within a minute")
        self._asked.append(now)
