"""What the erasure of a person met."""

from pydantic import Field

from mailer.web.api.shapes.problems import Shape


class ErasedView(Shape):
    """What an erasure met; it names nobody."""

    suppression_id: str = Field(description="The entry that keeps the person from getting what may be left.")
    emails: int = Field(description="Emails that do not know the person any more.")
    cancelled: int = Field(description="How many of them waited, and were cancelled.")
    in_flight: int = Field(description="How many of them a relay was being given at that moment.")
