"""A worker to be killed: delivers both streams of a database to a relay until nothing is due.

python -m tests.delivery.runner URL PORT CONNECTIONS
"""

import asyncio
import sys
from datetime import UTC, datetime

from mailer.database import Database
from mailer.delivery import claims
from suppression.rules import Stream
from tests.delivery import mails


async def deliver(url: str, port: int, connections: int) -> None:
    """Take back what a dead predecessor held, then deliver."""
    database = Database(url)
    await database.run(lambda session: claims.recover(session, datetime.now(UTC), holder="test"))
    pipelines = [mails.pipeline(database, port, stream, connections=connections) for stream in Stream]
    print("ready", flush=True)
    await asyncio.gather(*(pipeline.ring() for pipeline in pipelines))
    await asyncio.gather(*(pipeline.stop() for pipeline in pipelines))
    await database.close()


if __name__ == "__main__":
    asyncio.run(deliver(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
