"""Builds the mailroom: what mail to our domain of return paths means, for every way in."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from mailer import postmaster, published
from mailer.database import Database
from mailer.errors import ConfigurationError
from mailer.feedback import inbound
from mailer.feedback.inbound import Mailroom, parsing
from mailer.feedback.inbound.report import Proof, Report
from mailer.feedback.optouts import How, opted_out
from mailer.links import Links
from suppression.token import OptOut

log = logging.getLogger(__name__)

Hear = Callable[[Sequence[tuple[Report, Proof]]], Awaitable[object]]


def mailroom(database: Database, links: Links, hear: Hear) -> Mailroom:
    """Return what takes mailto opt-outs, bounces and complaints; raises `ConfigurationError` where no domain is set.

    What `hear` is given must be committed when it returns.
    """
    settings = links.settings
    if not settings.return_path_domain:
        raise ConfigurationError(
            "set MAILER_RETURN_PATH_DOMAIN to the domain whose mail is sent here: nothing is received without it"
        )

    async def leave(opt_out: OptOut, how: How) -> None:
        await database.run(lambda session: opted_out(session, opt_out, how, database.now()), urgency=0, conclusive=True)

    async def count(email_id: str, why: str) -> None:
        await database.run(lambda session: inbound.count_dropped(session, email_id, why, database.now()))

    async def signed(raw: bytes) -> str | None:
        resolver = published.system_resolver()
        trusted = settings.signers
        return await asyncio.to_thread(inbound.signer, raw, trusted, lambda name: published.certain_key(resolver, name))

    async def keep(sender: str, raw: bytes) -> None:
        kept = await database.run(lambda session: postmaster.keep(session, sender, raw, database.now()), urgency=2)
        log.warning("somebody wrote to the postmaster: mailer postmaster show %s", kept)

    readers = [
        inbound.opt_outs(links.ring, leave),
        inbound.bounces(links.read_return_path, parsing.read, hear, count),
        inbound.complaints(links, parsing.read, hear, signed),
        inbound.postmaster(keep),
    ]
    return Mailroom(readers, settings.return_path_domain)
