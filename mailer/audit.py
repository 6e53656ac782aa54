"""The audit log: who did what to what, when, written in the transaction of the act."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlmodel import Session, col, or_, select

from mailer import ids
from mailer.models import AuditEntry, Membership


class Via(StrEnum):
    """By which way somebody acted."""

    DASHBOARD = "dashboard"
    COMMAND_LINE = "command line"
    API = "API"


class Act(StrEnum):
    """What is done; `thing.done`. Each has its words in `templates/dashboard/words/acts.toml`."""

    SIGNED_IN = "user.signed_in"
    SIGNED_OUT = "user.signed_out"
    SIGN_IN_FAILED = "user.sign_in_failed"
    PASSWORD_CHANGED = "user.password_changed"
    FACTOR_ADDED = "user.second_factor_added"
    FACTOR_REMOVED = "user.second_factor_removed"
    CODES_MADE = "user.recovery_codes_made"
    CODE_SPENT = "user.recovery_code_spent"
    EVERYWHERE_OUT = "user.signed_out_everywhere"
    PROFILE_CHANGED = "user.profile_changed"
    USER_CREATED = "user.created"
    USER_LINKED = "user.link_made"
    USER_DISABLED = "user.disabled"
    USER_ENABLED = "user.enabled"
    MEMBER_ADDED = "member.added"
    MEMBER_CHANGED = "member.changed"
    MEMBER_REMOVED = "member.removed"
    KEY_CREATED = "key.created"
    KEY_REVOKED = "key.revoked"
    SUPPRESSION_ADDED = "suppression.added"
    SUPPRESSION_LIFTED = "suppression.lifted"
    SUPPRESSIONS_IMPORTED = "suppression.imported"
    SUPPRESSIONS_EXPORTED = "suppression.exported"
    ALARM_UNDONE = "suppression.alarm_undone"
    TOPIC_CREATED = "topic.created"
    TOPIC_CHANGED = "topic.changed"
    STREAM_PAUSED = "stream.paused"
    STREAM_RESUMED = "stream.resumed"
    TEMPLATE_SAVED = "template.saved"
    TEMPLATE_RETIRED = "template.retired"
    TEMPLATE_TESTED = "template.tested"
    TENANT_CHANGED = "tenant.changed"
    EMAIL_CANCELLED = "email.cancelled"
    EMAIL_RESOLVED = "email.resolved"
    PERSON_LEFT = "person.opted_out"
    PERSON_CHANGED = "person.preferences_changed"
    PERSON_UNDONE = "person.act_undone"
    PERSON_LIFTED = "person.entry_lifted"
    PERSON_EXPORTED = "person.exported"
    PERSON_ERASED = "person.erased"
    CAMPAIGN_CREATED = "campaign.created"
    CAMPAIGN_CHANGED = "campaign.changed"
    CAMPAIGN_FILLED = "campaign.recipients_added"
    CAMPAIGN_TESTED = "campaign.tested"
    CAMPAIGN_STARTED = "campaign.started"
    CAMPAIGN_SCHEDULED = "campaign.scheduled"
    CAMPAIGN_PAUSED = "campaign.paused"
    CAMPAIGN_RESUMED = "campaign.resumed"
    CAMPAIGN_CANCELLED = "campaign.cancelled"
    CAMPAIGN_DELETED = "campaign.deleted"
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_ENABLED = "webhook.enabled"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_DELETED = "webhook.deleted"
    WEBHOOK_ROTATED = "webhook.secret_made"
    WEBHOOK_TESTED = "webhook.tested"
    WEBHOOK_REPLAYED = "webhook.replayed"


class Actor(NamedTuple):
    """Who acts: by which way, which user if one is known, and from which network address."""

    via: Via
    user_id: str | None = None
    client: str = ""


COMMAND_LINE = Actor(Via.COMMAND_LINE)


def write(
    session: Session,
    actor: Actor,
    act: Act,
    now: datetime,
    *,
    tenant_id: int | None = None,
    target: str = "",
    data: Mapping[str, object] | None = None,
) -> None:
    """Write an act down; `data` never holds an address, a token or somebody's text.

    Without a tenant the act is about the user alone, and shown wherever they are a member.
    """
    session.add(
        AuditEntry(
            id=ids.new("au", now),
            tenant_id=tenant_id,
            at=now,
            user_id=actor.user_id,
            via=actor.via,
            act=act,
            target=target[:160],
            data=dict(data) if data else None,
            client=actor.client,
        )
    )


class Wanted(NamedTuple):
    """Which entries are asked for; what is None does not matter."""

    user_id: str | None = None
    #: The thing before the dot, such as `key`.
    thing: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def listing(
    session: Session, tenant_id: int, wanted: Wanted, *, limit: int, before: str | None = None
) -> Sequence[AuditEntry]:
    """Return what was done in a tenant's affairs and by its members about themselves, the newest first."""
    members = select(Membership.user_id).where(col(Membership.tenant_id) == tenant_id)
    own = col(AuditEntry.tenant_id).is_(None) & col(AuditEntry.user_id).in_(members)
    statement = select(AuditEntry).where(or_(col(AuditEntry.tenant_id) == tenant_id, own))
    if wanted.user_id is not None:
        statement = statement.where(col(AuditEntry.user_id) == wanted.user_id)
    if wanted.thing is not None:
        statement = statement.where(col(AuditEntry.act).startswith(wanted.thing + ".", autoescape=True))
    # An id begins with its moment, so that no other index is needed.
    if wanted.since is not None:
        statement = statement.where(col(AuditEntry.id) >= ids.first("au", wanted.since))
    if wanted.until is not None:
        statement = statement.where(col(AuditEntry.id) < ids.first("au", wanted.until))
    if before is not None:
        statement = statement.where(col(AuditEntry.id) < before)
    return session.exec(statement.order_by(col(AuditEntry.id).desc()).limit(limit)).all()
