"""What pages say, in the language of whoever reads them: tables of words in TOML, a file a family of pages.

Every language has the same keys with the same {names}; no key stands in two files of a folder.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from markupsafe import Markup

DEFAULT = "en"
Words: TypeAlias = Mapping[str, str]
_QUALITY = re.compile(r"\s*q=([01](?:\.[0-9]{0,3})?)\s*")


def read(folder: Path) -> Mapping[str, Words]:
    """Return the words of a folder by language; each file has a table a language."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.toml")):
        for language, words in tomllib.loads(path.read_text("utf-8")).items():
            found.setdefault(language, {}).update(words)
    return found


class Voice(NamedTuple):
    """Speaks one language."""

    language: str
    words: Words

    def __call__(self, key: str, **values: str) -> Markup:
        """Return a sentence; what is put into it is escaped, what it is made of is ours."""
        return Markup(self.words[key]).format(**values)  # noqa: S704 - the table is part of the program

    def or_else(self, key: str, plain: str) -> str:
        """Return a sentence, or what stands there as it is where nobody has put it into words."""
        return self(key) if key in self.words else plain

    def about(self, key: str, who: str | None, **values: str) -> Markup:
        """Return a sentence about the person: by the masked address where it is known, else to "you" (`…_you`)."""
        twin = f"{key}_you"
        return self(twin if not who and twin in self.words else key, who=who or "", **values)


def voice(words: Mapping[str, Words], own: str | None, accepted: str) -> Voice:
    """Return the own language if we speak it, else the most wanted of an Accept-Language, else English."""
    wished = (own or "").lower().replace("_", "-").partition("-")[0]
    language = wished if wished in words else _accepted(words, accepted)
    return Voice(language, words[language])


def _accepted(words: Mapping[str, Words], text: str) -> str:
    wanted: list[tuple[float, str]] = []
    for item in text.lower().split(",")[:20]:
        tag, _, quality = item.partition(";")
        weight = _QUALITY.fullmatch(quality)
        wanted.append((float(weight[1]) if weight else 1.0, tag.strip().partition("-")[0]))
    best = sorted(wanted, key=lambda each: -each[0])
    return next((tag for weight, tag in best if weight and tag in words), DEFAULT)
