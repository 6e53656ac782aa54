"""The two cookies: of whoever is signed in, and of whoever is about to; and the token that each form carries."""

import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

from mailer.settings import Settings
from mailer.users import signing
from mailer.web.clients import is_secure

#: Who is signed in.
SIGNED_IN = "mailer_sign_in"
#: Who has opened the sign-in page: without it another site could sign a visitor in as somebody else.
AT_THE_DOOR = "mailer_door"
#: What an act left for the page behind it.
TOLD = "mailer_told"
PATH = "/app"
#: For how many seconds a browser keeps a cookie; others until it is closed.
_LASTS = {SIGNED_IN: int(signing.LONGEST.total_seconds()), TOLD: 300}


def token_of(request: Request, name: str) -> str:
    """Return what a cookie holds; empty where there is none."""
    return request.cookies.get(name, "")


def fresh() -> str:
    """Return a token for the door."""
    return secrets.token_urlsafe(24)


def form_token(cookie: str) -> str:
    """Return the token that each form of this cookie's pages carries; other sites cannot know it."""
    return hmac.digest(cookie.encode("utf-8", "surrogatepass"), b"mailer form v1", "sha256").hex()


def is_form_of(cookie: str, given: str) -> bool:
    """Return whether a form's token belongs to this cookie."""
    return bool(cookie) and hmac.compare_digest(form_token(cookie).encode(), given.encode("utf-8", "surrogatepass"))


def put(response: Response, request: Request, settings: Settings, name: str, token: str) -> None:
    """Give a browser a cookie that no script reads and that other sites' forms do not send."""
    response.set_cookie(
        name,
        token,
        max_age=_LASTS.get(name),
        path=request.scope.get("root_path", "") + PATH,
        secure=is_secure(request, settings),
        httponly=True,
        samesite="lax",
    )


def drop(response: Response, request: Request, settings: Settings, name: str) -> None:
    """Take a cookie away."""
    response.delete_cookie(
        name,
        path=request.scope.get("root_path", "") + PATH,
        secure=is_secure(request, settings),
        httponly=True,
        samesite="lax",
    )
