"""What mails are made of: a content is one version of a template, or one literal body."""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import cast

from jinja2 import Environment, meta
from jinja2.exceptions import TemplateSyntaxError

from mailer.compose.errors import ContentError
from mailer.compose.variables import Schema
from suppression.rules import Stream, valid_topic_key

BASE = "_base"

_KEYS = frozenset({"description", "stream", "topic", "urgency", "written_by", "variables"})
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
LOCALE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")


class Urgency(IntEnum):
    """Which transactional mail goes first."""

    URGENT = 0
    SINGLE = 1
    BULK = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """One locale's sources; without a text the text is made from the HTML."""

    subject: str
    html: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        """Refuse a body that is empty."""
        if self.html is None and self.text is None:
            raise ContentError("A content needs an HTML part, a text part, or both.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Everything a mail's body is rendered from, and nothing outside it: `base` holds the layouts it reaches."""

    name: str | None
    stream: Stream
    parts: Mapping[str, Parts]
    topic: str | None = None
    urgency: Urgency = Urgency.SINGLE
    written_by: str = "machine"
    schema: Schema = field(default_factory=lambda: Schema.parse({}))
    base: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    literal: bool = False
    default_locale: str = "en"
    description: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be rendered in any locale."""
        if not self.parts:
            raise ContentError(f"The template {self.name} has no locale.")
        if self.written_by not in ("machine", "person"):
            raise ContentError("written_by must be machine or person.")
        if self.topic is not None and not valid_topic_key(self.topic):
            raise ContentError(f"{self.topic!r} is not the key of a topic.")

    def locale_of(self, asked: str | None) -> str:
        """Return the locale that is rendered where this one is asked for: itself, its language, the default, any."""
        wanted = asked or ""
        for candidate in (wanted, wanted.partition("-")[0], self.default_locale):
            if candidate in self.parts:
                return candidate
        return min(self.parts)

    def speaks(self, locale: str) -> bool:
        """Return whether this locale or its language is there."""
        return locale in self.parts or locale.partition("-")[0] in self.parts

    def to_dict(self) -> dict[str, object]:
        """Return the content as plain data that JSON can hold."""
        return {
            "name": self.name,
            "stream": self.stream.value,
            "topic": self.topic,
            "urgency": self.urgency.name.lower(),
            "written_by": self.written_by,
            "description": self.description,
            "variables": dict(self.schema.declared),
            "parts": {
                locale: {"subject": parts.subject, "html": parts.html, "text": parts.text}
                for locale, parts in sorted(self.parts.items())
            },
            "base": dict(sorted(self.base.items())),
            "literal": self.literal,
            "default_locale": self.default_locale,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Content":
        """Read what to_dict wrote, or raise ContentError."""
        try:
            parts = cast("Mapping[str, Mapping[str, str | None]]", data["parts"])
            return cls(
                name=cast("str | None", data["name"]),
                stream=Stream(str(data["stream"])),
                topic=cast("str | None", data.get("topic")),
                urgency=Urgency[str(data.get("urgency", "single")).upper()],
                written_by=str(data.get("written_by", "machine")),
                description=str(data.get("description", "")),
                schema=Schema.parse(cast("Mapping[str, object]", data.get("variables", {}))),
                parts=MappingProxyType(
                    {
                        locale: Parts(part["subject"] or "", part.get("html"), part.get("text"))
                        for locale, part in parts.items()
                    }
                ),
                base=MappingProxyType(dict(cast("Mapping[str, str]", data.get("base", {})))),
                literal=bool(data.get("literal", False)),
                default_locale=str(data.get("default_locale", "en")),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ContentError(f"This is not a stored content: {error}.") from error

    def digest(self) -> str:
        """Return the SHA-256 of the content: the same wherever and whenever it is worked out."""
        plain = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()


def literal(stream: Stream, parts: Parts, *, topic: str | None = None, locale: str = "en") -> Content:
    """Return the content of a body that product code wrote out: printed as it is, never evaluated."""
    return Content(name=None, stream=stream, topic=topic, parts={locale: parts}, literal=True, default_locale=locale)


def load_folder(path: Path) -> Content:
    """Read `template.toml`, each locale's `subject.txt`, `body.html`, `body.txt`, and the bases that these reach."""
    if not _NAME.fullmatch(path.name):
        raise ContentError(f"A template's name is lower-case letters, digits and hyphens, unlike {path.name!r}.")
    settings = _settings(path)
    parts = {folder.name: _parts(folder) for folder in sorted(path.iterdir()) if folder.is_dir()}
    for locale in parts:
        if not LOCALE.fullmatch(locale):
            raise ContentError(f"The template {path.name} has a folder {locale!r} that is not a locale.")
    return Content(
        name=path.name,
        stream=_choice(path, settings, "stream", Stream),
        topic=str(settings["topic"]) if "topic" in settings else None,
        urgency=_urgency(path, settings),
        written_by=str(settings.get("written_by", "machine")),
        description=str(settings.get("description", "")),
        schema=Schema.parse(cast("Mapping[str, object]", settings.get("variables", {}))),
        parts=MappingProxyType(parts),
        base=MappingProxyType(_bases(path.parent, parts)),
        default_locale="en" if "en" in parts or not parts else min(parts),
    )


def _settings(path: Path) -> dict[str, object]:
    try:
        settings: dict[str, object] = tomllib.loads((path / "template.toml").read_text("utf-8"))
    except FileNotFoundError:
        raise ContentError(f"The template {path.name} has no template.toml.") from None
    except tomllib.TOMLDecodeError as error:
        raise ContentError(f"The template.toml of {path.name} cannot be read: {error}.") from error
    if unknown := sorted(settings.keys() - _KEYS):
        raise ContentError(f"The template.toml of {path.name} has an unknown setting: {', '.join(unknown)}.")
    return settings


def _choice(path: Path, settings: Mapping[str, object], key: str, kind: type[Stream]) -> Stream:
    try:
        return kind(str(settings.get(key)))
    except ValueError:
        words = ", ".join(kind)
        raise ContentError(f"The template.toml of {path.name} needs a {key}: one of {words}.") from None


def _urgency(path: Path, settings: Mapping[str, object]) -> Urgency:
    try:
        return Urgency[str(settings.get("urgency", "single")).upper()]
    except KeyError:
        raise ContentError(f"The urgency of {path.name} must be urgent, single or bulk.") from None


def _parts(folder: Path) -> Parts:
    subject = folder / "subject.txt"
    if not subject.is_file():
        raise ContentError(f"The template {folder.parent.name} has no {folder.name}/subject.txt.")
    html, text = folder / "body.html", folder / "body.txt"
    if not html.is_file() and not text.is_file():
        raise ContentError(f"The template {folder.parent.name} has no {folder.name}/body.html.")
    return Parts(subject.read_text("utf-8").strip(), *(_source(part) for part in (html, text)))


def _source(path: Path) -> str | None:
    return path.read_text("utf-8") if path.is_file() else None


def _bases(root: Path, parts: Mapping[str, Parts]) -> dict[str, str]:
    """Return the sources under `_base/` that the parts reach, so that a stored version needs no file."""
    found: dict[str, str] = {}
    waiting = [source for part in parts.values() for source in (part.html, part.text, part.subject) if source]
    environment = Environment(autoescape=True)
    while waiting:
        try:
            names = set(meta.find_referenced_templates(environment.parse(waiting.pop())))
        except TemplateSyntaxError:
            continue  # compiling says it better, with the line
        for name in names - found.keys():
            if name is None:
                continue  # refused when it is compiled
            if not re.fullmatch(rf"{BASE}/[a-z0-9_-]+(?:\.[a-z0-9]+)+", name):
                raise ContentError(f"A template extends and includes only files of {BASE}/, not {name!r}.")
            source = _source(root / name)
            if source is None:
                raise ContentError(f"There is no {name} to extend or include.")
            found[name] = source
            waiting.append(source)
    return dict(sorted(found.items()))


#: The child bounds its own computing: what else runs on the machine is not the template's fault.
_BUSY = 5
_CHILD = "import sys; sys.path[:0] = sys.argv[1:]; from mailer.compose import trial; trial.main()"


def try_in_child(content: Content, *, timeout: float = 2.0, memory: int = 64 * 1024 * 1024) -> None:
    """Render every locale with the example values in a child process, bounded in time and memory (R10.4).

    `timeout` is of computing; a busy machine may take five times as long by the clock.
    """
    asked = json.dumps({"content": content.to_dict(), "seconds": timeout, "memory": memory})
    root = str(Path(__file__).resolve().parents[2])
    try:
        child = subprocess.run(  # noqa: S603  (our own interpreter, our own module)
            [sys.executable, "-c", _CHILD, root],
            input=asked.encode(),
            capture_output=True,
            timeout=timeout * _BUSY,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ContentError(f"The template takes longer than {timeout:g} seconds to render.") from None
    if child.returncode:
        raise ContentError("The template takes too much time or memory to render.")
    answer = child.stdout.decode("utf-8", "replace").strip()
    if answer:
        raise ContentError(answer)
