"""Where a person's address stands in words, and what stands there once they are erased. Pure."""

import re
from collections.abc import Collection, Mapping
from typing import cast

from suppression import address
from suppression.address import AddressError

ERASED = "[erased]"
_ANY_ADDRESS = re.compile(r"[^\s<>\"'(),;:=\[\]]+@[^\s<>\"'(),;:\[\]]+")


class Known:
    """The ways in which a person's addresses are written."""

    def __init__(self, written: Collection[str]) -> None:
        """Take the addresses as rows hold them."""
        self.written = frozenset(written) - {""}
        self._canonical = {_canonical(each) for each in self.written}
        longest_first = sorted(map(re.escape, self.written), key=len, reverse=True)
        # Not the end of a longer address: `ann@…` is no part of `joann@…`.
        self._found = re.compile(rf"(?<![\w.+-])(?:{'|'.join(longest_first)})(?![\w-])", re.IGNORECASE)

    def names(self, text: str) -> bool:
        """Return whether a text is one of the addresses."""
        return _canonical(text) in self._canonical

    def stand_in(self, text: str) -> bool:
        """Return whether one of the addresses stands in a text."""
        return bool(self.written) and self._found.search(text) is not None

    def without(self, value: object) -> object:
        """Return plain data without these addresses in its texts and names, however deep."""
        if isinstance(value, str):
            return self._found.sub(ERASED, value) if self.written else value
        if isinstance(value, Mapping):
            return {str(self.without(str(name))): self.without(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.without(each) for each in value]
        return value


def without_any(value: object) -> object:
    """Return plain data without any address in its texts, however deep."""
    if isinstance(value, str):
        return _ANY_ADDRESS.sub(ERASED, value)
    if isinstance(value, Mapping):
        return {name: without_any(each) for name, each in value.items()}
    return [without_any(each) for each in value] if isinstance(value, list) else value


def _canonical(text: str) -> str:
    try:
        return address.parse(text).canonical
    except AddressError:
        return text.casefold()


def mailboxes(value: object) -> list[tuple[str, str]]:
    """Return addresses as an email's details keep them: pairs of address and name."""
    return [(email, name) for email, name in cast("list[tuple[str, str]]", value or [])]
