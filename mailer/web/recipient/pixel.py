"""The picture that a mail loads when it is opened."""

from starlette.types import Receive, Scope, Send

from mailer.web.recipient import noting
from mailer.web.recipient.asking import Service

#: 43 octets, GIF89a, one transparent pixel (R6.1).
GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
#: R6.2: never stored, so that every opening is seen; no ETag, because a 304 would hide it.
HEADERS = [
    (b"content-type", b"image/gif"),
    (b"content-length", str(len(GIF)).encode()),
    (b"cache-control", b"no-store, no-cache, must-revalidate, private, max-age=0"),
    (b"pragma", b"no-cache"),
    (b"expires", b"0"),
]
_COUNTED = ("GET", "HEAD")


class Pixel:
    """Answers everything with the same 43 octets, at once; what was seen is written later."""

    def __init__(self, service: Service) -> None:
        """Touch nothing yet."""
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        # RFC 9110 section 9.3.2: HEAD has the headers of GET and no content.
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else GIF})
        # After the answer: a link that verifies takes no longer than one that does not (R6.3).
        self._note(scope)

    def _note(self, scope: Scope) -> None:
        token, dot, rest = str(scope["path_params"]["token"]).rpartition(".")
        if scope["method"] not in _COUNTED or not dot or rest.rstrip("/") != "gif":
            return
        hit = self._service.links.read_open(token)
        if hit is not None:
            noting.note(self._service, scope, hit)
