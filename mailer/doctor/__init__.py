"""Self-tests of an installation by its own means: does unsubscribing work for the mail that really arrives?"""

from mailer.doctor.findings import Finding, Verdict, holds
from mailer.doctor.walking import Asked, Report, examine

__all__ = ["Asked", "Finding", "Report", "Verdict", "examine", "holds"]
