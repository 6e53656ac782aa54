"""Why a mail was refused: one table of codes and of words, for answers in a session and for reports that come later."""

from mailer.causes.category import Category
from mailer.causes.judging import Cause, Command, Said, code_of, enhanced_of, judge, without_addresses

__all__ = ["Category", "Cause", "Command", "Said", "code_of", "enhanced_of", "judge", "without_addresses"]
