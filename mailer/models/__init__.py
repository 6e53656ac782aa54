"""The tables, a file a family of nouns."""

from mailer.models.campaigns import Campaign, CampaignStatus
from mailer.models.hearing import Brake, BrakeState, Told, ToldState
from mailer.models.lists import Alarm, AlarmKind, ListUpload, OptOutMark, SuppressionImport
from mailer.models.mail import Attachment, Content, Email, Lease
from mailer.models.people import Consent, Invitation, OptIn, Person
from mailer.models.postmaster import PostmasterMail
from mailer.models.providers import HeardToken
from mailer.models.record import HOUR_COUNTER, Counter, DayCount, Event, Halt, MonthCounter, Role, StoredAnswer, Tally
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
from mailer.models.tracking import HitTrace, LinkLabel, SeenHit
from mailer.models.users import (
    AuditEntry,
    Knock,
    LinkKind,
    Membership,
    RecoveryCode,
    SignIn,
    User,
    UserLink,
    UserRole,
)
from mailer.models.webhooks import DeliveryState, Webhook, WebhookDelivery

__all__ = [
    "HOUR_COUNTER",
    "Alarm",
    "AlarmKind",
    "ApiKey",
    "Attachment",
    "AuditEntry",
    "Brake",
    "BrakeState",
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
    "HeardToken",
    "HitTrace",
    "Identity",
    "Invitation",
    "Knock",
    "Lease",
    "LeaveRule",
    "LinkKind",
    "LinkLabel",
    "ListUpload",
    "Membership",
    "MonthCounter",
    "Opens",
    "OptIn",
    "OptOutMark",
    "OptOutScope",
    "Person",
    "PostmasterMail",
    "RecoveryCode",
    "Role",
    "Scope",
    "SeenHit",
    "SignIn",
    "StoredAnswer",
    "SuppressionImport",
    "Tally",
    "Tenant",
    "Told",
    "ToldState",
    "Topic",
    "TopicDefault",
    "User",
    "UserLink",
    "UserRole",
    "Visibility",
    "Webhook",
    "WebhookDelivery",
]
