"""Bodies of any length, read only as fast as they are worked on, so that they never pile up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request

from mailer.errors import MailerError
from mailer.web.api.calls import MOST_DRAINED
from mailer.web.drain import drain
from mailer.web.problems import Malformed

#: How long the next piece may take, and for how long the rest of a refused body is taken from the wire.
_PATIENCE = 60.0
_DRAINING = 10.0


def media_type(request: Request) -> str:
    """Return what a body says that it is, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


@asynccontextmanager
async def arriving(request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
    """Hand out a body piece by piece; what is left of a refused one is taken from the wire, so its sender reads why."""
    body = _Body(request)
    try:
        yield body.pieces()
    except MailerError:
        if not body.taken:
            await drain(body.stream, keep=0, limit=MOST_DRAINED, patience=_DRAINING)
        raise


class _Body:
    def __init__(self, request: Request) -> None:
        self.stream = request.stream()
        #: Nothing of it is left on the wire.
        self.taken = False

    async def pieces(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(_PATIENCE):
                    piece = await anext(self.stream, None)
            except TimeoutError:
                raise Malformed("the body stopped arriving: what came is kept, send all of it again") from None
            if piece is None:
                self.taken = True
                return
            yield piece
