"""Coverage-guided fuzzing of what reads other people's mail and events, by atheris; beside the tests, not one of them.

pip install atheris && python -m tests.benchmarks.fuzzing mail|events SECONDS

It begins with the samples of tests/bounces, or the payloads of tests/providers, and ends at the first exception or at
an input that takes longer than ten seconds by the clock; `slowest_unit_time_sec` says what the slowest took.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mailer.feedback.inbound", "email"]):
    from mailer.errors import MailerError
    from mailer.feedback.inbound.parsing import LONGEST, read
    from tests.providers.test_bad_input import READ, TEMPLATES

_OWN = Path(__file__).parent.parent / "bounces" / "own"


def mail(raw: bytes) -> None:
    """Read a mail."""
    read(raw)


def events(raw: bytes) -> None:
    """Read a body as each provider's, signed as theirs where it is JSON, so that nothing stops at the signature."""
    with suppress(ValueError, RecursionError):
        body = json.loads(raw)
        for reads in READ.values():
            with suppress(MailerError):
                reads(body)


TARGETS: dict[str, tuple[Callable[[bytes], None], Iterable[bytes]]] = {
    "mail": (mail, (path.read_bytes() for path in sorted(_OWN.glob("*.eml")))),
    "events": (events, (json.dumps(body).encode() for _provider, body in TEMPLATES)),
}


def main(words: list[str]) -> None:
    """Fuzz one of the targets for so many seconds."""
    target, samples = TARGETS[words[0]]
    with tempfile.TemporaryDirectory() as folder:
        for number, sample in enumerate(samples):
            (Path(folder) / str(number)).write_bytes(sample)
        options = [
            "-timeout=10",
            f"-artifact_prefix={tempfile.gettempdir()}/",
            f"-max_len={min(LONGEST, 65536)}",
            f"-max_total_time={words[1]}",
            "-print_final_stats=1",
        ]
        atheris.Setup([sys.argv[0], *options, folder], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
