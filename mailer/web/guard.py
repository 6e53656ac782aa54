"""Who may read the inbox: anybody on this very machine, else whoever has an admin key of the operator's own tenant."""

import base64
import binascii
import ipaddress

from sqlmodel import Session
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mailer import tenancy
from mailer.errors import MailerError
from mailer.models import Scope as KeyScope
from mailer.service import Service
from mailer.web.clients import is_loopback_name


class InboxGuard:
    """Lets requests for `/inbox` through from loopback only, or with an admin key as the password of a sign-in.

    It holds the mail of all tenants, so the key must be the operator's: a customer may make admin keys of their own.
    On loopback the Host must be loopback too: a page elsewhere whose name resolves to 127.0.0.1 must not read mail.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        """Stand before an application."""
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401 or pass on."""
        path = str(scope.get("path", ""))
        if scope["type"] == "http" and path.startswith("/inbox"):
            headers = Headers(scope=scope)
            if not self._local(scope, headers) and not await self._signed_in(headers):
                answer = PlainTextResponse(
                    "Sign in with any name, and with a key of scope admin as the password"
                    f" of the tenant {tenancy.DEFAULT} (mailer key create NAME --scope admin).\n",
                    401,
                    {"WWW-Authenticate": 'Basic realm="mailer inbox", charset="UTF-8"'},
                )
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _local(self, scope: Scope, headers: Headers) -> bool:
        settings = self._service.settings
        if settings.public_url or settings.transactional_public_url or settings.promotional_public_url:
            return False
        client = scope.get("client")
        named = is_loopback_name(headers.get("host", ""))
        return client is not None and _is_loopback(str(client[0])) and named

    async def _signed_in(self, headers: Headers) -> bool:
        kind, _, value = headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return False
        try:
            plain = base64.b64decode(value, validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return False

        def known(session: Session) -> bool:
            key = tenancy.authenticate(session, plain)
            return KeyScope.ADMIN in key.scopes and tenancy.is_operator(session, key.tenant_id)

        try:
            return await self._service.database.read(known)
        except MailerError:
            return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
