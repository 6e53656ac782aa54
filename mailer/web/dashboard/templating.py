"""Templates: each version as its reader sees it, on a phone and a desk, in light and dark, and as text."""

import asyncio
import base64
import binascii
import json
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import catalogue, submission
from mailer.audit import Act
from mailer.catalogue import Look, Version
from mailer.compose.errors import ContentError
from mailer.compose.remarks import remarks
from mailer.drafts import Draft, parse
from mailer.errors import Forbidden, Invalid, NotFound, Problem
from mailer.inbox import Reading
from mailer.models import Opens
from mailer.status import Status
from mailer.submission import Accepted, Submitter
from mailer.users.permissions import May
from mailer.web.dashboard import framing
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.framing import Scheme

#: How many octets of variables a preview takes; its addresses hold them, compressed.
_VARIABLES = 32 * 1024
_LONGEST_VALUES = 6000


class _Chosen(NamedTuple):
    """What is looked at: a version, and how."""

    version: Version
    #: Whether a new email would get it.
    current: bool
    locale: str
    scheme: Scheme
    variables: Mapping[str, object]


class _Seen(NamedTuple):
    chosen: _Chosen
    versions: Sequence[Version]
    look: Look


async def listing(asked: Asked) -> Response:
    """Show every template in the version that a new email gets."""
    found = await asked.read(lambda session: catalogue.listing(session, asked.tenant_id))
    return asked.page("templates.html", {"templates": found})


async def show(asked: Asked) -> Response:
    """Show one version of a template, filled with its examples or with what was typed."""
    values = _given(asked)
    seen = await asked.read(partial(_look, asked, values))
    chosen, body = seen.chosen, seen.chosen.version.body
    reading, wrong = await _read(asked, seen)
    part = body.parts[body.locale_of(chosen.locale)]
    query = {"version": _said(asked, "version"), "values": asked.query("values", _LONGEST_VALUES)}
    found = remarks(reading.subject, reading.html, written_text=part.text is not None) if reading else []
    return asked.page(
        "template.html",
        {
            "name": asked.param("name"),
            "chosen": chosen,
            "body": body,
            "versions": seen.versions,
            "reading": reading,
            "wrong": wrong,
            "remarks": found,
            "schemes": list(Scheme),
            "query": query,
            "typed": json.dumps(chosen.variables, ensure_ascii=False, indent=2),
            "unspoken": not body.speaks(asked.tenant.locale),
            "own": any(not each.shipped and each.retired_at is None for each in seen.versions),
        },
    )


async def act(asked: Asked) -> Response:
    """Look at a template with other variables, send it to somebody to look at, or go back to the shipped one."""
    do = asked.form.one("do")
    name = asked.param("name")
    if do == "preview":
        return asked.to(f"/templates/{name}", **_query(asked), values=packed(_typed(asked)))
    if not asked.may(May.EDIT_TEMPLATES):
        raise Forbidden("your role may look at templates, and no more")
    if do == "test":
        accepted = await asked.run(partial(_test, asked))
        asked.service.ring(accepted.stream)
        done = "template_not_tested" if accepted.status is Status.SUPPRESSED else "template_tested"
        return asked.to(f"/templates/{name}", **_query(asked), done=done, values=packed(_typed(asked)))
    if do == "retire":
        await asked.run(partial(_retire, asked))
        return asked.to("/templates", done="template_retired")
    raise Invalid(Problem("do", "must be one of preview, test, retire"))


async def frame(asked: Asked) -> Response:
    """Show the HTML of a version alone, shut off from the page that frames it."""
    seen = await asked.read(partial(_look, asked, _given(asked)))
    reading, _ = await _read(asked, seen)
    if reading is None or reading.html is None:
        raise NotFound("this mail has no HTML to show")
    return framing.template(reading.html, seen.chosen.scheme)


def packed(variables: Mapping[str, object]) -> str:
    """Return variables as the address of a preview holds them; raises `Invalid` where they are too many."""
    data = json.dumps(variables, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    text = base64.urlsafe_b64encode(zlib.compress(data, 9)).decode().rstrip("=")
    if len(data) > _VARIABLES or len(text) > _LONGEST_VALUES:
        raise Invalid(Problem("variables", "are too long for a preview: shorten them"))
    return text


def unpacked(text: str) -> dict[str, object] | None:
    """Return the variables of an address; None where it holds none that can be read."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        # A few octets can stand for very many.
        plain = zlib.decompressobj().decompress(data, _VARIABLES)
        found: object = json.loads(plain)
    except (binascii.Error, zlib.error, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _given(asked: Asked) -> dict[str, object] | None:
    text = asked.query("values", _LONGEST_VALUES)
    return unpacked(text) if text else None


def _query(asked: Asked) -> dict[str, str]:
    return {name: asked.form.one(name)[:20] for name in ("version", "locale", "scheme")}


def _said(asked: Asked, name: str) -> str:
    """Return what the address says, or the form that is shown again."""
    return asked.query(name, 20) or asked.form.one(name)[:20]


def _typed(asked: Asked) -> dict[str, object]:
    """Return the variables of the form."""
    try:
        found: object = json.loads(asked.form.one("variables") or "{}")
    except (ValueError, RecursionError) as error:
        where = f": line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Invalid(Problem("variables", f"are not JSON{where}")) from None
    if not isinstance(found, dict):
        raise Invalid(Problem("variables", 'must be an object, such as {"name": "Ann"}'))
    return found


def _look(asked: Asked, given: dict[str, object] | None, session: Session) -> _Seen:
    name, number = asked.param("name"), _said(asked, "version")
    kept = catalogue.versions(session, asked.tenant_id, name)
    current = _current(session, asked, kept)
    version = _version(kept, number) if number else current
    body, scheme = version.body, _said(asked, "scheme")
    locale = body.locale_of(_said(asked, "locale") or asked.say.language)
    values = body.schema.example() if given is None else given
    chosen = _Chosen(
        version, version == current, locale, Scheme.DARK if scheme == Scheme.DARK else Scheme.LIGHT, values
    )
    look = catalogue.look_of(session, asked.tenant_id, body, values, locale=locale)
    return _Seen(chosen, kept or [current], look)


def _current(session: Session, asked: Asked, kept: Sequence[Version]) -> Version:
    """Return what a new email gets; of a template that is retired, and that nothing replaces, its last version."""
    try:
        return catalogue.current(session, asked.tenant_id, asked.param("name"))
    except NotFound:
        if kept:
            return kept[0]
        raise


def _version(kept: Sequence[Version], number: str) -> Version:
    for version in kept:
        if str(version.version) == number:
            return version
    raise NotFound("there is no such version")


async def _read(asked: Asked, seen: _Seen) -> tuple[Reading | None, Sequence[Problem]]:
    """Return the mail as its reader gets it, or what the compiler says against it."""
    try:
        return await asyncio.to_thread(catalogue.preview, seen.chosen.version.body, seen.look, asked.now), ()
    except Invalid as error:
        return None, error.problems
    except ContentError as error:
        return None, (Problem("", str(error)),)


def _test(asked: Asked, session: Session) -> Accepted:
    """Send the current version to one address, as a test of a campaign goes: outside of every report."""
    name, form = asked.param("name"), asked.form
    body = catalogue.current(session, asked.tenant_id, name).body
    given = {
        "stream": body.stream.value,
        "template": name,
        "to": form.one("to").strip(),
        "variables": _typed(asked),
        "locale": form.one("locale")[:10] or None,
        "tags": {"test": "true"},
        "tracking": {"opens": Opens.OFF.value, "clicks": Opens.OFF.value},
    }
    draft = parse(Draft, {key: value for key, value in given.items() if value is not None})
    sender = Submitter.trusted(asked.tenant_id)
    accepted = submission.submit(session, sender, draft, asked.service.intake, asked.now)
    asked.log(session, Act.TEMPLATE_TESTED, name)
    return accepted


def _retire(asked: Asked, session: Session) -> None:
    number = catalogue.retire(session, asked.tenant_id, asked.param("name"), asked.now)
    asked.log(session, Act.TEMPLATE_RETIRED, asked.param("name"), versions=number)


SCREENS = (
    Screen("/templates", May.SEE_TEMPLATES, listing),
    Screen("/templates/{name}", May.SEE_TEMPLATES, show, act),
    Screen("/templates/{name}/frame", May.SEE_TEMPLATES, frame),
)
