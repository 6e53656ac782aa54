"""What became of mail: emails, and the numbers of many."""

from collections.abc import Sequence

from sqlmodel import Session

from mailer import emails
from mailer.emails import Filter, Page
from mailer.web.api.calls import Answer, Call
from mailer.web.api.queries import EmailQuery
from suppression import address
from suppression.rules import Stream


async def email(call: Call) -> Answer:
    """Show one email with everything that happened to it."""
    captures = captures_of(call)

    def verb(session: Session) -> dict[str, object]:
        found = emails.get(session, call.tenant_id, call.path("id"))
        told, shown = emails.events_of(session, found), emails.shown_of(session, found)
        return emails.view(found, told, shown, captures=captures)

    return Answer(await call.read(verb))


async def listing(call: Call) -> Answer:
    """List emails, the newest first, without their events."""
    asked, captures = call.query(EmailQuery), captures_of(call)
    prints: tuple[bytes, ...] = ()
    if asked.to is not None:
        canonical = address.parse(asked.to).canonical
        prints = call.service.intake.fingerprints.all_of(call.tenant_id, canonical)
    wanted = Filter(
        prints=prints,
        stream=asked.stream,
        status=asked.status,
        campaign_id=asked.campaign_id,
        topic=asked.topic,
        tag=asked.tag,
    )

    def verb(session: Session) -> dict[str, object]:
        page = emails.listing(session, call.tenant_id, wanted, limit=asked.limit, after=asked.after)
        return page_view(session, page, captures)

    return Answer(await call.read(verb))


def page_view(session: Session, page: Page, captures: Sequence[Stream]) -> dict[str, object]:
    """Return a page of emails as JSON shows it, without their events."""
    versions = emails.versions_of(session, page.emails)
    views = [emails.view(each, shown=versions.get(each.content_id), captures=captures) for each in page.emails]
    data = [{name: value for name, value in view.items() if name != "events"} for view in views]
    return {"data": data, "has_more": page.has_more}


def captures_of(call: Call) -> list[Stream]:
    """Return the streams whose relay is the inbox."""
    return [stream for stream in Stream if call.service.settings.captures(stream)]
