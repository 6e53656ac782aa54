"""What people can leave."""

from mailer.models import LeaveRule, TopicDefault, Visibility
from mailer.web.api.shapes.problems import Shape
from suppression.rules import Stream


class TopicView(Shape):
    """What people can leave, if it may be left."""

    key: str
    stream: Stream
    opt_out: LeaveRule
    default: TopicDefault
    visibility: Visibility
    may_leave: bool
    names: dict[str, str]
    descriptions: dict[str, str]
    retired: bool


class TopicPage(Shape):
    """All topics."""

    data: list[TopicView]
    has_more: bool
