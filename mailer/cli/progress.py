"""How far a long file is read, on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

_PIECE = 256 * 1024


@contextmanager
def reading(file: IO[bytes], size: int | None, title: str) -> Iterator[Iterator[bytes]]:
    """Hand out a file piece by piece, and show how much of its `size` is read; no size where nobody knows."""
    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=size)

        def pieces() -> Iterator[bytes]:
            while piece := file.read(_PIECE):
                yield piece
                progress.advance(task, len(piece))

        yield pieces()
