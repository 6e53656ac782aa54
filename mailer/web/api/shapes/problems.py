"""Errors, and the shape that all answers have."""

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """An answer: every field that it has is written down."""

    model_config = ConfigDict(extra="forbid")


class ProblemEntry(Shape):
    """What is wrong with one value: where it stands, and a sentence that says the way out."""

    path: str
    message: str


class ProblemDocument(Shape):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemEntry]
