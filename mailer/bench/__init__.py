"""`mailer bench`: how fast this machine sends, on the real way from row to relay."""

from mailer.bench.letters import Size
from mailer.bench.plans import Plan, Result
from mailer.bench.running import Progress, run
from mailer.bench.signing import Dkim

__all__ = ["Dkim", "Plan", "Progress", "Result", "Size", "run"]
