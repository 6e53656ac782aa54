"""The tables, a file a family of nouns."""

from mailer.models.mail import Attachment, Content, Email, Lease
from mailer.models.record import Consent, Counter, Event, Role, SeenHit, StoredAnswer
from mailer.models.tenancy import (
    ApiKey,
    ConsentRule,
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
    "Consent",
    "ConsentRule",
    "Content",
    "Counter",
    "Email",
    "Event",
    "Identity",
    "Lease",
    "LeaveRule",
    "Opens",
    "OptOutScope",
    "Role",
    "Scope",
    "SeenHit",
    "StoredAnswer",
    "Tenant",
    "Topic",
]
