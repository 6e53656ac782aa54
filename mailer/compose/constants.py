"""What is the same for all recipients of a mail, besides its content."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from mailer.compose.clicks import Clicking


@dataclass(frozen=True, slots=True)
class Constants:
    """What is the same for all recipients of a mail, besides its content."""

    locale: str
    sender_name: str = ""
    postal_address: str = ""
    topic_name: str = ""
    opt_out: bool = False
    view: bool = False
    promotional: bool = False
    pixel: bool = False
    #: None: no link is rewritten.
    clicking: Clicking | None = None
    #: The constants as templates see them.
    context: Mapping[str, object] = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what is asked for by each mail."""
        features = {"opt_out": self.opt_out, "view": self.view, "postal_address": bool(self.postal_address)}
        context = {
            "locale": self.locale,
            "sender": {"name": self.sender_name, "postal_address": self.postal_address},
            "topic": {"name": self.topic_name},
            "features": features,
        }
        object.__setattr__(self, "context", context)
        object.__setattr__(self, "_hash", hash((self.locale, self.topic_name, self.pixel, self.clicking)))

    def __hash__(self) -> int:
        """Return what was worked out at first."""
        return self._hash


@lru_cache(maxsize=1024)
def interned(constants: Constants) -> Constants:
    """Return the same object for equal constants, so that looking up a frame compares no fields."""
    return constants
