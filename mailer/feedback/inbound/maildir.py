"""A maildir into which a mail server of the operator's delivers: `new` is what nobody looked at, `cur` the rest."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from mailer.errors import ConfigurationError
from mailer.feedback.inbound.mailroom import KEPT

#: How `cur` says that a mail was seen, or seen and marked.
_SEEN, _MARKED = ":2,S", ":2,FS"


class Maildir:
    """A box whose mails are files; a mail is moved only after what it means is committed."""

    def __init__(self, folder: Path) -> None:
        """Open a maildir; raises `ConfigurationError` where it is none."""
        if not all((folder / name).is_dir() for name in ("new", "cur")):
            raise ConfigurationError(f"--maildir: {folder} is no maildir: it needs the folders new and cur")
        self._new, self._cur = folder / "new", folder / "cur"

    def waiting(self) -> Sequence[str]:
        """Return the names of the files in `new`, the oldest first, as deliverers name them by time."""
        return sorted(path.name for path in self._new.iterdir() if path.is_file() and not path.name.startswith("."))

    def read(self, name: str) -> bytes | None:
        """Return the beginning of a mail; None where another process has moved it meanwhile."""
        with suppress(FileNotFoundError), (self._new / name).open("rb") as file:
            return file.read(KEPT)
        return None

    def settle(self, name: str, *, known: bool) -> None:
        """Move a mail to `cur`, marked where it is none of ours."""
        with suppress(FileNotFoundError):
            (self._new / name).rename(self._cur / f"{name}{_SEEN if known else _MARKED}")

    def close(self) -> None:
        """Nothing is open."""
