"""A folder of page templates with the one style sheet that they share."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response


class Folder:
    """Renders the templates of a folder; `opened` makes it once a process."""

    def __init__(self, path: Path) -> None:
        """Read the style sheet; a template is read when it is wanted first."""
        self._templates = Environment(
            loader=FileSystemLoader(path),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # Templates are part of the release: nobody looks at each request whether a file changed.
            auto_reload=False,
        )
        self._style = (path / "style.css").read_text("utf-8")
        #: Stands in the sheet's address, so that a browser may keep it.
        self.version = hashlib.blake2b(self._style.encode(), digest_size=4).hexdigest()

    def render(self, template: str, values: Mapping[str, object]) -> str:
        """Return a page; what it names and is not given is an error."""
        return self._templates.get_template(template).render(values)

    def style(self, headers: Mapping[str, str]) -> Response:
        """Return the style sheet."""
        return Response(self._style, media_type="text/css", headers=headers)


@functools.cache
def opened(path: Path) -> Folder:
    """Return the folder at a path; every application of a process shares it, with what was compiled."""
    return Folder(path)
