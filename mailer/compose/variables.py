"""The variables of a template: declared, typed, checked before anything is rendered."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from math import isfinite
from types import MappingProxyType
from typing import cast

from mailer.compose.errors import ContentError
from mailer.errors import Problem
from suppression import address

#: Names that every template has besides its own variables.
SYSTEM_NAMES = frozenset({"links", "sender", "recipient", "features", "locale", "subject", "topic"})

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_URL = re.compile('https?://[^\\s/?#<>"\\\\\x00-\x20\x7f]+(?:[/?#][^\\s<>"\\\\\x00-\x20\x7f]*)?', re.IGNORECASE)
_DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,6})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATETIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_KEYS = frozenset({"type", "required", "default", "description", "example", "items", "fields"})
_MONEY_KEYS = frozenset({"amount", "currency"})


@dataclass(frozen=True, slots=True)
class Variable:
    """One declared variable: its type, and what stands for it where it is absent."""

    type: str
    required: bool = True
    default: object = None
    description: str = ""
    example: object = None
    items: "Variable | None" = None
    fields: "Mapping[str, Variable]" = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Schema:
    """All variables that a template declares."""

    variables: Mapping[str, Variable]
    declared: Mapping[str, object]
    #: The names, where each variable is a line or lines of words, as most templates have no others; else empty.
    _words: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what each mail asks."""
        only = all(variable.type in ("string", "text") for variable in self.variables.values())
        object.__setattr__(self, "_words", frozenset(self.variables if only else ()))

    @classmethod
    def parse(cls, declared: Mapping[str, object]) -> "Schema":
        """Read the `[variables]` of a template.toml, or raise ContentError with one sentence."""
        plain = cast("dict[str, object]", _plain(declared))
        variables = {name: _variable(name, entry) for name, entry in plain.items()}
        for name in variables:
            if name in SYSTEM_NAMES:
                raise ContentError(f"The variable {name} cannot be declared: every template has {name} already.")
        return cls(variables, plain)

    def check(self, values: Mapping[str, object]) -> list[Problem]:
        """Return what is missing, unknown or mistyped, each as one sentence; empty when all is well."""
        problems: list[Problem] = []
        if not self._are_words(values) and not _are_right(self.variables, values):
            _check_fields(self.variables, values, "", problems)
        return problems

    def _are_words(self, values: Mapping[str, object]) -> bool:
        """Return whether every variable is there and surely right: printable words, which one look at all tells."""
        if not self._words or values.keys() != self._words:
            return False
        try:
            return "".join(cast("Mapping[str, str]", values).values()).isprintable()
        except TypeError:
            return False

    def complete(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return the values with defaults for what is absent; what has no default becomes None."""
        if self._words and values.keys() == self._words and None not in values.values():
            return dict(values)
        return _complete_fields(self.variables, values)

    def example(self) -> dict[str, object]:
        """Return values that pass the check: the declared examples, else made-up ones."""
        return {name: _example(variable) for name, variable in self.variables.items()}

    def json_schema(self) -> dict[str, object]:
        """Return the same rules as a JSON Schema (2020-12)."""
        return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_object_schema(self.variables)}


def _plain(value: object) -> object:
    """Return TOML's values as JSON knows them: its dates become text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.isoformat() if isinstance(value, date) else value


def _variable(path: str, entry: object) -> Variable:
    """Read one declaration."""
    if not _NAME.fullmatch(path.rpartition(".")[2].removesuffix("[]")):
        raise ContentError(f"The variable {path} needs a name of lower-case letters, digits and underscores.")
    if isinstance(entry, str):
        entry = {"type": entry}
    if not isinstance(entry, Mapping):
        raise ContentError(f'The variable {path} must be declared as a table such as {{type = "string"}}.')
    if unknown := sorted(set(entry) - _KEYS):
        raise ContentError(f"The variable {path} has an unknown setting: {', '.join(unknown)}.")
    kind = entry.get("type")
    if not isinstance(kind, str) or kind not in _RIGHT:
        raise ContentError(f"The variable {path} needs a type: one of {', '.join(_RIGHT)}.")
    required = entry.get("required", "default" not in entry)
    if not isinstance(required, bool):
        raise ContentError(f"The variable {path} has required = {required!r}; it must be true or false.")
    variable = Variable(
        type=kind,
        required=required and "default" not in entry,
        default=entry.get("default"),
        description=str(entry.get("description", "")),
        example=entry.get("example"),
        items=_variable(f"{path}[]", entry["items"]) if "items" in entry else None,
        fields=_fields(path, entry.get("fields", {})),
    )
    _check_declaration(path, variable)
    return variable


def _fields(path: str, entry: object) -> Mapping[str, Variable]:
    if not isinstance(entry, Mapping):
        raise ContentError(f"The fields of the variable {path} must be a table of declarations.")
    return MappingProxyType({name: _variable(f"{path}.{name}", value) for name, value in entry.items()})


def _check_declaration(path: str, variable: Variable) -> None:
    if variable.items is not None and variable.type != "list":
        raise ContentError(f"The variable {path} has items, which only a list has.")
    if variable.fields and variable.type != "object":
        raise ContentError(f"The variable {path} has fields, which only an object has.")
    for word in ("default", "example"):
        value = getattr(variable, word)
        problems: list[Problem] = []
        if value is not None:
            _check(variable, value, path, problems)
        if problems:
            raise ContentError(f"The {word} of the variable {path} is wrong: {problems[0].message}")


def _check_fields(
    variables: Mapping[str, Variable], values: Mapping[str, object], prefix: str, problems: list[Problem]
) -> None:
    for name, variable in variables.items():
        path, value = f"{prefix}{name}", values.get(name)
        if value is not None:
            _check(variable, value, path, problems)
        elif variable.required:
            problems.append(Problem(path, f"The variable {path} is missing; it must be {_EXPECTED[variable.type]}."))
    unknown = [f"{prefix}{name}" for name in values if name not in variables]
    problems.extend(Problem(path, f"The variable {path} is not declared here.") for path in unknown)


def _check(variable: Variable, value: object, path: str, problems: list[Problem]) -> None:
    if _RIGHT[variable.type](variable, value):
        return
    if variable.items is not None and isinstance(value, list | tuple):
        for index, entry in enumerate(value):
            _check(variable.items, entry, f"{path}[{index}]", problems)
    elif variable.fields and isinstance(value, Mapping):
        _check_fields(variable.fields, value, f"{path}.", problems)
    else:
        problems.append(Problem(path, f"The variable {path} must be {_EXPECTED[variable.type]}."))


def _are_right(variables: Mapping[str, Variable], values: Mapping[str, object]) -> bool:
    """Return whether nothing is missing, unknown or mistyped: nearly always so, and no path needs a name then."""
    for name, variable in variables.items():
        value = values.get(name)
        if value is None:
            if variable.required:
                return False
        elif not _RIGHT[variable.type](variable, value):
            return False
    return values.keys() <= variables.keys()


def _string(_variable: Variable, value: object) -> bool:
    return isinstance(value, str) and (value.isprintable() or not _CONTROL.search(value))


def _text(_variable: Variable, value: object) -> bool:
    return isinstance(value, str) and not _CONTROL_BUT_LINES.search(value)


def _url(_variable: Variable, value: object) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= 4096
        and _URL.fullmatch(value) is not None
        and (value.isprintable() or not _CONTROL.search(value))
    )


def _email(_variable: Variable, value: object) -> bool:
    try:
        address.parse(value if isinstance(value, str) else "")
    except address.AddressError:
        return False
    return True


def _integer(_variable: Variable, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 2**63


def _number(_variable: Variable, value: object) -> bool:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return numeric and abs(cast("float", value)) <= 2**63 and isfinite(cast("float", value))


def _boolean(_variable: Variable, value: object) -> bool:
    return isinstance(value, bool)


def _money(_variable: Variable, value: object) -> bool:
    if not isinstance(value, Mapping) or value.keys() != _MONEY_KEYS:
        return False
    amount, currency = value["amount"], value["currency"]
    numeric = isinstance(amount, str | int | float) and not isinstance(amount, bool)
    return numeric and bool(_DECIMAL.fullmatch(str(amount))) and bool(_CURRENCY.fullmatch(str(currency)))


def _date(_variable: Variable, value: object) -> bool:
    try:
        return isinstance(value, str) and bool(_DATE.fullmatch(value)) and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _datetime(_variable: Variable, value: object) -> bool:
    try:
        return (
            isinstance(value, str) and bool(_DATETIME.fullmatch(value)) and bool(datetime.fromisoformat(value.upper()))
        )
    except ValueError:
        return False


def _list(variable: Variable, value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    item = variable.items
    return item is None or all(map(partial(_RIGHT[item.type], item), value))


def _object(variable: Variable, value: object) -> bool:
    return isinstance(value, Mapping) and (not variable.fields or _are_right(variable.fields, value))


#: By the type: whether a value is one.
_RIGHT: dict[str, Callable[[Variable, object], bool]] = {
    "string": _string,
    "text": _text,
    "url": _url,
    "email": _email,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "money": _money,
    "date": _date,
    "datetime": _datetime,
    "list": _list,
    "object": _object,
}

_EXPECTED = {
    "string": "a string: one line of text without control characters",
    "text": "a text: lines without control characters",
    "url": "a url: an http or https address without spaces",
    "email": "an email address",
    "integer": "an integer",
    "number": "a number",
    "boolean": "a boolean: true or false",
    "money": 'money such as {"amount": "12.50", "currency": "EUR"}',
    "date": "a date such as 2027-03-01",
    "datetime": "a datetime with its offset such as 2027-03-01T09:30:00Z",
    "list": "a list",
    "object": "an object",
}

_EXAMPLES: dict[str, object] = {
    "string": "Example",
    "text": "An example\nof two lines.",
    "url": "https://example.com/",
    "email": "ann@example.com",
    "integer": 3,
    "number": 2.5,
    "boolean": True,
    "money": {"amount": "12.50", "currency": "EUR"},
    "date": "2027-03-01",
    "datetime": "2027-03-01T09:30:00+00:00",
}

_SCHEMAS: dict[str, dict[str, object]] = {
    "string": {"type": "string", "pattern": r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"},
    "text": {"type": "string"},
    "url": {"type": "string", "format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"},
    "email": {"type": "string", "format": "email"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "money": {
        "type": "object",
        "properties": {
            "amount": {"type": ["string", "number"]},
            "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
        },
        "required": ["amount", "currency"],
        "additionalProperties": False,
    },
    "date": {"type": "string", "format": "date"},
    "datetime": {"type": "string", "format": "date-time"},
    "list": {"type": "array"},
    "object": {"type": "object"},
}


def _complete_fields(variables: Mapping[str, Variable], values: Mapping[str, object]) -> dict[str, object]:
    completed: dict[str, object] = {}
    for name, variable in variables.items():
        value = values.get(name)
        if value is None:
            value = variable.default
        elif variable.fields or variable.items is not None:
            value = _complete(variable, value)
        completed[name] = value
    return completed


def _complete(variable: Variable, value: object) -> object:
    if variable.fields and isinstance(value, Mapping):
        return _complete_fields(variable.fields, value)
    if variable.items is not None and isinstance(value, list | tuple):
        return [_complete(variable.items, entry) for entry in value]
    return value


def _example(variable: Variable) -> object:
    for given in (variable.example, variable.default):
        if given is not None:
            return cast("object", json.loads(json.dumps(given)))
    if variable.type == "list":
        return [_example(variable.items)] if variable.items else ["Example"]
    if variable.type == "object":
        return {name: _example(entry) for name, entry in variable.fields.items()}
    return _EXAMPLES[variable.type]


def _object_schema(variables: Mapping[str, Variable]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": {name: _variable_schema(variable) for name, variable in variables.items()},
        "required": [name for name, variable in variables.items() if variable.required],
        "additionalProperties": False,
    }


def _variable_schema(variable: Variable) -> dict[str, object]:
    schema = dict(_SCHEMAS[variable.type])
    if variable.fields:
        schema = _object_schema(variable.fields)
    if variable.items is not None:
        schema["items"] = _variable_schema(variable.items)
    for key, value in (("description", variable.description), ("default", variable.default)):
        if value:
            schema[key] = value
    if variable.example is not None:
        schema["examples"] = [variable.example]
    return schema
