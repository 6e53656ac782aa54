"""The log of a process: one line a record on stderr, without addresses."""

import logging
import sys
import traceback

#: These tell of every connection, some with the addresses of people.
_QUIET = {"mail": logging.CRITICAL, "dramatiq": logging.ERROR, "alembic": logging.WARNING, "uvicorn": logging.WARNING}

_OURS = ("mailer", "suppression")


class _OneLine(logging.Formatter):
    """One record is one line; of a failure it names the kind and the place, not the words (they may hold values)."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{self.formatTime(record)} {record.levelname.lower()} {record.name}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            frames = traceback.extract_tb(error.__traceback__)
            place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
            text += f" [{type(error).__name__}{place}]"
        return " ".join(text.split())


def begin(*, debug: bool) -> None:
    """Send the log to stderr; with `debug` everything, tracebacks included."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s") if debug else _OneLine())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)
    for name, level in _QUIET.items():
        logging.getLogger(name).setLevel(logging.INFO if debug else level)


def quiet() -> None:
    """Log no more than warnings, as befits a command that prints its result; with `debug` all the same everything."""
    for name in _OURS:
        ours = logging.getLogger(name)
        if ours.level == logging.INFO:
            ours.setLevel(logging.WARNING)
