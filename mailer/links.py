"""The shape of every URL, pixel and return path in sent mail."""

import secrets
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import NamedTuple

import orjson

from mailer import ids
from mailer.settings import Settings
from suppression.rules import Stream
from suppression.token import OptOut, Purpose, Ring, sign_mailto

UNSUBSCRIBE = "/u/{token}"
PREFERENCES = "/p/{token}"
OPEN = "/o/{token}.gif"
VIEW = "/v/{token}"


class Audience(NamedTuple):
    """What an aggregate pixel names: nothing that leads to a person (spec section 9)."""

    tenant_id: int
    stream: Stream
    campaign: str
    topic: str
    template: str
    day: date


@lru_cache(maxsize=1024)
def _packed(audience: Audience) -> bytes:
    return orjson.dumps([*audience[:-1], audience.day.isoformat()])


class WaysOut(NamedTuple):
    """The links by which a person leaves, chooses, or sees the mail in a browser."""

    unsubscribe: str
    preferences: str
    #: None where nobody would receive it.
    mailto: str | None
    #: Of promotional mail only.
    view: str | None


class Hit(NamedTuple):
    """What a pixel's token says: one email, or an audience with a random number kept nowhere else."""

    email_id: str | None
    audience: Audience | None
    mark: bytes


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads the signed links of sent mail."""

    settings: Settings
    ring: Ring
    #: The address of this very process, for links while no public URL is set (the inbox accepts http).
    local_url: str = "http://127.0.0.1:8000"

    def base(self, stream: Stream) -> str:
        """Return the address under which a stream's links live."""
        return self.settings.base_url(stream) or self.local_url

    def ways_out(self, opt_out: OptOut) -> WaysOut:
        """Return the links of one mail that can be left; `opt_out` names the mail.

        The first is the one-click link (RFC 8058): POST opts out, GET shows a page. The mailto has its token in the
        local part (R1.13).
        """
        packed, base = opt_out.pack(), self.base(opt_out.stream)
        wanted = [(Purpose.OPT_OUT, packed), (Purpose.PREFERENCES, packed)]
        if opt_out.stream is Stream.PROMOTIONAL and opt_out.email is not None:
            wanted.append((Purpose.VIEW, opt_out.email))
        leave, choose, *view = self.ring.sign_many(wanted)
        domain = self.settings.return_path_domain
        return WaysOut(
            unsubscribe=base + UNSUBSCRIBE.format(token=leave),
            preferences=base + PREFERENCES.format(token=choose),
            mailto=f"mailto:{sign_mailto(self.ring, opt_out)}@{domain}" if domain else None,
            view=base + VIEW.format(token=view[0]) if view else None,
        )

    def read_preferences(self, token: str) -> OptOut | None:
        """Return whom and what a preference link is about, None where it does not verify."""
        payload = self.ring.verify(Purpose.PREFERENCES, token)
        return None if payload is None else OptOut.unpack(payload)

    def read_view(self, token: str) -> str | None:
        """Return the email that a view link shows."""
        payload = self.ring.verify(Purpose.VIEW, token)
        return None if payload is None or len(payload) != 16 else ids.from_bytes("em", payload)

    def individual_pixel(self, email_id: str, stream: Stream) -> str:
        """Return a pixel that names one email."""
        token = self.ring.sign(Purpose.OPEN, b"i" + ids.to_bytes(email_id))
        return self.base(stream) + OPEN.format(token=token)

    def aggregate_pixel(self, audience: Audience) -> str:
        """Return a pixel that names an audience and a fresh random number."""
        token = self.ring.sign(Purpose.OPEN, b"a" + secrets.token_bytes(8) + _packed(audience))
        return self.base(audience.stream) + OPEN.format(token=token)

    def read_open(self, token: str) -> Hit | None:
        """Return what a pixel's token says, None where it does not verify."""
        payload = self.ring.verify(Purpose.OPEN, token)
        if payload is None:
            return None
        if payload[:1] == b"i" and len(payload) == 17:
            return Hit(ids.from_bytes("em", payload[1:]), None, b"")
        tenant_id, stream, campaign, topic, template, day = orjson.loads(payload[9:])
        audience = Audience(tenant_id, Stream(stream), campaign, topic, template, date.fromisoformat(day))
        return Hit(None, audience, payload[1:9])
