"""What a benchmark measures, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass

from mailer.bench.letters import Size
from mailer.bench.signing import Dkim
from mailer.errors import Invalid, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    emails: int
    size: Size = Size.SMALL
    dkim: Dkim = Dkim.OFF
    workers: int = 1
    #: Of each worker.
    connections: int = 64
    #: Live entries in the suppression list.
    suppressed: int = 0
    #: How many readers of a hundred are among them, as far as the list goes.
    leaving: int = 20
    database_url: str = ""
    redis_url: str = ""
    #: PostgreSQL and Redis of the run's own.
    throwaway: bool = False

    def check(self) -> None:
        """Raise `Invalid` where the parts do not go together."""
        if bool(self.database_url) != bool(self.redis_url):
            raise Invalid(Problem("--database", "goes with --redis: both, or neither"))
        if self.throwaway and self.database_url:
            raise Invalid(Problem("--throwaway", "starts servers of its own: leave out --database and --redis"))
        if self.workers > 1 and not self.scaled:
            raise Invalid(Problem("--workers", "more than one needs --database and --redis, or --throwaway"))

    @property
    def leavers(self) -> Sequence[int]:
        """Return the readers who leave after their mail was accepted."""
        return [n for n in range(self.emails) if n * self.leaving % 100 < self.leaving][: self.suppressed]

    @property
    def scaled(self) -> bool:
        """Return whether workers are processes of their own."""
        return self.throwaway or bool(self.database_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was measured; the names are those of the JSON."""

    #: From the first claim to the last outcome.
    emails_per_second: float
    #: Of the workers; embedded, of the one process that does everything.
    cpu_seconds_per_1000: float
    #: Of the largest worker, in MB (10^6 bytes).
    peak_memory_mb: float
    smtp_source_per_second: float
    #: Emails a second to those of smtp-source.
    ratio: float
    sent: int
    suppressed: int
    #: Everything that is none of the other three.
    failed: int
    uncertain: int
    #: Of PostgreSQL and all its processes, where the run started it.
    database_cpu_seconds_per_1000: float | None
    sink_cpu_seconds_per_1000: float
    accepted_per_second: float
