"""Where the files that are no Python lie, in the repository and in an installed wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def templates() -> Path:
    """Return the folder of templates: the wheel carries it inside the package, the repository beside it."""
    carried = _PACKAGE / "templates"
    return carried if carried.is_dir() else _PACKAGE.parent / "templates"
