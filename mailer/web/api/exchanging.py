"""Suppression lists in and out, of any length."""

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import IO

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from mailer.audit import Act
from mailer.errors import Invalid, Problem
from mailer.exchanging import Export, Import, Imported, Order, options_of
from mailer.web.api.calls import NO_STORE, Answer, Call
from mailer.web.api.queries import ExportQuery, ImportQuery
from mailer.web.api.uploads import arriving, media_type
from mailer.web.working import written_down
from suppression.lines import Refusal

#: How many refused lines a JSON answer shows.
_SHOWN = 100
#: So much of a stream of refused lines is kept in memory, the rest in a file.
_KEPT = 256 * 1024
_PIECE = 64 * 1024
_LINES = "application/x-ndjson"
#: Types of bodies that are no list, and what to do instead.
_OTHER: Mapping[str, str] = {
    "multipart/form-data": "send the list itself as the body (curl -T list.csv), not as a form",
    "application/x-www-form-urlencoded": "send the list with its own type, text/csv or application/x-ndjson",
    "application/json": "send an object a line as application/x-ndjson, or text/csv",
}


async def import_(call: Call) -> Answer | Response:
    """Bring in a suppression list, CSV or NDJSON of any length; it only ever forbids more.

    Whoever accepts application/x-ndjson gets every refused line, and the counts as the last line.
    """
    async with arriving(call.request) as pieces:
        brought = _asked(call)
        if _LINES not in call.request.headers.get("accept", ""):
            lines: list[Refusal] = []
            told = await _brought(call, brought, pieces, lambda refusal: _keep(lines, refusal))
            return Answer({**asdict(told), "lines": [refusal._asdict() for refusal in lines]})
        return await _streamed(call, brought, pieces)


async def _brought(
    call: Call, brought: Import, pieces: AsyncIterator[bytes], refused: Callable[[Refusal], object]
) -> Imported:
    work = brought.lines(pieces, refused)
    if brought.order.dry_run:
        return await work
    return await written_down(call, Act.SUPPRESSIONS_IMPORTED, brought.order.form, work, lambda told: told.counts)


def _asked(call: Call) -> Import:
    if (why := _OTHER.get(media_type(call.request))) is not None:
        raise Invalid(Problem("Content-Type", why))
    asked = call.query(ImportQuery)
    order = Order(
        database=call.service.database,
        fingerprints=call.service.intake.fingerprints,
        tenant_id=call.tenant_id,
        form=asked.format.value,
        now=call.service.now,
        dry_run=asked.dry_run,
    )
    options = options_of(asked.reason, asked.scope, [each for each in asked.topics.split(",") if each.strip()])
    return Import(order=order, options=options, digest=asked.digest, resume=asked.resume)


def _keep(lines: list[Refusal], refusal: Refusal) -> None:
    if len(lines) < _SHOWN:
        lines.append(refusal)


async def _streamed(call: Call, brought: Import, pieces: AsyncIterator[bytes]) -> Response:
    """Answer with a line for each refused one; clients read only once they have sent all, so lines wait in a file."""
    file = tempfile.SpooledTemporaryFile(_KEPT)  # noqa: SIM115 - closed when the answer is out
    try:
        told = await _brought(call, brought, pieces, _writer(file))
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return StreamingResponse(_sent(file, told), headers=NO_STORE, media_type=_LINES)


def _writer(file: IO[bytes]) -> Callable[[Refusal], object]:
    return lambda refusal: file.write(orjson.dumps(refusal._asdict()) + b"\n")


async def _sent(file: IO[bytes], told: Imported) -> AsyncIterator[bytes]:
    with file:
        while piece := file.read(_PIECE):
            yield piece
    yield orjson.dumps(asdict(told)) + b"\n"


async def export(call: Call) -> Answer | Response:
    """Carry the suppression list out as CSV or NDJSON, the oldest entry first; the import reads it back."""
    asked = call.query(ExportQuery)
    order = Export(
        database=call.service.database,
        tenant_id=call.tenant_id,
        syntax=asked.format,
        now=call.service.now,
        reason=asked.reason,
        past=asked.past,
    )
    await call.run(lambda session: call.log(session, Act.SUPPRESSIONS_EXPORTED, format=asked.format))
    name = f"suppressions.{asked.format}"
    headers = {**NO_STORE, "Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_body(call.request, order), headers=headers, media_type=asked.format.media)


async def _body(request: Request, order: Export) -> AsyncIterator[bytes]:
    if request.method == "HEAD":
        return
    async for piece in order.pieces():
        yield piece
