"""One act of a person: by which way, about what, from which mail."""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from sqlmodel import Session, col, select

from mailer import ids, people
from mailer.errors import NotFound
from mailer.models import Email, OptOutScope, Tenant
from suppression import entries
from suppression.entries import Entry
from suppression.rules import Reason, Scope, Stream
from suppression.token import OptOut


class Kind(StrEnum):
    """By which way a person acted."""

    LINK = "link"
    ONE_CLICK = "one_click"
    MAILTO = "mailto"
    PREFERENCES = "preferences"
    #: The yes by which a mailbox answers a confirmation mail.
    CONFIRM = "confirm"
    #: The preference page, by a link that was mailed because somebody asked for it.
    EDIT = "edit"
    #: The product's own profile page.
    API = "api"
    #: Somebody wrote to support, who did it for them.
    SUPPORT = "support"
    #: They left by a way of a mail provider's, which told us.
    PROVIDER = "provider"
    #: A mail provider told us that they complained.
    COMPLAINT = "complaint"


#: Ways that name no mail -> how old the person's newest one may be to count as what they answer. A mailto's token has
#: no room for it (64 octets), though it stood in a mail of ours; who asks elsewhere may have none in mind.
_INFERRED: Mapping[Kind, timedelta | None] = {
    Kind.MAILTO: None,
    Kind.COMPLAINT: None,
    Kind.API: timedelta(days=30),
    Kind.SUPPORT: timedelta(days=30),
}


class How(NamedTuple):
    """How an act reached us; the network address is evidence, and goes with the person."""

    kind: Kind
    ip: str | None = None
    #: The person's address as they wrote it, where we were told.
    address: str | None = None
    #: What more shows it, such as the Message-ID of their mail.
    evidence: Mapping[str, object] | None = None
    #: What whoever did it for them wrote down.
    note: str | None = None


class Outcome(NamedTuple):
    """What stands after an act."""

    entry_ids: tuple[str, ...]
    #: False where everything stood already.
    created: bool
    scope: Scope


class Act(NamedTuple):
    """One act: what the link says, how it reached us, whose mail it was."""

    opt_out: OptOut
    how: How
    tenant: Tenant
    #: The mail whose link it was, while its row exists.
    email: Email | None
    #: What tells one act from another: taking back ends all that one act made, and nothing else.
    id: str
    #: True where nothing names the mail: it is the newest that the person was sent.
    inferred: bool = False

    @property
    def evidence(self) -> dict[str, object]:
        """Return what shows that it happened."""
        found: dict[str, object] = {
            **(self.how.evidence or {}),
            "channel": self.how.kind.value,
            "act": self.id,
            "token": digest(self.opt_out),
        }
        if self.email_id is not None:
            found["email_id"] = self.email_id
        if self.inferred:
            found["inferred"] = True
        if self.opt_out.topic is not None:
            found["topic"] = self.opt_out.topic
        if self.email is not None and self.email.campaign_id:
            found["campaign_id"] = self.email.campaign_id
        if self.how.ip and self.tenant.keep_ip:
            found["ip"] = self.how.ip
        return found

    @property
    def email_id(self) -> str | None:
        """Return the id of the mail that they answered, also where its row is gone."""
        if self.opt_out.email is not None:
            return ids.from_bytes("em", self.opt_out.email)
        return self.email.id if self.email is not None else None

    @property
    def address(self) -> str | None:
        """Return the address as it was written, where it is still known."""
        return self.how.address or (self.email.address if self.email is not None else None)

    def leaving(self, scope: Scope, besides: Mapping[str, object] | None = None) -> people.Leaving:
        """Return the request to leave this; its evidence holds what is told besides."""
        return people.Leaving(
            tenant_id=self.opt_out.tenant_id,
            fingerprint=self.opt_out.fingerprint,
            scope=scope,
            address=self.address,
            evidence={**self.evidence, **(besides or {})},
            note=self.how.note,
        )


def begin(session: Session, opt_out: OptOut, how: How, now: datetime) -> Act:
    """Return the act that a link stands for; raises `NotFound` for an unknown tenant."""
    tenant = session.get(Tenant, opt_out.tenant_id)
    if tenant is None:
        raise NotFound("there is no such sender")
    act = Act(opt_out, how, tenant, email_of(session, opt_out), secrets.token_hex(8))
    if opt_out.email is None and how.kind in _INFERRED:
        email = _newest(session, opt_out, _INFERRED[how.kind], now)
        return act._replace(email=email, inferred=email is not None)
    return act


def email_of(session: Session, opt_out: OptOut) -> Email | None:
    """Return the mail that the link stood in, None where it is gone or was another person's."""
    if opt_out.email is None:
        return None
    email = session.get(Email, ids.from_bytes("em", opt_out.email))
    matches = email and (email.tenant_id, email.fingerprint) == (opt_out.tenant_id, opt_out.fingerprint)
    return email if matches else None


def _newest(session: Session, opt_out: OptOut, within: timedelta | None, now: datetime) -> Email | None:
    """Return the newest mail that the person was sent of this stream, and of this topic where one is named."""
    where = [
        col(Email.tenant_id) == opt_out.tenant_id,
        col(Email.fingerprint).in_(entries.family(session, opt_out.tenant_id, [opt_out.fingerprint])),
        col(Email.stream) == opt_out.stream,
        col(Email.sent_at).is_not(None),
    ]
    if opt_out.topic is not None:
        where.append(col(Email.topic) == opt_out.topic)
    if within is not None:
        where.append(col(Email.sent_at) > now - within)
    newest = select(Email).where(*where).order_by(col(Email.sent_at).desc(), col(Email.id).desc()).limit(1)
    return session.exec(newest).first()


def leaves_topic_only(opt_out: OptOut, tenant: Tenant) -> bool:
    """Return whether this link leaves a topic and not the promotional stream."""
    return opt_out.stream is Stream.TRANSACTIONAL or (
        tenant.opt_out_scope is OptOutScope.TOPIC and opt_out.topic is not None
    )


def unsubscribed(session: Session, tenant_id: int, prints: Collection[bytes], now: datetime) -> list[Entry]:
    """Return what a person, by their fingerprints, decided to leave and what stands, the oldest first."""
    statement = (
        select(Entry)
        .where(
            col(Entry.tenant_id) == tenant_id,
            col(Entry.fingerprint).in_(prints),
            col(Entry.reason).in_((Reason.UNSUBSCRIBE, Reason.COMPLAINT)),
            col(Entry.lifted_at).is_(None),
        )
        .order_by(col(Entry.id))
        .execution_options(populate_existing=True)
    )
    return [entry for entry in session.exec(statement) if entry.live(now)]


def of_this_email(session: Session, act: Act, now: datetime) -> list[Entry]:
    """Return what stands because of this mail: however often its links are used, it lost one person.

    Its links all have one fingerprint, whichever key is in use by now, so that nobody's kin is asked for.
    """
    key = "token" if act.email_id is None else "email_id"
    wanted = act.evidence.get(key)
    opt_out = act.opt_out
    found = unsubscribed(session, opt_out.tenant_id, [opt_out.fingerprint], now) if wanted else []
    return [entry for entry in found if (entry.evidence or {}).get(key) == wanted]


def digest(opt_out: OptOut) -> str:
    """Return what tells one link from another in the evidence; the token itself would be a key to the person."""
    return hashlib.blake2b(opt_out.pack(), digest_size=12, person=b"opt-out token").hexdigest()
