"""The suppression list out, oldest entry first, a page a transaction."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from mailer.database import Database
from suppression import entries
from suppression.entries import Entry
from suppression.exchange import Syntax, head, written
from suppression.rules import Reason

#: How many entries are read at once.
_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Whose list is carried out, and what of it."""

    database: Database
    tenant_id: int
    syntax: Syntax
    now: Callable[[], datetime]
    reason: Reason | None = None
    #: Also what was lifted or has expired.
    past: bool = False

    async def pieces(self) -> AsyncIterator[bytes]:
        """Return the list piece by piece; an entry that is added meanwhile comes too, or not."""
        if heading := head(self.syntax):
            yield heading
        after: str | None = None
        while found := await self.database.read(self._page(after)):
            after = found[-1].id
            # Chosen here and not in SQL, so that no read walks the whole list to find few.
            if chosen := [entry for entry in found if self._wanted(entry)]:
                yield written(chosen, self.syntax)

    def _page(self, after: str | None) -> Callable[[Session], list[Entry]]:
        return lambda session: entries.page(session, self.tenant_id, limit=_PAGE, after=after)

    def _wanted(self, entry: Entry) -> bool:
        if self.reason is not None and entry.reason is not self.reason:
            return False
        return self.past or entry.live(self.now())
