"""Accepting over HTTP, one web process on PostgreSQL: batches of 1,000, and single requests from 32 clients at once.

python -m tests.benchmarks.accepting [--embedded]
"""

import sys

import orjson
import uvloop

from mailer.bench import Size, letters, sink
from mailer.bench.watching import child
from tests.benchmarks.world import World, ask, request, world

BARE = ("-m", "uvicorn", "tests.benchmarks.bare:app", "--http", "httptools", "--no-access-log", "--port")
BATCHES, SINGLES, CLIENTS = 40, 8000, 32


def single(number: int) -> dict[str, object]:
    """Return a request for one email, as product code writes it."""
    variables = {"name": "Ann", "plan": "Team", "city": "Kyiv", "code": f"RING-{number}"}
    to = {"email": letters.address(number), "name": "Ann Meyer"}
    return {"stream": "promotional", "to": to, "template": letters.TEMPLATE, "variables": variables}


def template() -> bytes:
    """Return the request that stores the template."""
    return orjson.dumps(letters.template(Size.SMALL).model_dump(mode="json", exclude_none=True))


def measure(served: World, command: str) -> None:
    """Ask the same server for batches, for singles, and the bare one for as many singles."""
    port, key = served.web(command), served.key("admin")
    uvloop.run(store_template(port, key))
    emails = [single(number) for number in range(BATCHES * 1000)]
    batches = [
        request(orjson.dumps({"emails": emails[first : first + 1000]}), key, "/v1/emails/batch")
        for first in range(0, len(emails), 1000)
    ]
    for clients in (1, 4):
        took = uvloop.run(ask(port, batches, clients))
        print(f"batches of 1,000 from {clients} clients: {len(emails) / took:,.0f} emails/s")
    singles = [request(orjson.dumps(email), key, "/v1/emails") for email in emails[:SINGLES]]
    uvloop.run(ask(port, singles[:500], CLIENTS))
    ours = SINGLES / uvloop.run(ask(port, singles, CLIENTS))
    bare = sink.free_port()
    with child("bare", [sys.executable, *BARE, str(bare)], served.folder) as process:
        process.until_says("Uvicorn running")
        uvloop.run(ask(bare, singles[:500], CLIENTS))
        theirs = SINGLES / uvloop.run(ask(bare, singles, CLIENTS))
    print(f"single requests from {CLIENTS} clients: {ours:,.0f}/s; the bare route: {theirs:,.0f}/s")
    print(f"ratio {ours / theirs:.3f} (wanted: at least 0.15)")


async def store_template(port: int, key: str) -> None:
    """Store the template over HTTP."""
    await ask(port, [request(template(), key, "/v1/templates")], 1)


def main() -> None:
    """Serve without workers, so that accepting is all that is measured."""
    embedded = "--embedded" in sys.argv
    with world(embedded=embedded) as served:
        measure(served, "serve" if embedded else "web")


if __name__ == "__main__":
    main()
