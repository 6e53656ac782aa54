"""Work that is many transactions, such as a list that is brought in: it stands in the audit log however it ends."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeVar

from sqlmodel import Session

from mailer.audit import Act

T = TypeVar("T")


class Actor(Protocol):
    """Who acts: somebody at the dashboard, or product code with its key."""

    async def run(self, verb: Callable[[Session], None]) -> None:
        """Run a verb in a transaction of its own."""

    def log(self, session: Session, act: Act, target: str = "", **data: Any) -> None:
        """Write into the audit log."""


async def written_down(
    actor: Actor, act: Act, target: str, work: Awaitable[T], told: Callable[[T], Mapping[str, object]]
) -> T:
    """Do the work and write it down after its last transaction, with what it `told`, or that it broke off."""
    try:
        done = await work
    except Exception:
        # Some of it may be committed already: whoever reads the log should know who began.
        await actor.run(lambda session: actor.log(session, act, target, broken_off=True))
        raise
    await actor.run(lambda session: actor.log(session, act, target, **told(done)))
    return done
