"""What the edges do around the verb: its transaction, mail in flight, and the inbox beside the database."""

import asyncio
from collections.abc import Callable, Collection

from sqlmodel import Session

from mailer.database import Database
from mailer.erasure.forgetting import Erased
from mailer.inbox import Store

#: How long mail that is on its way into the inbox may take to get there.
_ON_ITS_WAY = 2.0


async def everywhere(
    database: Database, store: Store, verb: Callable[[Session], Erased], written: Collection[str]
) -> Erased:
    """Run the verb, then have the inbox forget the person too; `written` are the spellings by which they were named."""
    erased = await database.run(verb, urgency=0, conclusive=True)
    addresses = erased.addresses | frozenset(written)
    if erased.in_flight:
        await asyncio.sleep(_ON_ITS_WAY)
    await asyncio.to_thread(store.forget, addresses)
    return erased


def view(erased: Erased) -> dict[str, object]:
    """Return an erasure as JSON shows it."""
    return {name: value for name, value in erased._asdict().items() if name != "addresses"}
