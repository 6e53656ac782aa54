"""Templates and their versions."""

from datetime import datetime

from mailer.web.api.shapes.problems import Shape
from suppression.rules import Stream


class TemplateSummary(Shape):
    """One version of a template; a shipped one has no number before it is first sent."""

    name: str
    version: int | None
    shipped: bool
    stream: Stream
    topic: str | None
    urgency: str
    written_by: str
    description: str
    locales: list[str]
    created_at: datetime | None
    retired_at: datetime | None


class PartsView(Shape):
    """One locale's sources."""

    subject: str
    html: str | None
    text: str | None


class TemplateView(TemplateSummary):
    """One version of a template, whole."""

    default_locale: str
    variables: dict[str, object]
    json_schema: dict[str, object]
    example: dict[str, object]
    parts: dict[str, PartsView]


class TemplatePage(Shape):
    """Templates or versions."""

    data: list[TemplateSummary]
    has_more: bool
