"""What is wrong with a content, a value or a header, as one sentence."""

from mailer.errors import MailerError


class ContentError(MailerError, ValueError):
    """The content, or what is to be printed into it, cannot become a mail as it is."""
