"""What a relay says that it can do: its answer to EHLO or LHLO, read once a connection."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Offers:
    """The extensions of a relay (lower case), and what follows from them."""

    extensions: frozenset[str] = frozenset()
    #: Octets of the largest mail that it takes, as sent but without doubled dots (RFC 1870 section 6.1).
    size_limit: int | None = None
    #: The answer to the dot is about the recipient, whose mailbox has the mail then (RFC 2033 section 4.2).
    lmtp: bool = False

    @classmethod
    def read(cls, announced: Mapping[str, str], *, lmtp: bool = False) -> Self:
        """Return what keywords and their parameters mean."""
        lines = {keyword.lower(): parameters.strip() for keyword, parameters in announced.items()}
        size = lines.get("size", "")
        # RFC 1870 section 4: 0 means that no limit is fixed, and a number may be left out.
        limit = int(size) or None if size.isascii() and size.isdigit() and len(size) <= 20 else None
        return cls(frozenset(lines), limit, lmtp)
