"""The child process that renders a content for the first time, with bounds that the parent set."""

import contextlib
import json
import math
import resource
import sys
from pathlib import Path
from typing import cast

from mailer.compose.errors import ContentError
from mailer.compose.skeleton import rehearse
from mailer.compose.templates import Content

_MARGIN = 16 * 1024 * 1024


def main() -> None:
    """Read the content from stdin; print what is wrong as one sentence, or nothing."""
    asked = cast("dict[str, object]", json.load(sys.stdin))
    _limit(float(str(asked["seconds"])), int(str(asked["memory"])))
    try:
        rehearse(Content.from_dict(cast("dict[str, object]", asked["content"])))
    except ContentError as error:
        sys.stdout.write(str(error))
    except (MemoryError, RecursionError):
        sys.stdout.write("The template takes too much memory to render.")


def _limit(seconds: float, memory: int) -> None:
    """Bound the child: what the interpreter holds already, and this much more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    whole = max(1, math.ceil(used.ru_utime + used.ru_stime + seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole + 1))
    statistics = Path("/proc/self/statm")
    if statistics.exists():
        held = int(statistics.read_text().split()[0]) * resource.getpagesize()
        most = held + memory + _MARGIN
        with contextlib.suppress(ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
