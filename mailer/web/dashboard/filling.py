"""Recipients of a campaign: a list is uploaded as a file, and what could not be used of it is told line by line."""

from collections.abc import AsyncIterator

from sqlmodel import Session
from starlette.responses import Response

from mailer import campaigns, catalogue
from mailer.audit import Act
from mailer.campaigns import Added, Format, Upload
from mailer.errors import Conflict, Invalid, Problem
from mailer.models import CampaignStatus
from mailer.submission import Submitter
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.campaigns import Line, lines
from mailer.web.working import written_down

_BLANK = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"
#: How many octets are waited for until something stands there.
_LOOKED_AT = 4096


async def show(asked: Asked, added: Added | None = None) -> Response:
    """Show what a list must hold, the form for one, and what became of the one that was sent just now."""

    def look(session: Session) -> tuple[Line, list[str], list[str], str]:
        campaign = campaigns.get(session, asked.tenant_id, asked.param("id"))
        schema = catalogue.kept(session, campaign.content_id).body.schema
        try:
            required, closed = campaigns.wanted(session, asked.tenant_id, campaign.id).required, ""
        except Conflict as error:
            required, closed = [], str(error)
        return lines(session, asked, [campaign])[0], required, sorted(schema.variables), closed

    line, required, variables, closed = await asked.read(look)
    return asked.page(
        "campaign-recipients.html",
        {
            "campaign": line.campaign,
            "line": line,
            "required": required,
            "optional": [name for name in variables if name not in required],
            "closed": closed,
            "added": added,
        },
    )


async def take(asked: Asked) -> Response:
    """Add what a file holds, chunk by chunk as it arrives, and say what became of each line."""
    campaign_id = asked.param("id")
    await asked.read(lambda session: campaigns.get(session, asked.tenant_id, campaign_id))
    upload = Upload(
        database=asked.service.database,
        intake=asked.service.intake,
        sender=Submitter.trusted(asked.tenant_id),
        campaign_id=campaign_id,
        now=asked.service.now,
    )

    async def work() -> Added:
        form, pieces = await _opened(asked)
        return await upload.lines(pieces, form)

    added = await written_down(asked, Act.CAMPAIGN_FILLED, campaign_id, work(), lambda done: done.counts)
    campaign = await asked.read(lambda session: campaigns.get(session, asked.tenant_id, campaign_id))
    if added.new and campaign.status is CampaignStatus.RUNNING:
        asked.service.ring(campaign.stream)
    return await show(asked, added)


async def _opened(asked: Asked) -> tuple[Format, AsyncIterator[bytes]]:
    """Return how a list is written down, which its first letter tells, and the list from its beginning."""
    if asked.file is None:
        raise Invalid(Problem("recipients", "choose a file first"))
    file, first = asked.file, b""
    async for piece in file:
        first += piece
        if (len(first) >= len(_MARK) and first.removeprefix(_MARK).lstrip(_BLANK)) or len(first) > _LOOKED_AT:
            break

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for piece in file:
            yield piece

    begins = first.removeprefix(_MARK).lstrip(_BLANK)[:1]
    return Format.NDJSON if begins == b"{" else Format.CSV, whole()


SCREENS = (Screen("/campaigns/{id}/recipients", May.RUN_CAMPAIGNS, show, take, takes_file=True),)
