"""Values as they stand on a command line: pairs, variables, moments."""

from collections.abc import Mapping, Sequence

import orjson

from mailer.compose.templates import Content
from mailer.errors import Invalid, Problem

#: Variables of these types are words, even where the words look like a number.
_WORDS = frozenset({"string", "text", "url", "email", "date", "datetime"})


def pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    """Return what `name=value` texts say."""
    found: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise Invalid(Problem(option, f"must be name=value, not {text!r}"))
        found[name.strip()] = value
    return found


def variables(given: Sequence[str] | None, document: str | None, body: Content | None) -> dict[str, object]:
    """Return the variables of `--variables-json` and, over them, of each `--var`.

    A value is JSON where it parses as JSON, but what the template declares as words stays words.
    """
    found = _document(document)
    for name, text in pairs(given, "--var").items():
        found[name] = _value(text, words=_type(body, name) in _WORDS)
    return found


def _document(document: str | None) -> dict[str, object]:
    if document is None:
        return {}
    try:
        value: object = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise Invalid(Problem("--variables-json", f"is not JSON: {error}")) from None
    if not isinstance(value, Mapping):
        raise Invalid(Problem("--variables-json", 'must be an object such as {"name": "Ann"}'))
    return dict(value)


def _value(text: str, *, words: bool) -> object:
    try:
        value: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return text if words and not isinstance(value, str) else value


def _type(body: Content | None, name: str) -> str:
    declared = body.schema.variables.get(name) if body is not None else None
    return declared.type if declared is not None else ""
