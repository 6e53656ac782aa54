"""Every error that a caller may meet.

MailerError
├── ConfigurationError          a setting is wrong; the process does not start
├── WrongVersion                the database was made by another version
├── Invalid                     what was asked cannot be done as it is (422)
│   ├── UnknownTemplate
│   └── TooMany
├── Unauthorized                no key, or one we do not know (401)
├── Forbidden                   the key may not do this (403)
├── NotFound                    no such thing for this tenant (404)
├── Conflict                    the thing is in another state (409)
└── Limited                     this was asked too often lately (429)
"""

from collections.abc import Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong with one value: where it stands, and a sentence that says the way out."""

    path: str
    message: str


class MailerError(Exception):
    """Something that a person should read; its text is one clear sentence."""


class ConfigurationError(MailerError, ValueError):
    """A setting is missing, unknown or malformed."""


class WrongVersion(MailerError):
    """The database was made by another version of this program."""


class Invalid(MailerError, ValueError):
    """The request cannot be accepted as it is."""

    def __init__(self, *problems: Problem) -> None:
        """Keep the problems, in the order in which they were found."""
        self.problems: Sequence[Problem] = problems
        super().__init__("; ".join(f"{path}: {message}" if path else message for path, message in problems))


class UnknownTemplate(Invalid):
    """There is no template of that name."""


class Unauthorized(MailerError):
    """The request carries no key, or one that is unknown or revoked."""


class Forbidden(MailerError):
    """The key lacks the scope that this needs, or is not the operator's where it must be."""


class NotFound(MailerError, LookupError):
    """There is no such thing for this tenant."""


class Conflict(MailerError):
    """The thing is in a state in which this cannot be done any more."""


class Limited(MailerError):
    """This was asked too often lately; later it can be asked again."""
