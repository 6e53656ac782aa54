"""Plain data checked against a type, and what is wrong with it in sentences."""

from collections.abc import Mapping
from typing import Literal, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from mailer.errors import Invalid, Problem

B = TypeVar("B", bound=BaseModel)

_SHOWN = 100
_SENTENCES = {
    "missing": "is required",
    "extra_forbidden": "is not a field that is known here",
    "string_type": "must be text",
    "bytes_type": "must be base64 text",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "list_type": "must be a list",
}


def wrong(message: str, path: str = "") -> PydanticCustomError:
    """Return the error that says one sentence about a value, or about the field of it that `path` names."""
    return PydanticCustomError("wrong", cast("Literal['']", "{message}"), {"message": message, "path": path})


def parse(kind: type[B], data: object) -> B:
    """Return the checked draft of plain data, or raise `Invalid` with every problem."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise Invalid(*problems_of(error, data)) from None


def problems_of(error: ValidationError, data: object) -> list[Problem]:
    """Return what pydantic found, each with the path that the caller wrote."""
    found = error.errors(include_url=False, include_input=False)
    return list(dict.fromkeys(Problem(_path(each, data), _sentence(each)) for each in found[:_SHOWN]))


def _sentence(error: ErrorDetails) -> str:
    told = error["msg"].removeprefix("Input ")
    if error["type"] == "too_short" and error["loc"][-1:] == ("to",):
        return "name at least one recipient"
    return _SENTENCES.get(error["type"]) or (told if error["type"] == "wrong" else told[0].lower() + told[1:])


def _path(error: ErrorDetails, data: object) -> str:
    """Walk the caller's own data, so that no step shows that only our types know."""
    path, steps = "", [*error["loc"], *filter(None, [error.get("ctx", {}).get("path")])]
    for number, step in enumerate(steps):
        if isinstance(data, Mapping) and (step in data or number == len(steps) - 1) and isinstance(step, str):
            path, data = f"{path}.{step}" if path else step, data.get(step)
        elif isinstance(data, list | tuple) and isinstance(step, int) and step < len(data):
            path, data = f"{path}[{step}]", data[step]
    return path[:200]
