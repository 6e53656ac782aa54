"""A new version of a template is rendered once in a child process, before anything is kept of it (R10.4)."""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from mailer import catalogue
from mailer.compose import templates
from mailer.compose.errors import ContentError
from mailer.compose.templates import Content
from mailer.drafts import TemplateDraft
from mailer.errors import Invalid, Problem

#: Bounds how many child processes render new templates at once.
_TRIALS = ThreadPoolExecutor(2, thread_name_prefix="template-trial")
#: What a template's errors call a source, and the field that holds it.
_SOURCES: Mapping[str, str] = {"subject.txt": "subject", "body.html": "html", "body.txt": "text"}


async def tried(draft: TemplateDraft) -> Content:
    """Return the content that a draft describes, once every language rendered with its example values.

    Raises `Invalid` for `variables`, or for `parts.LOCALE.SOURCE` with the line that is wrong.
    """
    try:
        body = catalogue.drafted(draft)
    except ContentError as error:
        # The draft's own check let everything else pass.
        raise Invalid(Problem("variables", str(error))) from None
    await asyncio.get_running_loop().run_in_executor(_TRIALS, _try, body)
    return body


def _try(body: Content) -> None:
    """Render a new template in a child process, or raise `Invalid` with the part and the line that are wrong."""
    try:
        templates.try_in_child(body)
    except ContentError as error:
        locale, said = _culprit(body, str(error))
        source = next((source for source in _SOURCES if said.startswith(source)), None)
        path = f"parts.{locale}" + (f".{_SOURCES[source]}" if source else "")
        raise Invalid(Problem(path, said)) from None


def _culprit(body: Content, said: str) -> tuple[str, str]:
    """Return the first locale that does not render, and why: locales are tried in their order, so halving finds it."""
    locales = sorted(body.parts)
    while len(locales) > 1:
        half = locales[: len(locales) // 2]
        try:
            parts = {locale: body.parts[locale] for locale in half}
            templates.try_in_child(replace(body, parts=parts, default_locale=half[0]))
            locales = locales[len(half) :]
        except ContentError as error:
            locales, said = half, str(error)
    return locales[0], said
