"""The link by which a mailbox says yes: GET shows what would begin, POST begins it, once."""

from urllib.parse import quote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from mailer import links, subscribing
from mailer.feedback.optouts import Kind
from mailer.subscribing import Standing, State
from mailer.web.recipient.asking import Service, committed, how, read_form, token_of
from mailer.web.recipient.pages import Pages, language_of
from mailer.web.recipient.words import WORDS

#: A link at its end is no damaged one: its page says how to get another.
_STATUS = {State.WAITING: 200, State.CONFIRMED: 200, State.LEFT: 200, State.LATE: 410}


class Confirming:
    """The two sides of `/s/{token}`."""

    def __init__(self, service: Service, pages: Pages) -> None:
        """Keep what answers need."""
        self._service = service
        self._pages = pages

    async def show(self, request: Request) -> Response:
        """Show what was asked for. Scanners fetch every link of a mail, so nothing begins here."""
        opt_in_id = self._service.links.read_confirm(token_of(request))
        if opt_in_id is None:
            return self._pages.damaged(request)
        now = self._service.now()
        found = await self._service.database.read(lambda session: subscribing.look(session, opt_in_id, now))
        return self._page(request, found)

    async def act(self, request: Request) -> Response:
        """Say yes, whatever the body; committed before the answer."""
        await read_form(request)
        opt_in_id = self._service.links.read_confirm(token_of(request))
        if opt_in_id is None:
            return self._pages.damaged(request)
        now, way = self._service.now(), how(request, Kind.CONFIRM, self._service.settings)
        seen = await self._service.database.read(lambda session: subscribing.look(session, opt_in_id, now))
        if seen is None:
            return self._pages.damaged(request)
        read = _read(seen, language_of(request, seen.opt_in.locale))
        found = await committed(
            self._service.database, lambda session: subscribing.confirm(session, opt_in_id, way, now, read=read)
        )
        return self._page(request, found)

    def _page(self, request: Request, found: Standing | None) -> Response:
        if found is None:
            return self._pages.damaged(request)
        locale = found.opt_in.locale
        language = language_of(request, locale)
        again = urlencode(
            [("tenant", found.tenant.key), *(("topic", key) for key in found.opt_in.topics)], quote_via=quote
        )
        values = {
            "sender": found.tenant.name,
            "who": found.who,
            "state": found.state,
            "names": [topic.name_in(language) for topic in found.topics],
            "again_url": f"{links.SUBSCRIBE}?{again}",
            # The path alone: the page may be read under another name of this host than mail is sent with.
            "preferences_url": urlsplit(self._service.links.ways_out(found.opt_out()).preferences).path,
        }
        return self._pages.page(request, "confirm.html", values, status=_STATUS[found.state], locale=locale)


def _read(found: Standing, language: str) -> str:
    """Return what stood above the button, as plain text: the words to which the person said yes."""
    words, names = WORDS[language], ", ".join(topic.name_in(language) for topic in found.topics)
    return f"{words['confirm_said'].format(sender=found.tenant.name)} {names}. {words['confirm_button']}"
