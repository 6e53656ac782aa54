"""What an act leaves for the one page behind it: sealed in a cookie of this browser, shown once, kept nowhere here.

An act answers with a redirect, so that a page that is loaded again does nothing again; yet a secret that is shown once,
or how many opt-outs were undone, must reach that page, and an address would put it into logs and histories.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from mailer.sealing import SealBroken, Seals

#: For what it is sealed.
SEALED_FOR = "dashboard"


@dataclass(frozen=True)
class Teller:
    """Seals what is left, and opens it for the sign-in and the page that it was left for."""

    seals: Seals

    def sealed(self, what: Mapping[str, object], sign_in_id: str, path: str) -> str:
        """Return what a cookie holds; a browser keeps 4 KB of it, so let it be ids and secrets, not lists."""
        plain = json.dumps(what, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        return base64.urlsafe_b64encode(self.seals.seal(plain, _place(sign_in_id, path))).decode()

    def opened(self, cookie: str, sign_in_id: str, path: str) -> Mapping[str, object]:
        """Return what was left for this page; nothing where the cookie is another's, or for another page."""
        try:
            plain = self.seals.open(base64.urlsafe_b64decode(cookie), _place(sign_in_id, path))
        except (SealBroken, binascii.Error, ValueError):
            return {}
        found: dict[str, object] = json.loads(plain)
        return found


def _place(sign_in_id: str, path: str) -> str:
    return f"what the sign-in {sign_in_id} is told at {path}"
