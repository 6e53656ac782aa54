"""The pages of the inbox: what was sent, as its reader would see it, and what was really in it."""

import functools
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from mailer import resources
from mailer.inbox import Captured, Header, Reading, Store, Summary, read
from mailer.web.clients import is_same_origin

_FOLDER = resources.templates() / "inbox"
_PAGE_SIZE = 50
_LIMIT = 200
#: How much of a source or a text stands in a page; the rest is a click away.
_SHOWN = 300_000
_SHOWS = ("html", "text", "headers", "source")
_STAY_OUT = {"X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex", "Cache-Control": "no-store"}
_PAGE_HEADERS = {
    **_STAY_OUT,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; frame-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    # Not no-referrer: with it a browser says `Origin: null` when our own button is pressed.
    "Referrer-Policy": "same-origin",
    "Vary": "Accept-Language",
}
# As a mail client: pictures come from anywhere, links open beside us, no script runs, and our origin is out of reach.
_FRAMED_HEADERS = {
    **_STAY_OUT,
    "Content-Security-Policy": "default-src 'none'; img-src data: http: https:; style-src 'unsafe-inline';"
    " sandbox allow-popups allow-popups-to-escape-sandbox; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
}
_FILE_HEADERS = {
    **_STAY_OUT,
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_DOCTYPE = re.compile(r"\s*<!doctype[^>]*>", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,18}")
# No percent signs and no dots in a row: `/u/../inbox/clear` and `/u/%2e%2e/…` lead a browser elsewhere.
_ONE_CLICK = re.compile(r"/u/(?!\.)(?!.*\.\.)[A-Za-z0-9_~.-]+(?:\?[A-Za-z0-9_~.=&-]*)?")

_Words: TypeAlias = Mapping[str, str | Sequence[str]]
_WORDS: Mapping[str, _Words] = tomllib.loads((_FOLDER / "words.toml").read_text("utf-8"))


class _Person(NamedTuple):
    """Whom a page is for: the language."""

    language: str

    @property
    def words(self) -> _Words:
        """Return the sentences of the language."""
        return _WORDS[self.language]

    def counted(self, key: str, number: int) -> str:
        """Return a number with its noun, as in "1 mail", "5 листів"."""
        return str(self.words[key][_plural(self.language, number)]).format(n=f"{number:,}".replace(",", "\u202f"))


class _Link(NamedTuple):
    """One tab."""

    name: str
    url: str
    chosen: bool


def _plural(language: str, number: int) -> int:
    """Return which form of a noun goes with a number (Unicode CLDR plural rules)."""
    if language != "uk":
        return 0 if number == 1 else 1
    if number % 10 == 1 and number % 100 != 11:
        return 0
    return 1 if number % 10 in {2, 3, 4} and number % 100 not in {12, 13, 14} else 2


def _language(accepted: str) -> str:
    """Return the first of our languages in an Accept-Language value, the most wanted first."""
    wanted: list[tuple[float, str]] = []
    for item in accepted.lower().split(",")[:20]:
        tag, _, quality = item.partition(";")
        weight = re.fullmatch(r"\s*q=([01](?:\.[0-9]{0,3})?)\s*", quality)
        wanted.append((-float(weight[1]) if weight else -1.0, tag.strip().partition("-")[0]))
    return next((tag for weight, tag in sorted(wanted, key=lambda each: each[0]) if weight and tag in _WORDS), "en")


def _size(octets: int) -> str:
    return (
        f"{octets} B" if octets < 1024 else f"{octets / 1024:.1f} KB" if octets < 2**20 else f"{octets / 2**20:.1f} MB"
    )


def _when(time: datetime, now: datetime) -> str:
    """Return a time as a list shows it: the hour today, else the day; in the zone of this machine."""
    local = time.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == now.astimezone().date() else f"{local:%Y-%m-%d %H:%M}"


def _moment(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def one_click_path(reading: Reading) -> str | None:
    """Return where the one-click button posts: only ever to an opt-out of ours, on the host of this page."""
    if not reading.one_click or not reading.unsubscribe_url:
        return None
    try:
        parts = urlsplit(reading.unsubscribe_url)
    except ValueError:
        return None
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return path if _ONE_CLICK.fullmatch(path) else None


def framed(html: str) -> str:
    """Return the HTML of a mail with links that open beside it; the rest is left as it is."""
    # Right behind the doctype, the parser opens the head for it: in front, the mail would be shown in quirks mode.
    doctype = _DOCTYPE.match(html)
    end = doctype.end() if doctype else 0
    return f'{html[:end]}<base target="_blank">{html[end:]}'


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _described(summary: Summary) -> dict[str, object]:
    return {
        "id": summary.id,
        "received_at": summary.received_at.astimezone(UTC).isoformat(),
        "mail_from": summary.mail_from,
        "rcpt_to": summary.rcpt_to,
        "subject": summary.subject,
    }


@functools.cache
def _templates() -> Environment:
    """Return the templates: every application of a process shares what was compiled."""
    made = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )
    made.globals.update(size=_size, moment=_moment, when=_when, differs=_differs)
    return made


class _Pages:
    """The handlers, over one store; they are plain functions, so starlette runs each in a thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._templates = _templates()
        self._style = (_FOLDER / "style.css").read_text("utf-8")

    def listing(self, request: Request) -> Response:
        """Show the newest mails, or those that a search finds."""
        query = request.query_params.get("q", "").strip()[:200]
        before = _number(request.query_params.get("before"))
        found = self._store.list(_PAGE_SIZE + 1, before, query)
        count = self._store.count()
        # An empty inbox looks for its first mail by itself; nobody is reading there yet.
        live = request.query_params.get("live") == "1" or not count
        asked = {"q": query} if query else {}
        mails = found[:_PAGE_SIZE]
        return self._page(
            request,
            "list.html",
            mails=mails,
            query=query,
            count=count,
            live=live,
            first=before is None,
            now=datetime.now(UTC),
            toggle="/inbox?" + urlencode(asked if live else {**asked, "live": "1"}),
            newest="/inbox?" + urlencode(asked),
            older="/inbox?" + urlencode({**asked, "before": mails[-1].id}) if len(found) > _PAGE_SIZE else None,
        )

    def mail(self, request: Request) -> Response:
        """Show one mail in one of its tabs."""
        captured = self._asked(request)
        if not captured:
            return self._gone(request)
        reading = read(captured.raw)
        has = {"html": reading.html is not None, "text": reading.text is not None, "headers": True, "source": True}
        shows = [show for show in _SHOWS if has[show]]
        asked = request.query_params.get("show", "")
        show = asked if asked in shows else shows[0]
        width = "phone" if request.query_params.get("width") == "phone" else "desktop"
        source = captured.raw[:_SHOWN].decode("utf-8", "replace") if show == "source" else ""
        return self._page(
            request,
            "mail.html",
            mail=captured,
            reading=reading,
            tabs=[_Link(each, f"/inbox/{captured.id}?show={each}", each == show) for each in shows],
            widths=[
                _Link(each, f"/inbox/{captured.id}?show=html&width={each}", each == width)
                for each in ("desktop", "phone")
            ],
            show=show,
            width=width,
            text=(reading.text or "")[:_SHOWN],
            source=source,
            cut=max(len(captured.raw) if show == "source" else 0, len(reading.text or "")) > _SHOWN,
            files=[each for each in enumerate(reading.attachments) if not each[1].inline],
            pictures=[each for each in enumerate(reading.attachments) if each[1].inline],
            one_click=one_click_path(reading),
        )

    def html(self, request: Request) -> Response:
        """Serve the HTML of one mail for the frame that shows it."""
        captured = self._asked(request)
        html = read(captured.raw).html if captured else None
        if html is None:
            return self._gone(request)
        return Response(framed(html), media_type="text/html", headers=_FRAMED_HEADERS)

    def raw(self, request: Request) -> Response:
        """Serve the bytes of one mail to read."""
        captured = self._asked(request)
        if not captured:
            return self._gone(request)
        return Response(captured.raw, media_type="text/plain", headers=_FILE_HEADERS)

    def eml(self, request: Request) -> Response:
        """Serve the bytes of one mail as a file that mail clients open."""
        captured = self._asked(request)
        if not captured:
            return self._gone(request)
        return _file(f"mail-{captured.id}.eml", "message/rfc822", captured.raw)

    def attachment(self, request: Request) -> Response:
        """Serve one file of one mail, never to be shown by the browser."""
        captured = self._asked(request)
        number = _number(request.path_params["number"])
        files = read(captured.raw).attachments if captured else []
        if number is None or number >= len(files):
            return self._gone(request)
        return _file(files[number].name, files[number].type, files[number].content)

    def listing_json(self, request: Request) -> Response:
        """Serve the newest mails, all or those to one address, to tests and scripts."""
        limit, before = request.query_params.get("limit", str(_PAGE_SIZE)), request.query_params.get("before")
        wanted = _number(limit)
        if not wanted or wanted > _LIMIT:
            return _problem(422, "limit", f"must be a number from 1 to {_LIMIT}")
        if before is not None and _number(before) is None:
            return _problem(422, "before", "must be the id of a mail")
        found = self._store.list(wanted + 1, _number(before), to=request.query_params.get("to"))
        data = [_described(summary) for summary in found[:wanted]]
        return JSONResponse({"data": data, "has_more": len(found) > wanted}, headers=_STAY_OUT)

    def mail_json(self, request: Request) -> Response:
        """Serve one mail, read, to tests and scripts."""
        captured = self._asked(request)
        if not captured:
            return _problem(404, "", "there is no such mail (any more)")
        reading = read(captured.raw)
        return JSONResponse(
            {
                **_described(captured),
                "from": reading.sender,
                "to": reading.to,
                "date": reading.date.isoformat() if reading.date else None,
                "stream": captured.stream,
                "headers": [{"name": header.name, "value": header.value} for header in reading.headers],
                "text": reading.text,
                "html": reading.html,
                "attachments": [{"name": a.name, "type": a.type, "size": a.size} for a in reading.attachments],
                "unsubscribe_url": reading.unsubscribe_url,
                "one_click": reading.one_click,
                "defects": list(reading.defects),
            },
            headers=_STAY_OUT,
        )

    def clear(self, request: Request) -> Response:
        """Forget every mail."""
        if not is_same_origin(request):
            return _problem(403, "", "only the inbox's own page may clear it")
        self._store.clear()
        return RedirectResponse("/inbox", status_code=303, headers=_STAY_OUT)

    def style(self, _request: Request) -> Response:
        """Serve the style sheet."""
        return Response(self._style, media_type="text/css", headers={**_STAY_OUT, "Cache-Control": "max-age=300"})

    def _asked(self, request: Request) -> Captured | None:
        number = _number(request.path_params["id"])
        return None if number is None else self._store.get(number)

    def _gone(self, request: Request) -> Response:
        return self._page(request, "gone.html", status=404)

    def _page(self, request: Request, template: str, *, status: int = 200, **values: object) -> Response:
        person = _Person(_language(request.headers.get("accept-language", "")))
        body = self._templates.get_template(template).render(
            t=person.words, counted=person.counted, language=person.language, **values
        )
        headers = {**_PAGE_HEADERS, "Content-Language": person.language}
        return Response(body, status, media_type="text/html", headers=headers)


def _problem(status: int, path: str, message: str) -> Response:
    """Return an error as the API says it (RFC 9457)."""
    body = {"title": message, "status": status, "errors": [{"path": path, "message": message}]}
    return JSONResponse(body, status, media_type="application/problem+json", headers=_STAY_OUT)


def _file(name: str, kind: str, content: bytes) -> Response:
    # RFC 8187: with the name in this form alone, no quote or line break of it is ever part of the header.
    disposition = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return Response(content, headers={**_FILE_HEADERS, **disposition, "Content-Type": kind})


def _differs(header: Header) -> bool:
    """Return whether a header field was sent in other letters than it is read in."""
    return " ".join(header.raw.split()) != " ".join(header.value.split())


def routes(store: Store) -> list[Route]:
    """Return the routes of the inbox, all below ``/inbox`` and ``/inbox.json``."""
    pages = _Pages(store)
    pages_of: Sequence[tuple[str, Callable[[Request], Response]]] = (
        ("/inbox", pages.listing),
        ("/inbox.json", pages.listing_json),
        ("/inbox/style.css", pages.style),
        ("/inbox/{id}.json", pages.mail_json),
        ("/inbox/{id}.eml", pages.eml),
        ("/inbox/{id}", pages.mail),
        ("/inbox/{id}/html", pages.html),
        ("/inbox/{id}/raw", pages.raw),
        ("/inbox/{id}/attachments/{number}", pages.attachment),
    )
    return [
        Route("/inbox/clear", pages.clear, methods=["POST"]),
        *(Route(path, page, methods=["GET"]) for path, page in pages_of),
    ]
