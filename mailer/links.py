"""The shape of every URL, pixel and return path in sent mail."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NamedTuple, cast

import orjson

from mailer import ids
from mailer.settings import Settings
from mailer.targets import Link, kind_of
from suppression.rules import Stream
from suppression.token import MAILTO_PREFIX, OptOut, Purpose, Ring, pack_mailto

UNSUBSCRIBE = "/u/{token}"
PREFERENCES = "/p/{token}"
OPEN = "/o/{token}.gif"
VIEW = "/v/{token}"
CLICK = "/c/{token}"
SUBSCRIBE = "/subscribe"
CONFIRM = "/s/{token}"
REMOVE = "/r/{token}"

#: Begins the local part of a return path.
RETURN_PATH_PREFIX = "b+"

#: How many bytes say when a link for editing ends, in seconds since 1970.
_MOMENT = 5

#: The longest payload of a click's token: beyond some 2,000 characters an address no longer opens everywhere
#: (INTERNET_MAX_URL_LENGTH of Windows, by which Outlook lives), so a longer one stays as it was written.
_LONGEST_CLICK = 1380

_UNSUBSCRIBE, _PREFERENCES, _OPEN, _VIEW, _CLICK, _CONFIRM, _REMOVE = (
    route.partition("{")[0] for route in (UNSUBSCRIBE, PREFERENCES, OPEN, VIEW, CLICK, CONFIRM, REMOVE)
)


class Audience(NamedTuple):
    """What an aggregate pixel names: nothing that leads to a person (spec section 9)."""

    tenant_id: int
    stream: Stream
    campaign: str
    topic: str
    template: str
    day: date

    def pack(self) -> bytes:
        """Return the form that a pixel carries."""
        return orjson.dumps([*self[:-1], self.day.isoformat()])


def one_email(email: bytes) -> bytes:
    """Return what a pixel and a link say that name one email, by the 16 bytes of its id."""
    return b"i" + email


def one_of(audience: bytes) -> bytes:
    """Return what a pixel and the links of one mail say that name a packed audience and a fresh random number.

    The number is kept nowhere else; a mail's pixel and links share it, so that a click implies an opening.
    """
    # No secret: the token is signed, and the number only tells its mail from others.
    return b"a" + random.getrandbits(64).to_bytes(8) + audience


class WaysOut(NamedTuple):
    """The links by which a person leaves, chooses, or sees the mail in a browser."""

    unsubscribe: str
    preferences: str
    #: None where nobody would receive it.
    mailto: str | None
    #: Of promotional mail only.
    view: str | None


class MailLinks(NamedTuple):
    """All signed links of one mail."""

    #: None where it cannot be left.
    ways_out: WaysOut | None
    #: None where nobody counts its openings.
    pixel: str | None
    #: MAIL FROM; None where no domain of return paths is set.
    return_path: str | None = None

    @property
    def envelope_id(self) -> str:
        """Return what ENVID says (RFC 3461 section 4.4), the token of the return path; empty where there is none."""
        return self.return_path[len(RETURN_PATH_PREFIX) :].partition("@")[0] if self.return_path else ""


class Asked(NamedTuple):
    """What the links of one mail are to say."""

    #: How it is left; it names the mail. None where nobody can leave it.
    opt_out: OptOut | None
    #: What its pixel says, None where there is none.
    opened: bytes | None
    #: The 16 bytes of its id, which its return path says.
    email: bytes | None = None


class Hit(NamedTuple):
    """What a token says that was seen: one email, or an audience with a random number kept nowhere else."""

    email_id: str | None
    audience: Audience | None
    mark: bytes
    #: None: a picture was loaded.
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads the signed links of sent mail."""

    settings: Settings
    ring: Ring
    #: The address of this very process, for links while no public URL is set (the inbox accepts http).
    local_url: str = "http://127.0.0.1:8000"
    #: What each mail asks for, worked out once.
    _bases: Mapping[Stream, str] = field(init=False, repr=False, compare=False)
    #: How an address under each base is kept: what an address of IPv6 holds, for one, is no letter of `Ours`.
    _kinds: Mapping[Stream, type[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out the bases."""
        bases = {stream: self.settings.base_url(stream) or self.local_url for stream in Stream}
        object.__setattr__(self, "_bases", bases)
        object.__setattr__(self, "_kinds", {stream: kind_of(base) for stream, base in bases.items()})

    def base(self, stream: Stream) -> str:
        """Return the address under which a stream's links live."""
        return self._bases[stream]

    def ways_out(self, opt_out: OptOut) -> WaysOut:
        """Return the links of one mail that can be left; `opt_out` names the mail.

        The first is the one-click link (RFC 8058): POST opts out, GET shows a page. The mailto has its token in the
        local part (R1.13).
        """
        return cast("WaysOut", self.of_mail(opt_out.stream, opt_out, None).ways_out)

    def of_mail(
        self, stream: Stream, opt_out: OptOut | None, opened: bytes | None, email: bytes | None = None
    ) -> MailLinks:
        """Return all links of one mail (`of_mails`)."""
        return self.of_mails(stream, [Asked(opt_out, opened, email)])[0]

    def of_mails(self, stream: Stream, mails: Sequence[Asked]) -> list[MailLinks]:
        """Return all links of each of several mails of one stream: those of one kind are signed together."""
        domain = self.settings.return_path_domain
        left = [mail.opt_out for mail in mails if mail.opt_out is not None]
        packed = [opt_out.pack() for opt_out in left]
        leave = iter(self._urls(stream, _UNSUBSCRIBE, Purpose.OPT_OUT, packed))
        choose = iter(self._urls(stream, _PREFERENCES, Purpose.PREFERENCES, packed))
        shown = [opt_out.email for opt_out in left if opt_out.email is not None and stream is Stream.PROMOTIONAL]
        view = iter(self._urls(stream, _VIEW, Purpose.VIEW, shown))
        opened = [mail.opened for mail in mails if mail.opened is not None]
        pixel = iter(self._urls(stream, _OPEN, Purpose.OPEN, opened, ".gif"))
        mailto, back = iter(list[str]()), iter(list[str]())
        if domain:
            tokens = self.ring.sign_short(Purpose.OPT_OUT, [pack_mailto(opt_out) for opt_out in left])
            mailto = iter([f"mailto:{MAILTO_PREFIX}{token}@{domain}" for token in tokens])
            tokens = self.ring.sign_short(Purpose.RETURN_PATH, [mail.email for mail in mails if mail.email is not None])
            back = iter([f"{RETURN_PATH_PREFIX}{token}@{domain}" for token in tokens])
        made = []
        for opt_out, said, email in mails:
            ways_out = None
            if opt_out is not None:
                seen = next(view) if opt_out.email is not None and stream is Stream.PROMOTIONAL else None
                ways_out = WaysOut(next(leave), next(choose), next(mailto, None), seen)
            image = next(pixel) if said is not None else None
            made.append(MailLinks(ways_out, image, next(back, None) if email is not None else None))
        return made

    def _urls(
        self, stream: Stream, shape: str, purpose: Purpose, payloads: Sequence[bytes], end: str = ""
    ) -> list[str]:
        begins, kind = self._bases[stream] + shape, self._kinds[stream]
        return [kind(f"{begins}{token}{end}") for token in self.ring.sign_all(purpose, payloads)]

    def ours(self) -> tuple[str, ...]:
        """Return how the addresses begin that lead to us, whichever stream's mail they stand in."""
        bases = dict.fromkeys(self.base(stream) for stream in Stream)
        shapes = (_UNSUBSCRIBE, _PREFERENCES, _OPEN, _VIEW, _CLICK, _CONFIRM, _REMOVE, SUBSCRIBE)
        return tuple([f"{base}{shape}" for base in bases for shape in shapes])

    def clicks(self, stream: Stream, mails: Sequence[tuple[bytes, Sequence[Link]]]) -> list[list[str | None]]:
        """Return the tracked address of each link of several mails; the bytes name a mail as its pixel does.

        None stands for a link whose address would be too long.
        """
        begins, kind = self._bases[stream] + _CLICK, self._kinds[stream]
        payloads = [[len(said).to_bytes(2) + said + link.pack() for link in links] for said, links in mails]
        short = [payload for each in payloads for payload in each if len(payload) <= _LONGEST_CLICK]
        tokens = iter(self.ring.sign_long(Purpose.CLICK, short))
        return [
            [kind(begins + next(tokens)) if len(payload) <= _LONGEST_CLICK else None for payload in each]
            for each in payloads
        ]

    def read_click(self, token: str) -> Hit | None:
        """Return what the token of a link says, its link included; None where it does not verify."""
        payload = self.ring.verify_long(Purpose.CLICK, token)
        if payload is None:
            return None
        end = 2 + int.from_bytes(payload[:2])
        return _seen(payload[2:end])._replace(link=Link.unpack(payload[end:]))

    def return_path(self, email_id: str) -> str | None:
        """Return an email's MAIL FROM (VERP, R5.1); None where no domain of return paths is set."""
        return self.of_mail(Stream.TRANSACTIONAL, None, None, ids.to_bytes(email_id)).return_path

    def read_return_path(self, address: str) -> str | None:
        """Return the email that a return path names, "em_…"; None where it is not one we signed.

        Servers may fold its case. Of an address only the local part is read, and a bare token (our ENVID) will do.
        """
        local = address.strip().strip("<>").partition("@")[0]
        token = local[len(RETURN_PATH_PREFIX) :] if local[:2].lower() == RETURN_PATH_PREFIX else local
        payload = self.ring.verify_short(Purpose.RETURN_PATH, token)
        return None if payload is None or len(payload) != 16 else ids.from_bytes("em", payload)

    def edit(self, opt_out: OptOut, expires_at: datetime) -> str:
        """Return the preference link that may do more than stop mail; it is mailed when asked for, and soon ends."""
        ends = int(expires_at.timestamp()).to_bytes(_MOMENT)
        return f"{self.base(opt_out.stream)}{_PREFERENCES}{self.ring.sign(Purpose.EDIT, ends + opt_out.pack())}"

    def read_edit(self, token: str, now: datetime) -> OptOut | None:
        """Return whom and what a link for editing is about, None where it does not verify or is at its end."""
        payload = self.ring.verify(Purpose.EDIT, token)
        if payload is None or now.timestamp() >= int.from_bytes(payload[:_MOMENT]):
            return None
        return OptOut.unpack(payload[_MOMENT:])

    def confirm(self, opt_in_id: str) -> str:
        """Return the link by which a mailbox says yes; the row that it names says whether it still may."""
        token = self.ring.sign(Purpose.CONFIRM, ids.to_bytes(opt_in_id))
        return f"{self.base(Stream.TRANSACTIONAL)}{_CONFIRM}{token}"

    def read_confirm(self, token: str) -> str | None:
        """Return the request that a link says yes to, None where it does not verify."""
        payload = self.ring.verify(Purpose.CONFIRM, token)
        return None if payload is None or len(payload) != 16 else ids.from_bytes("oi", payload)

    def removal(self, invited: OptOut) -> str:
        """Return the link by which who was invited has their address removed; `invited` names person and mail."""
        return f"{self.base(invited.stream)}{_REMOVE}{self.ring.sign(Purpose.REMOVAL, invited.pack())}"

    def read_removal(self, token: str) -> OptOut | None:
        """Return who may be removed by a link, and the mail it stood in; None where it does not verify."""
        payload = self.ring.verify(Purpose.REMOVAL, token)
        return None if payload is None else OptOut.unpack(payload)

    def read_ended(self, token: str) -> OptOut | None:
        """Return whom and what a link for editing was about whose end has passed, None where it never verified."""
        payload = self.ring.verify(Purpose.EDIT, token)
        return None if payload is None else OptOut.unpack(payload[_MOMENT:])

    def read_preferences(self, token: str) -> OptOut | None:
        """Return whom and what a preference link is about, None where it does not verify."""
        payload = self.ring.verify(Purpose.PREFERENCES, token)
        return None if payload is None else OptOut.unpack(payload)

    def read_view(self, token: str) -> str | None:
        """Return the email that a view link shows."""
        payload = self.ring.verify(Purpose.VIEW, token)
        return None if payload is None or len(payload) != 16 else ids.from_bytes("em", payload)

    def read_open(self, token: str) -> Hit | None:
        """Return what a pixel's token says, None where it does not verify."""
        payload = self.ring.verify(Purpose.OPEN, token)
        return None if payload is None else _seen(payload)


def _seen(said: bytes) -> Hit:
    """Return what `one_email` or `one_of` wrote."""
    if said[:1] == b"i" and len(said) == 17:
        return Hit(ids.from_bytes("em", said[1:]), None, b"")
    tenant_id, stream, campaign, topic, template, day = orjson.loads(said[9:])
    audience = Audience(tenant_id, Stream(stream), campaign, topic, template, date.fromisoformat(day))
    return Hit(None, audience, said[1:9])
