"""A user's own pages: name and language, password, where they are signed in, the second step."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import segno
from markupsafe import Markup
from sqlmodel import Session
from starlette.responses import Response

from mailer.audit import Act
from mailer.errors import Invalid, Problem
from mailer.models import SignIn, User
from mailer.sealing import Seals
from mailer.users import accounts, factors, knocking, passwords, signing, totp
from mailer.web.dashboard.asking import Asked, OwnScreen
from mailer.web.dashboard.entering import hashed, is_password
from mailer.web.dashboard.words import SPOKEN

_MODULE = 4


async def show(asked: Asked) -> Response:
    """Show the user's own affairs."""

    def look(session: Session) -> tuple[Sequence[SignIn], int]:
        user = asked.visit.user
        return signing.listing(session, user.id, asked.now), factors.codes_left(session, user)

    sign_ins, codes = await asked.read(look)
    return asked.page(
        "account.html", {"sign_ins": sign_ins, "here": asked.visit.sign_in.id, "codes": codes, "spoken": SPOKEN}
    )


async def act(asked: Asked) -> Response:
    """Change name and language, or the password, or leave every other browser."""
    do = asked.form.one("do")
    if do == "profile":
        await asked.run(partial(_change_profile, asked))
        return asked.to("/account", done="profile_saved")
    if do == "leave":
        await asked.run(partial(_leave_others, asked))
        return asked.to("/account", done="left_others")
    await _check_password(asked)
    new, again = asked.form.one("password"), asked.form.one("again")
    if problem := passwords.weakness(new, asked.visit.user.email) or ("" if new == again else "password_unlike"):
        raise Invalid(Problem("new_password", problem))
    kept = await hashed(new)
    await asked.run(partial(_change_password, asked, kept))
    return asked.to("/account", done="password_changed")


@dataclass(frozen=True)
class Second:
    """The pages of the second step."""

    seals: Seals

    async def show(self, asked: Asked) -> Response:
        """Show whether it is on; codes that were made just now are shown this once."""
        user = asked.visit.user
        values: dict[str, object] = {
            "on": user.totp_at is not None,
            "codes": asked.told.get("codes", ()),
            "secret": "",
            "qr": "",
        }
        values["left"] = await asked.read(lambda session: factors.codes_left(session, user))
        if user.totp is not None and user.totp_at is None:
            secret = await asked.run(lambda session: factors.begin(session, accounts.get(session, user.id), self.seals))
            address = totp.uri(secret, user.email, str(asked.say("product")))
            values |= {"secret": totp.shown(secret), "qr": _qr(address)}
        return asked.page("second.html", values)

    async def act(self, asked: Asked) -> Response:
        """Begin, confirm, end it, or make other recovery codes; all but the confirming ask for the password."""
        do = asked.form.one("do")
        if do == "confirm":
            codes = await asked.run(partial(self._confirm, asked))
            if codes is None:
                raise Invalid(Problem("code", "code_wrong"))
            return asked.tell("/account/second", {"codes": codes})
        await _check_password(asked)
        if do == "codes":
            codes = await asked.run(partial(self._remake, asked))
            return asked.tell("/account/second", {"codes": codes})
        await asked.run(partial(self._end if do == "end" else self._begin, asked))
        return asked.to("/account/second", done="second_ended" if do == "end" else "")

    def _begin(self, asked: Asked, session: Session) -> None:
        factors.begin(session, accounts.get(session, asked.visit.user.id), self.seals)

    def _confirm(self, asked: Asked, session: Session) -> Sequence[str] | None:
        user = accounts.get(session, asked.visit.user.id)
        door = knocking.second(user.id)
        if knocking.knock(session, [door], asked.now):
            return None
        if not factors.confirm(session, user, self.seals, asked.form.one("code"), asked.now):
            return None
        knocking.let_in(session, door, ())
        # Whoever is signed in elsewhere has not shown it.
        signing.end_all(session, user.id, but=asked.visit.sign_in.id)
        asked.log(session, Act.FACTOR_ADDED)
        return factors.make_codes(session, user)

    def _remake(self, asked: Asked, session: Session) -> Sequence[str]:
        user = accounts.get(session, asked.visit.user.id)
        if user.totp_at is None:
            raise Invalid(Problem("", "second_is_off"))
        asked.log(session, Act.CODES_MADE)
        return factors.make_codes(session, user)

    def _end(self, asked: Asked, session: Session) -> None:
        factors.end(session, accounts.get(session, asked.visit.user.id))
        asked.log(session, Act.FACTOR_REMOVED)


async def _check_password(asked: Asked) -> None:
    """Raise `Invalid` unless the user's password was typed: an open browser alone changes no way in.

    Whoever came by the demo's link has none yet.
    """
    user: User = asked.visit.user
    if user.password is None:
        return
    door = knocking.account(user.email)
    if await asked.run(lambda session: knocking.knock(session, [door], asked.now)):
        raise Invalid(Problem("current", "too_many_tries"))
    if not await is_password(user.password, asked.form.one("current")):
        raise Invalid(Problem("current", "current_wrong"))
    await asked.run(lambda session: knocking.let_in(session, door, ()))


def _change_profile(asked: Asked, session: Session) -> None:
    user, name, locale = accounts.get(session, asked.visit.user.id), asked.form.one("name"), asked.form.one("locale")
    if len(name) > 200 or not name.isprintable():
        raise Invalid(Problem("name", "name_wrong"))
    if locale and locale not in SPOKEN:
        raise Invalid(Problem("locale", f"must be one of {', '.join(SPOKEN)}"))
    user.name, user.locale = name.strip(), locale
    session.add(user)
    asked.log(session, Act.PROFILE_CHANGED)


def _change_password(asked: Asked, kept: str, session: Session) -> None:
    accounts.set_password(session, accounts.get(session, asked.visit.user.id), kept, but=asked.visit.sign_in.id)
    asked.log(session, Act.PASSWORD_CHANGED)


def _leave_others(asked: Asked, session: Session) -> None:
    ended = signing.end_all(session, asked.visit.user.id, but=asked.visit.sign_in.id)
    asked.log(session, Act.EVERYWHERE_OUT, ended=ended)


def _qr(text: str) -> Markup:
    """Return a QR code as SVG: our letters made it, so that it may stand in the page as it is."""
    svg = segno.make(text, error="m").svg_inline(scale=_MODULE, border=4, svgclass="qr", lineclass=None, light="#fff")
    return Markup(svg)  # noqa: S704 - made by segno of an address of ours


def own(seals: Seals) -> tuple[OwnScreen, ...]:
    """Return a user's own pages."""
    second = Second(seals)
    return (OwnScreen("", show, act), OwnScreen("/second", second.show, second.act))
