"""The tables, a file a family of nouns."""

from mailer.models.campaigns import Campaign, CampaignStatus
from mailer.models.mail import Attachment, Content, Email, Lease
from mailer.models.record import Consent, Counter, DayCount, Event, Halt, Role, SeenHit, StoredAnswer, Tally
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
)

__all__ = [
    "ApiKey",
    "Attachment",
    "Campaign",
    "CampaignStatus",
    "Consent",
    "ConsentRule",
    "Content",
    "Counter",
    "DayCount",
    "DkimAlgorithm",
    "DkimKey",
    "Email",
    "Event",
    "Halt",
    "Identity",
    "Lease",
    "LeaveRule",
    "Opens",
    "OptOutScope",
    "Role",
    "Scope",
    "SeenHit",
    "StoredAnswer",
    "Tally",
    "Tenant",
    "Topic",
]
