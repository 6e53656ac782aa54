"""What a person reads where a command fails, and with which code it ends."""

import socket
from typing import NamedTuple

import asyncpg
import pydantic
import redis
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from mailer.compose.errors import ContentError
from mailer.errors import ConfigurationError, Invalid, MailerError, WrongVersion
from suppression.address import AddressError
from suppression.entries import EntryError, LiftError, WrongKey
from suppression.keys import KeyRingError
from suppression.rules import ScopeError

#: What was asked, or how we are set up, is wrong: asking again the same way is of no use.
USAGE = 2
#: What was asked is fine and could not be done.
FAILED = 1

_USAGE = (
    ConfigurationError,
    Invalid,
    WrongVersion,
    WrongKey,
    AddressError,
    EntryError,
    ScopeError,
    KeyRingError,
    ContentError,
)
_FAILED = (MailerError, LiftError)


class Failure(NamedTuple):
    """One sentence, and an exit code."""

    sentence: str
    exit_code: int


def explain(error: Exception) -> Failure | None:
    """Return what to say about an error; None where nobody foresaw it."""
    if isinstance(error, _USAGE):
        return Failure(_line(str(error)), USAGE)
    if isinstance(error, _FAILED):
        return Failure(_line(str(error)), FAILED)
    if isinstance(error, pydantic.ValidationError):
        return Failure(_line("; ".join(_problem(each) for each in error.errors())), USAGE)
    if isinstance(error, SQLAlchemyError | asyncpg.PostgresError | redis.RedisError):
        return Failure(f"the database or Redis does not do its part: {_cause(error)}", FAILED)
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        why = error.strerror or _line(str(error)) or "no answer in time"
        return Failure(
            f"the database cannot be reached ({why}): look at MAILER_DATABASE_URL, and whether it runs", FAILED
        )
    if isinstance(error, OSError):
        what = f"cannot use {error.filename}" if error.filename else "the system refuses"
        return Failure(f"{what}: {error.strerror or _line(str(error))}", FAILED)
    return None


def _problem(error: ErrorDetails) -> str:
    path = ".".join(str(part) for part in error["loc"])
    return f"{path}: {error['msg']}" if path else error["msg"]


def _cause(error: Exception) -> str:
    """Return the driver's words; those of a statement that failed may hold its values, so only the first line."""
    original = error.orig if isinstance(error, DBAPIError) else None
    text = str(original or error).strip()
    # asyncpg's errors come wrapped as "<class '…'>: words".
    return _line(text.partition("\n")[0].rpartition(">: ")[2]) or type(error).__name__


def _line(text: str) -> str:
    return " ".join(text.split())
