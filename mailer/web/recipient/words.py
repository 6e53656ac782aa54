"""What recipients' pages say, in the language of the mail or of the browser.

A file of words a family of pages. Every language has the same keys with the same {names}; no key stands in two files. A
sentence about the person has a twin ending in _you, for when the address is no longer known.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from markupsafe import Markup

from mailer import resources

DEFAULT = "en"
_Words: TypeAlias = Mapping[str, str]
FOLDER = resources.templates() / "page" / "words"
_QUALITY = re.compile(r"\s*q=([01](?:\.[0-9]{0,3})?)\s*")


def _read() -> Mapping[str, _Words]:
    found: dict[str, dict[str, str]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for language, words in tomllib.loads(path.read_text("utf-8")).items():
            found.setdefault(language, {}).update(words)
    return found


WORDS = _read()
#: The languages that the pages speak, each by its own name.
SPOKEN: Mapping[str, str] = {language: words["language_name"] for language, words in WORDS.items()}
#: Names this version of all words: it stands beside a recorded yes, and the words of a release are in its source.
EDITION = hashlib.blake2b(
    repr(sorted((k, sorted(w.items())) for k, w in WORDS.items())).encode(), digest_size=8
).hexdigest()


class Voice(NamedTuple):
    """Speaks one language."""

    language: str

    def __call__(self, key: str, **values: str) -> Markup:
        """Return a sentence; what is put into it is escaped, what it is made of is ours."""
        return Markup(WORDS[self.language][key]).format(**values)  # noqa: S704 - the table is part of the program

    def or_else(self, key: str, plain: str) -> str:
        """Return a sentence, or what stands there as it is where nobody has put it into words."""
        return self(key) if key in WORDS[self.language] else plain

    def about(self, key: str, who: str | None, **values: str) -> Markup:
        """Return a sentence about the person: by the masked address where it is known, else to "you"."""
        twin = f"{key}_you"
        return self(twin if not who and twin in WORDS[self.language] else key, who=who or "", **values)


def voice(locale: str | None, accepted: str) -> Voice:
    """Return the language of the mail if we speak it, else the most wanted of the browser's, else English."""
    own = (locale or "").lower().replace("_", "-").partition("-")[0]
    return Voice(own if own in WORDS else _accepted(accepted))


def _accepted(text: str) -> str:
    wanted: list[tuple[float, str]] = []
    for item in text.lower().split(",")[:20]:
        tag, _, quality = item.partition(";")
        weight = _QUALITY.fullmatch(quality)
        wanted.append((float(weight[1]) if weight else 1.0, tag.strip().partition("-")[0]))
    best = sorted(wanted, key=lambda each: -each[0])
    return next((tag for weight, tag in best if weight and tag in WORDS), DEFAULT)
