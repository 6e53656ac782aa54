"""A template of one's own: a new version of one that is there, or a new one; it is tried before it is kept."""

import json
from collections.abc import Sequence

from sqlmodel import Session
from starlette.responses import Response

from mailer import catalogue, tenancy
from mailer.audit import Act
from mailer.compose.templates import Content, Urgency
from mailer.drafts import TemplateDraft, parse
from mailer.errors import Invalid, NotFound, Problem
from mailer.models import Topic
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Handler, Screen
from mailer.web.dashboard.words import SPOKEN
from mailer.web.trying import tried
from suppression.rules import Stream

#: The row of the form for a language that the template does not speak yet.
OTHER = "other"
_SOURCES = ("subject", "html", "text")
#: How many octets the form may have.
_MOST = 1024 * 1024
_WRITERS = ("machine", "person")


async def show(asked: Asked) -> Response:
    """Show the sources of a version, to write the next one from."""
    name, number = asked.param("name"), asked.query("version", 9)

    def look(session: Session) -> tuple[Content, Sequence[Topic]]:
        if number.isascii() and number.isdigit():
            body = catalogue.version(session, asked.tenant_id, name, int(number)).body
        else:
            body = catalogue.current(session, asked.tenant_id, name).body
        return body, tenancy.topics(session, asked.tenant_id)

    body, topics = await asked.read(look)
    return _page(asked, name, body, topics)


async def show_new(asked: Asked) -> Response:
    """Show the form of a template that is not there yet."""
    topics = await asked.read(lambda session: tenancy.topics(session, asked.tenant_id))
    return _page(asked, "", None, topics)


def _page(asked: Asked, name: str, body: Content | None, topics: Sequence[Topic]) -> Response:
    spoken = [*SPOKEN, *(locale for locale in sorted(body.parts) if locale not in SPOKEN)] if body else [*SPOKEN]
    return asked.page(
        "template-edit.html",
        {
            "called": {"name": "template_name", "description": "template_description"},
            "name": name,
            "body": body,
            "streams": list(Stream),
            "topics": topics,
            "urgencies": [each.name.lower() for each in Urgency],
            "writers": _WRITERS,
            "locales": spoken,
            "other": OTHER,
            "declared": json.dumps(dict(body.schema.declared) if body else {}, ensure_ascii=False, indent=2),
            "checked": asked.form.one("do") == "check" and not asked.problems,
        },
    )


async def save(asked: Asked) -> Response:
    """Keep a new version of a template, or only say whether it could be kept."""
    return await _keep(asked, asked.param("name"), show)


async def create(asked: Asked) -> Response:
    """Keep the first version of a template of one's own, or only say whether it could be kept."""
    name = asked.form.one("name").strip()
    if await asked.read(lambda session: _is_known(session, asked, name)):
        raise Invalid(Problem("name", "is taken: open that template, and write a new version of it"))
    return await _keep(asked, name, show_new)


async def _keep(asked: Asked, name: str, again: Handler) -> Response:
    other = asked.form.one("locale").strip()
    try:
        body = await tried(parse(TemplateDraft, _draft(asked, name, other)))
    except Invalid as error:
        raise Invalid(*(Problem(_field(each.path, other), each.message) for each in error.problems)) from None
    if asked.form.one("do") == "check":
        return await again(asked)

    def verb(session: Session) -> None:
        version = catalogue.save(session, asked.tenant_id, body, asked.now)
        asked.log(session, Act.TEMPLATE_SAVED, name, version=version.version)

    await asked.run(verb)
    return asked.to(f"/templates/{name}", done="template_saved")


def _is_known(session: Session, asked: Asked, name: str) -> bool:
    try:
        catalogue.current(session, asked.tenant_id, name)
    except NotFound:
        return False
    return True


def _draft(asked: Asked, name: str, other: str) -> dict[str, object]:
    """Return what the form says, as product code would write it."""
    form = asked.form
    parts: dict[str, dict[str, str]] = {}
    for field in form.fields:
        source, _, row = field.partition("_")
        # A browser sends line ends as CR LF.
        text = form.one(field).replace("\r\n", "\n")
        if source in _SOURCES and row and text.strip():
            parts.setdefault(other if row == OTHER else row, {})[source] = text
    if "" in parts:
        raise Invalid(Problem("locale", "say which language these words are in, such as pl"))
    given: dict[str, object] = {
        each: form.one(each)
        for each in ("stream", "topic", "urgency", "written_by", "default_locale")
        if form.one(each)
    }
    return {
        **given,
        "name": name,
        "description": form.one("description").replace("\r\n", "\n"),
        "variables": _declared(form.one("variables")),
        "parts": parts,
    }


def _declared(text: str) -> object:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        where = f": line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise Invalid(Problem("variables", f"are not JSON{where}")) from None


def _field(path: str, other: str) -> str:
    """Return the field of the form that a path of the draft is: of `parts.uk.html`, `html_uk`."""
    parts = path.split(".")
    if parts[0] != "parts" or len(parts) == 1:
        return path
    row = OTHER if other and parts[1] == other else parts[1]
    return f"{parts[2]}_{row}" if len(parts) > 2 else f"subject_{row}"


SCREENS = (
    Screen("/new-template", May.EDIT_TEMPLATES, show_new, create, most=_MOST),
    Screen("/templates/{name}/edit", May.EDIT_TEMPLATES, show, save, most=_MOST),
)
