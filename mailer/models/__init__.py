"""The tables, a file a family of nouns."""

from mailer.models.campaigns import Campaign, CampaignStatus
from mailer.models.lists import Alarm, AlarmKind, OptOutMark, SuppressionImport
from mailer.models.mail import Attachment, Content, Email, Lease
from mailer.models.people import Consent, Invitation, OptIn, Person
from mailer.models.record import Counter, DayCount, Event, Halt, Role, SeenHit, StoredAnswer, Tally
from mailer.models.tenancy import (
    ApiKey,
    ConsentRule,
    DkimAlgorithm,
    DkimKey,
    Identity,
    LeaveRule,
    Opens,
    OptOutScope,
    Scope,
    Tenant,
    Topic,
    TopicDefault,
    Visibility,
)
from mailer.models.webhooks import DeliveryState, Webhook, WebhookDelivery

__all__ = [
    "Alarm",
    "AlarmKind",
    "ApiKey",
    "Attachment",
    "Campaign",
    "CampaignStatus",
    "Consent",
    "ConsentRule",
    "Content",
    "Counter",
    "DayCount",
    "DeliveryState",
    "DkimAlgorithm",
    "DkimKey",
    "Email",
    "Event",
    "Halt",
    "Identity",
    "Invitation",
    "Lease",
    "LeaveRule",
    "Opens",
    "OptIn",
    "OptOutMark",
    "OptOutScope",
    "Person",
    "Role",
    "Scope",
    "SeenHit",
    "StoredAnswer",
    "SuppressionImport",
    "Tally",
    "Tenant",
    "Topic",
    "TopicDefault",
    "Visibility",
    "Webhook",
    "WebhookDelivery",
]
