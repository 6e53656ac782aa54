"""The link by which who was invited has their address removed: GET shows what that means, POST erases."""

from typing import NamedTuple

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from mailer import erasure
from mailer.feedback import optouts
from mailer.models import Tenant
from mailer.web.recipient.asking import Service, read_form, token_of
from mailer.web.recipient.pages import Pages
from suppression import address
from suppression.token import OptOut

_NOTE = "asked for by the link of an invitation"


class _Seen(NamedTuple):
    """Who invited, and whom, as far as a page may say."""

    sender: str
    #: The masked address, None where it is gone.
    who: str | None
    locale: str | None


class Removing:
    """The two sides of `/r/{token}`."""

    def __init__(self, service: Service, pages: Pages) -> None:
        """Keep what answers need."""
        self._service = service
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """Show what removal means. Scanners fetch every link of a mail, so nothing is removed here."""
        invited = self._service.links.read_removal(token_of(request))
        seen = await self._seen(invited)
        return self._page(request, seen)

    async def act(self, request: Request) -> Response:
        """Erase the person, once the line above the button is ticked; committed before the answer, twice is once."""
        form = await read_form(request)
        invited = self._service.links.read_removal(token_of(request))
        seen = await self._seen(invited)
        if invited is None or seen is None:
            return self._pages.damaged(request)
        # Scanners press buttons too, and nothing brings back what was erased: they tick nothing.
        if form.one("sure") != "yes":
            return self._page(request, seen, missing=True)
        now = self._service.now()
        await erasure.everywhere(
            self._service.database,
            self._service.store,
            lambda session: erasure.erase(session, invited.tenant_id, (invited.fingerprint,), now, _NOTE),
            (),
        )
        return self._page(request, seen, done=True)

    async def _seen(self, invited: OptOut | None) -> _Seen | None:
        return None if invited is None else await self._service.database.read(lambda session: _look(session, invited))

    def _page(self, request: Request, seen: _Seen | None, *, missing: bool = False, done: bool = False) -> Response:
        if seen is None:
            return self._pages.damaged(request)
        values = {"sender": seen.sender, "who": seen.who, "missing": missing, "done": done}
        status = 422 if missing else 200
        return self._pages.page(request, "removal.html", values, status=status, locale=seen.locale)


def _look(session: Session, invited: OptOut) -> _Seen | None:
    tenant = session.get(Tenant, invited.tenant_id)
    if tenant is None:
        return None
    email = optouts.email_of(session, invited)
    who = address.mask(email.address) if email and email.address else None
    return _Seen(tenant.name, who, email.locale if email else None)
