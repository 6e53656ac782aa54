"""Recipients as lines, NDJSON or CSV: bytes in, recipients and refused lines out. Pure, and flat in memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import orjson

from mailer import storable
from mailer.compose import headers
from mailer.compose.templates import LOCALE
from mailer.compose.variables import Schema
from mailer.errors import Invalid, Problem
from suppression import address
from suppression.address import Address, AddressError
from suppression.lines import MOST_LINE, TOO_LONG, Records, Refusal, delimiter_of, fields_of

_LONGEST_NAME = 200
#: The column of `email` has no more room.
_LONGEST_LOCALE = 10
_FIELDS = frozenset({"email", "to", "name", "locale", "variables"})
#: Columns of a CSV file that say something of the person; every other one is a variable.
_OF_PEOPLE = ("name", "locale")
_MAILBOX = frozenset({"email", "name"})
_ADDRESSES = ("email", "address")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


class Format(StrEnum):
    """How recipients are written down."""

    NDJSON = "ndjson"
    CSV = "csv"


class Recipient(NamedTuple):
    """A person to add, with the variables that are theirs alone."""

    address: Address
    name: str
    variables: Mapping[str, object]
    #: The language that the list names for them.
    locale: str | None = None


Item: TypeAlias = Recipient | Refusal


@dataclass(frozen=True, slots=True)
class Wanted:
    """What each recipient must and may bring: the template's variables, less what all recipients share."""

    schema: Schema

    @classmethod
    def of(cls, schema: Schema, shared: Mapping[str, object]) -> "Wanted":
        """Return what is left to the recipients; their own values win over shared ones."""
        variables = {
            name: replace(variable, required=variable.required and shared.get(name) is None)
            for name, variable in schema.variables.items()
        }
        return cls(Schema(variables, schema.declared))

    @property
    def required(self) -> list[str]:
        """Return the names of what every recipient must bring."""
        return [name for name, variable in self.schema.variables.items() if variable.required]

    def recipient(self, line: int, email: str, name: str, variables: Mapping[str, object], locale: str = "") -> Item:
        """Return one recipient, or why there is none."""
        try:
            who = address.parse(email)
        except AddressError as error:
            return Refusal(line, str(error))
        if len(name) > _LONGEST_NAME:
            return Refusal(line, f"the name is longer than {_LONGEST_NAME} characters")
        if name and (why := headers.forbidden(name)):
            return Refusal(line, f"the name {why}")
        if locale and (len(locale) > _LONGEST_LOCALE or not LOCALE.fullmatch(locale)):
            return Refusal(line, "locale must be a language such as uk or pt-BR, or be left out")
        if problems := self.schema.check(variables):
            return Refusal(line, " ".join(problem.message for problem in problems[:3]))
        if (path := storable.unstorable(variables)) is not None:
            return Refusal(line, f"the variable {path} {storable.SENTENCE}")
        return Recipient(who, name, variables, locale or None)

    def read(self, line: int, data: object) -> Item:
        """Return the recipient that plain data means: an address, or an object with email, name and variables."""
        if isinstance(data, str):
            return self.recipient(line, data, "", {})
        if not isinstance(data, Mapping):
            return Refusal(line, 'must be an object such as {"email": "ann@example.org", "variables": {}}')
        if unknown := [str(name)[:40] for name in data if name not in _FIELDS]:
            return Refusal(line, f"{unknown[0]} is not a field that is known here: values of its own go into variables")
        if "email" in data and "to" in data:
            return Refusal(line, "has both email and to, which are the same: keep one")
        whom: object = data.get("email", data.get("to"))
        name: object = data.get("name")
        if isinstance(whom, dict) and whom.keys() <= _MAILBOX:
            name = name or whom.get("name")
            whom = whom.get("email")
        variables: object = data.get("variables")
        if not isinstance(whom, str):
            return Refusal(line, "email is required, as text")
        if not isinstance(name, str | None):
            return Refusal(line, "name must be text")
        if not isinstance(variables, Mapping | None):
            return Refusal(line, "variables must be an object")
        if not isinstance(locale := data.get("locale"), str | None):
            return Refusal(line, "locale must be text")
        return self.recipient(line, whom, name or "", variables or {}, locale or "")


class Reader:
    """Takes bytes as they come and gives back what their lines say; it never holds more than one line."""

    def __init__(self, form: Format, wanted: Wanted) -> None:
        """Begin before the first line."""
        self._rest = b""
        self._overlong = False
        self._line = 0
        self._table = _Table(wanted) if form is Format.CSV else None
        self._wanted = wanted

    def feed(self, data: bytes) -> Iterator[Item]:
        """Return what the lines say that end in these bytes; `Invalid` where the whole file is of no use."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            yield from self._take(line)
        if self._overlong or len(self._rest) > MOST_LINE:
            self._overlong, self._rest = True, b""

    def close(self) -> Iterator[Item]:
        """Return what the last line says where no line end stands behind it, and what was left open."""
        if self._rest or self._overlong:
            yield from self._take(self._rest)
        if self._table is not None:
            yield from self._table.close()
        if not self._line:
            raise Invalid(Problem("recipients", "there are none: the body is empty"))

    def _take(self, line: bytes) -> Iterator[Item]:
        self._line += 1
        if self._line == 1:
            line = _opened(line)
        if self._overlong or len(line) > MOST_LINE:
            self._overlong = False
            yield Refusal(self._line, TOO_LONG)
            return
        line = line.rstrip(b"\r")
        if self._table is not None:
            yield from self._table.take(self._line, line)
        elif line.strip():
            try:
                data: object = orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield Refusal(self._line, f"is not JSON: {error}")
            else:
                yield self._wanted.read(self._line, data)


def _opened(line: bytes) -> bytes:
    """Return the first line without a byte order mark."""
    if line.startswith(_UTF16) or b"\x00" in line:
        raise Invalid(Problem("recipients", "is UTF-16, or no text at all: save the file as UTF-8"))
    return line.removeprefix(_UTF8_MARK)


class _Table:
    """A CSV file (RFC 4180): a header, then a recipient a record."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._records: Records[Recipient] | None = None
        self._width = 0
        self._email, self._name, self._locale = 0, -1, -1
        self._values: list[tuple[int, str, Callable[[str], object]]] = []

    def take(self, number: int, line: bytes) -> Iterator[Item]:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"is not UTF-8 (byte 0x{line[error.start]:02x}): save the file as UTF-8"
            if self._records is None:
                raise Invalid(Problem("recipients", f"the header {reason}")) from None
            yield Refusal(number, reason)
            return
        if self._records is None:
            self._head(text)
        else:
            yield from self._records.take(number, text)

    def close(self) -> Iterator[Item]:
        if self._records is not None:
            yield from self._records.close()

    def _head(self, text: str) -> None:
        delimiter = delimiter_of(text)
        columns = [name.strip().lower() for name in fields_of(text, delimiter)]
        found = [name for name in columns if name in _ADDRESSES]
        if len(found) != 1:
            way = "name one of its columns email" if not found else "keep one of the columns email and address"
            raise Invalid(Problem("recipients", f"the first line must be a header with the addresses' column: {way}"))
        if len(set(columns)) < len(columns):
            raise Invalid(Problem("recipients", "the header names one column twice"))
        own = [name for name in columns if name not in (found[0], *_OF_PEOPLE)]
        declared = self._wanted.schema.variables
        if unknown := [name for name in own if name not in declared]:
            sentence = f"the column {unknown[0][:64]!r} is no variable of the template: rename or remove it"
            raise Invalid(Problem("recipients", sentence))
        if missing := [name for name in self._wanted.required if name not in columns]:
            raise Invalid(Problem("recipients", f"the column {missing[0]} is missing, which the template needs"))
        self._records = Records(delimiter, self._record)
        self._width, self._email = len(columns), columns.index(found[0])
        # A template may well declare a `name`: the column then is both.
        self._name, self._locale = (columns.index(name) if name in columns else -1 for name in _OF_PEOPLE)
        values = [*own, "name"] if "name" in columns and "name" in declared else own
        self._values = [(columns.index(name), name, _READERS.get(declared[name].type, str)) for name in values]

    def _record(self, number: int, fields: list[str]) -> Item:
        if len(fields) != self._width:
            return Refusal(number, f"has {len(fields)} field{'s' * (len(fields) != 1)}, the header has {self._width}")
        try:
            values = {name: read(fields[place]) for place, name, read in self._values if fields[place]}
        except ValueError as error:
            return Refusal(number, str(error))
        name, locale = (fields[place].strip() if place >= 0 else "" for place in (self._name, self._locale))
        return self._wanted.recipient(number, fields[self._email].strip(), name, values, locale)


def _number(text: str) -> object:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            # The schema says better what is expected.
            return text


def _truth(text: str) -> object:
    return _TRUTHS.get(text.strip().lower(), text)


def _json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


#: Declared type -> what a cell's text means; every other type is text.
_READERS: Mapping[str, Callable[[str], object]] = {
    "integer": _number,
    "number": _number,
    "boolean": _truth,
    "money": _json,
    "list": _json,
    "object": _json,
}


def value_of(kind: str, text: str) -> object:
    """Return what a text that somebody typed means for a variable of a declared type; the schema judges it."""
    return _READERS.get(kind, str)(text)
