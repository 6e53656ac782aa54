"""Suppression lists in and out: a file is looked at first, then brought in; ours is carried out as CSV or NDJSON."""

import asyncio
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from starlette.responses import Response, StreamingResponse

from mailer import exchanging
from mailer.audit import Act
from mailer.errors import Invalid, Problem
from mailer.exchanging import Export, Import, Imported, Order, Waiting
from mailer.people import topics
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.pages import HEADERS
from mailer.web.dashboard.suppressing import scopes
from mailer.web.working import written_down
from suppression.exchange import FORMS, FormName, Syntax
from suppression.lines import Refusal
from suppression.rules import Reason

#: How many refused lines a page shows.
_SHOWN = 100


class Outcome(NamedTuple):
    """What became of a list, or would."""

    told: Imported
    #: The first refused lines.
    lines: Sequence[Refusal]


async def show(asked: Asked) -> Response:
    """Show the form for a list."""
    known = await asked.read(lambda session: topics(session, asked.tenant_id))
    values = {"forms": list(FormName), "sources": FORMS, "reasons": list(Reason), "topics": known}
    shown = {"scopes": scopes(asked, known), "most": exchanging.MOST // 2**20, "called": {"topic": "list_topics"}}
    return asked.page("suppressions-import.html", {**values, **shown})


async def preview(asked: Asked) -> Response:
    """Say what a list would do, and keep it until it is brought in."""
    waiting = await _uploaded(asked)
    outcome = await _bring(asked, waiting, dry_run=True)
    keep = partial(exchanging.keep, tenant_id=asked.tenant_id, user_id=asked.visit.user.id)
    upload_id = await asked.run(lambda session: keep(session, waiting=waiting, now=asked.now))
    return await _told(asked, outcome, waiting, upload_id)


async def run(asked: Asked) -> Response:
    """Bring a list in that was looked at, or forget it. One that was cut off goes on where it stopped."""
    drop = partial(exchanging.drop, tenant_id=asked.tenant_id, user_id=asked.visit.user.id)
    if asked.form.one("do") == "discard":
        await asked.run(drop)
        return asked.to("/suppressions/import", done="list_discarded")
    find = partial(exchanging.find, tenant_id=asked.tenant_id, user_id=asked.visit.user.id)
    upload_id = asked.form.one("upload")
    waiting = await asked.read(lambda session: find(session, upload_id=upload_id))
    work = _bring(asked, waiting, dry_run=False)
    outcome = await written_down(asked, Act.SUPPRESSIONS_IMPORTED, waiting.form, work, lambda done: done.told.counts)
    await asked.run(drop)
    return await _told(asked, outcome, waiting, "")


async def show_export(asked: Asked) -> Response:
    """Show what of the list can be carried out, and how."""
    return asked.page("suppressions-export.html", {"reasons": list(Reason), "syntaxes": list(Syntax)})


async def export(asked: Asked) -> Response:
    """Carry the list out as a file, as it is read; who did is written down."""
    form = asked.form
    if form.one("format") not in set(Syntax):
        raise Invalid(Problem("format", f"must be one of {', '.join(Syntax)}"))
    syntax = Syntax(form.one("format"))
    order = Export(
        database=asked.service.database,
        tenant_id=asked.tenant_id,
        syntax=syntax,
        now=asked.service.now,
        reason=_reason(form.one("reason")),
        past=form.one("past") == "yes",
    )
    said = {"format": syntax.value, "reason": form.one("reason")}
    await asked.run(lambda session: asked.log(session, Act.SUPPRESSIONS_EXPORTED, **said))
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="suppressions-{asked.now:%Y-%m-%d}.{syntax}"'}
    return StreamingResponse(order.pieces(), headers=headers, media_type=syntax.media)


async def _uploaded(asked: Asked) -> Waiting:
    form = asked.form
    if form.one("form") not in FORMS:
        raise Invalid(Problem("form", "is none that is known here"))
    if asked.file is None:
        raise Invalid(Problem("file", "choose a file"))
    _reason(form.one("reason"))
    data = bytearray()
    async for piece in asked.file:
        data += piece
        if len(data) > exchanging.MOST:
            most = exchanging.MOST // 2**20
            sentence = f"is larger than {most} MB: bring it in by `mailer suppression import`, or by the API"
            raise Invalid(Problem("file", sentence))
    if not data:
        raise Invalid(Problem("file", "choose a file; this one is empty"))
    named = [line.strip() for line in form.one("topic").splitlines() if line.strip()]
    packed = await asyncio.to_thread(exchanging.pack, bytes(data))
    return Waiting(form.one("form"), form.one("reason"), form.one("scope"), named, packed)


async def _bring(asked: Asked, waiting: Waiting, *, dry_run: bool) -> Outcome:
    order = Order(
        database=asked.service.database,
        fingerprints=asked.service.intake.fingerprints,
        tenant_id=asked.tenant_id,
        form=waiting.form,
        now=asked.service.now,
        dry_run=dry_run,
    )
    options = exchanging.options_of(_reason(waiting.reason), waiting.scope or None, waiting.topics)
    lines: list[Refusal] = []

    def refused(refusal: Refusal) -> None:
        if len(lines) < _SHOWN:
            lines.append(refusal)

    data = waiting.data
    digest = hashlib.sha256(data).hexdigest()
    told = await Import(order=order, options=options, digest=digest, resume=True).lines([data], refused)
    return Outcome(told, lines)


async def _told(asked: Asked, outcome: Outcome, waiting: Waiting, upload_id: str) -> Response:
    told, known = outcome.told, await asked.read(lambda session: topics(session, asked.tenant_id))
    return asked.page(
        "suppressions-imported.html",
        {
            "told": told,
            "lines": outcome.lines,
            "more": told.refused - len(outcome.lines),
            "kinds": [(*kind.split(" ", 1), number) for kind, number in sorted(told.kinds.items())],
            "waiting": waiting,
            "upload": upload_id,
            "scopes": scopes(asked, known),
        },
    )


def _reason(text: str) -> Reason | None:
    if text and text not in set(Reason):
        raise Invalid(Problem("reason", f"must be one of {', '.join(Reason)}"))
    return Reason(text) if text else None


SCREENS = (
    Screen("/suppressions/import", May.EDIT_SUPPRESSIONS, show, preview, takes_file=True),
    Screen("/suppressions/import/run", May.EDIT_SUPPRESSIONS, show, run),
    Screen("/suppressions/export", May.EDIT_SUPPRESSIONS, show_export, export),
)
