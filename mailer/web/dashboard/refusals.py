"""Why something was refused, in the language of the page. What is raised stays English: the API and the CLI say it so.

`templates/dashboard/refusals` holds a file a family of sentences, in each a table a language:

    "there is no topic {key}" = "теми «{key}» немає"

The English has a hole for each value, and so has the other language. `{status:campaign}` says a value by the words of
the table `campaign`, a list of values each by itself; `{why:sentence}` says a value that is such a sentence itself, and
the row does not fit where nobody has put that one into words; `{why:said}` does the same, and leaves what is not ours
as it is; `{name:quoted}` takes off the quotes that Python puts around text, `{names:either}` lists what an "or" joins.
"""

import re
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from string import Formatter
from typing import NamedTuple, TypeAlias

from mailer import resources
from mailer.web.voices import Voice

FOLDER = resources.templates() / "dashboard" / "refusals"
#: Kind -> value -> how it is said.
_Kinds: TypeAlias = Mapping[str, Mapping[str, str]]
_ENDS = (".", "!", "?", "…")
#: Between sentences that were strung together: the problems of a line, or of an error.
_BETWEEN = re.compile(r"(?<=\.) (?=[A-Z])")
#: Characters of the longest text that is looked for, and how many sentences may stand in one another.
_LONGEST, _DEEPEST = 2000, 4
_STEP, _PLACE = re.compile(r"[.\[]"), re.compile(r"\[(\d+)\]")


class Row(NamedTuple):
    """A sentence in English, and how another language says it."""

    english: str
    pattern: re.Pattern[str]
    said: str
    #: Whether what it says may end with a full stop.
    may_stop: bool


class Told(NamedTuple):
    """A refusal beside other ones."""

    #: What the form calls the field, with its colon; empty where it is about none.
    field: str
    sentence: str


class _Unsaid(Exception):
    """A value that must be a sentence of ours is none."""


class Tongue:
    """One language: its sentences and the words for what stands in their holes."""

    def __init__(self, sentences: Mapping[str, str], kinds: _Kinds) -> None:
        """Compile the sentences: first what begins with words of ours, and of these what has most of them."""
        self.kinds = kinds
        rows = [Row(each, _pattern(each), said, _may_stop(each, said)) for each, said in sentences.items()]
        self.rows = sorted(rows, key=lambda row: (row.english[0] == "{", -_plain(row.english), row.english))

    def translated(self, sentence: str, depth: int = 0) -> str | None:
        """Return a sentence, or several in a row, in this language; None where they are not in the table."""
        if len(sentence) > _LONGEST or depth > _DEEPEST:
            return None
        parts = [self._one(part, depth) for part in _BETWEEN.split(sentence)]
        return self._one(sentence, depth) if len(parts) == 1 or None in parts else " ".join(filter(None, parts))

    def row_of(self, sentence: str) -> Row | None:
        """Return the row that says a sentence."""
        return next((row for row in self.rows if self._fill(row, sentence, 0) is not None), None)

    def _one(self, sentence: str, depth: int) -> str | None:
        return next((said for row in self.rows if (said := self._fill(row, sentence, depth)) is not None), None)

    def _fill(self, row: Row, sentence: str, depth: int) -> str | None:
        # A full stop is no part of a value, unless that is a sentence itself.
        if (sentence.endswith(".") and not row.may_stop) or (found := row.pattern.fullmatch(sentence)) is None:
            return None
        try:
            return row.said.format(**{name: _Value(self, value, depth) for name, value in found.groupdict().items()})
        except _Unsaid:
            return None


class _Value:
    """What stands in a hole; the language says how it wants it."""

    def __init__(self, tongue: Tongue, text: str, depth: int) -> None:
        self._tongue, self._text, self._depth = tongue, text, depth

    def __format__(self, kind: str) -> str:
        if kind in ("sentence", "said"):
            said = self._tongue.translated(self._text, self._depth + 1)
            if said is None and kind == "sentence":
                raise _Unsaid
            return self._text if said is None else said
        if kind == "quoted":
            quotes = self._text[:1] + self._text[-1:]
            return self._text[1:-1] if len(self._text) > 1 and quotes in ("''", '""') else self._text
        if kind == "either":
            return self._text.replace(" or ", ", ")
        words = self._tongue.kinds.get(kind, {})
        return words.get(self._text) or ", ".join(words.get(each, each) for each in self._text.split(", "))


def _pattern(english: str) -> re.Pattern[str]:
    """Return what matches a sentence in one pass: each hole but the last ends where what follows it stands first."""
    texts, names = _cut(english)
    pieces = re.escape(texts[0])
    for place, (name, after) in enumerate(zip(names, map(re.escape, texts[1:]), strict=True), 1):
        pieces += f"(?P<{name}>.*){after}" if place == len(names) else f"(?>(?P<{name}>.*?){after})"
    return re.compile(pieces, re.DOTALL)


def _cut(sentence: str) -> tuple[list[str], list[str]]:
    """Return what a sentence says by itself, before and behind each hole, and the names of the holes."""
    texts, names = [""], []
    for text, name, _, _ in Formatter().parse(sentence):
        texts[-1] += text
        if name is not None:
            texts.append("")
            names.append(name)
    return texts, names


def _may_stop(english: str, said: str) -> bool:
    return english.endswith(".") or any(kind in ("said", "sentence") for _, _, kind, _ in Formatter().parse(said))


def _plain(english: str) -> int:
    return sum(map(len, _cut(english)[0]))


def read(folder: Path) -> Mapping[str, Tongue]:
    """Return the languages of a folder."""
    sentences: dict[str, dict[str, str]] = {}
    kinds: dict[str, dict[str, Mapping[str, str]]] = {}
    for path in sorted(folder.glob("*.toml")):
        for language, table in tomllib.loads(path.read_text("utf-8")).items():
            for key, said in table.items():
                if isinstance(said, str):
                    sentences.setdefault(language, {})[key] = said
                else:
                    kinds.setdefault(language, {})[key] = said
    return {language: Tongue(rows, kinds.get(language, {})) for language, rows in sentences.items()}


#: Every language but English, which needs none.
TONGUES = read(FOLDER)


def refused(say: Voice, message: str) -> str:
    """Return why something was refused, as a sentence that stands by itself: `message` is a key of words, or English.

    What nobody has put into the language of the page is told in English.
    """
    said = _ended(say, message)
    # What begins with a value (a host, the name of a file) is written as it is.
    return said[:1].upper() + said[1:] if said.split(" ", 1)[0].strip(":;,.").isalpha() else said


def refused_at(say: Voice, path: str, message: str, called: Mapping[str, str]) -> Told:
    """Return the same with the field that it is about; `called` is field -> key of words, where that is not `field_…`.

    Of `variables.name` the form's `variables` is known, of `subject_pl` the subject; a list begins with number one.
    """
    name = _called(say, path, called)
    if not name or name.endswith("?"):
        return Told(name, refused(say, message))
    return Told(f"{name}:", _ended(say, message))


def refused_within(say: Voice, message: str) -> str:
    """Return the same as a part of another sentence."""
    tongue = TONGUES.get(say.language)
    return (tongue.translated(message) if tongue else None) or message


def _ended(say: Voice, message: str) -> str:
    said = say(message) if message in say.words else refused_within(say, message)
    return said if not said or said.endswith(_ENDS) else said + "."


def _called(say: Voice, path: str, called: Mapping[str, str]) -> str:
    if (key := called.get(path, f"field_{path}")) in say.words:
        return str(say(key))
    for head in (_STEP.split(path, maxsplit=1)[0], path.rpartition("_")[0]):
        if head != path and (key := f"field_{head}") in say.words:
            rest = _PLACE.sub(lambda place: f".{int(place[1]) + 1}", path[len(head) :])
            return f"{say(key)} ({rest.lstrip('._')})"
    return path


def tellers(say: Voice) -> Mapping[str, object]:
    """Return by what templates tell refusals."""
    return {each.__name__: partial(each, say) for each in (refused, refused_at, refused_within)}
