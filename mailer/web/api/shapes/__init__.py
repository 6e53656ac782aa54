"""What the API answers, for its document: tests hold every real answer against these types."""

from mailer.web.api.shapes.campaigns import (
    AddedRecipientsView,
    CampaignPage,
    CampaignReportView,
    CampaignView,
    DeletedView,
    ProgressView,
    RefusalView,
)
from mailer.web.api.shapes.emails import (
    BatchView,
    ChangedView,
    DecidingView,
    EmailPage,
    EmailSummary,
    EmailView,
    EventView,
    PlacedView,
    RenderedView,
    SeveralView,
)
from mailer.web.api.shapes.lists import ImportedView
from mailer.web.api.shapes.metrics import ComparisonView, DoersPage, MetricsView, NumberView, SeriesView, TableView
from mailer.web.api.shapes.people import ConsentView, HappenedView, PersonTopicView, PersonView
from mailer.web.api.shapes.problems import ProblemDocument, ProblemEntry, Shape
from mailer.web.api.shapes.receiving import TakenView
from mailer.web.api.shapes.streams import RelayView, StreamPage, StreamView
from mailer.web.api.shapes.subscribing import AskedView
from mailer.web.api.shapes.suppressions import (
    AddedView,
    CheckedView,
    ChecksView,
    CheckView,
    RuleView,
    SuppressionPage,
    SuppressionView,
)
from mailer.web.api.shapes.templates import PartsView, TemplatePage, TemplateSummary, TemplateView
from mailer.web.api.shapes.topics import TopicPage, TopicView

__all__ = [
    "AddedRecipientsView",
    "AddedView",
    "AskedView",
    "BatchView",
    "CampaignPage",
    "CampaignReportView",
    "CampaignView",
    "ChangedView",
    "CheckView",
    "CheckedView",
    "ChecksView",
    "ComparisonView",
    "ConsentView",
    "DecidingView",
    "DeletedView",
    "DoersPage",
    "EmailPage",
    "EmailSummary",
    "EmailView",
    "EventView",
    "HappenedView",
    "ImportedView",
    "MetricsView",
    "NumberView",
    "PartsView",
    "PersonTopicView",
    "PersonView",
    "PlacedView",
    "ProblemDocument",
    "ProblemEntry",
    "ProgressView",
    "RefusalView",
    "RelayView",
    "RenderedView",
    "RuleView",
    "SeriesView",
    "SeveralView",
    "Shape",
    "StreamPage",
    "StreamView",
    "SuppressionPage",
    "SuppressionView",
    "TableView",
    "TakenView",
    "TemplatePage",
    "TemplateSummary",
    "TemplateView",
    "TopicPage",
    "TopicView",
]
