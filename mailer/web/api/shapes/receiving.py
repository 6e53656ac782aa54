"""What became of a mail that was handed in."""

from mailer.web.api.shapes.problems import Shape


class TakenView(Shape):
    """A mail was taken, and what it means is committed."""

    taken: bool
    #: As the listener would have said it.
    reply: str
