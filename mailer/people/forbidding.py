"""An entry that somebody makes by hand or by the API: what may stand there, and for whom."""

from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from mailer.drafts import SuppressionDraft
from mailer.errors import Invalid, Problem
from mailer.people.choices import topics
from mailer.people.stopping import Left, suppress
from suppression import address, entries, rules
from suppression.address import Fingerprints
from suppression.entries import KinKind, NewEntry
from suppression.rules import Ender, Origin, Scope


class Book(NamedTuple):
    """In whose list an entry is written, who brings it, and by which keys its mailbox is known."""

    tenant_id: int
    origin: Origin
    fingerprints: Fingerprints


def forbid(session: Session, book: Book, draft: SuppressionDraft, now: datetime) -> Left:
    """Add an entry and stop what it forbids; run it as a `conclusive` transaction. Adding twice is adding once.

    Without a scope it has the widest that its reason may have. Raises `Invalid` where the policy knows no such entry,
    or the tenant no such topic.
    """
    scope = _scope(session, book.tenant_id, draft)
    passes = rules.may_end(draft.reason, Ender.TIME)
    if passes and draft.expires_at is None:
        raise Invalid(Problem("expires_at", f"say when it ends: an entry with the reason {draft.reason} ends by time"))
    if draft.expires_at is not None and not passes:
        raise Invalid(Problem("expires_at", f"an entry with the reason {draft.reason} does not end by time"))
    if draft.expires_at is not None and draft.expires_at <= now:
        raise Invalid(Problem("expires_at", "has passed already"))
    who = address.parse(draft.email)
    named = book.fingerprints.named(book.tenant_id, who.canonical)
    entries.relate(session, book.tenant_id, [named], KinKind.KEY, now)
    new = NewEntry(
        tenant_id=book.tenant_id,
        fingerprint=book.fingerprints.of(book.tenant_id, who.canonical),
        key_id=book.fingerprints.primary_id,
        reason=draft.reason,
        scope=scope,
        origin=book.origin,
        address=who.original,
        expires_at=draft.expires_at,
        note=draft.note,
    )
    return suppress(session, new, now)


def _scope(session: Session, tenant_id: int, draft: SuppressionDraft) -> Scope:
    written = draft.scope if "scope" in draft.model_fields_set else rules.rule_of(draft.reason).scopes[0]
    scope = rules.parse_scope(written)
    key = scope.removeprefix(rules.TOPIC_PREFIX)
    if key != scope and key not in {topic.key for topic in topics(session, tenant_id)}:
        raise Invalid(Problem("scope", f"there is no topic {key}"))
    if not rules.may_stand(draft.reason, scope):
        raise Invalid(Problem("scope", f"an entry with the reason {draft.reason} cannot have the scope {scope}"))
    return scope
