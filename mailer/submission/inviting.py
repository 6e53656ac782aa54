"""Invitations: one mail to a person for each thing they are invited to, however often it is asked for."""

import hashlib
from collections.abc import Mapping
from typing import NamedTuple, cast

from sqlalchemy import update
from sqlmodel import SQLModel, col, select

from mailer import database, ids
from mailer.drafts import Draft
from mailer.models import Email, Invitation
from mailer.status import Status
from mailer.submission.deciding import Desk, Person
from suppression.rules import Stream
from suppression.token import OptOut

#: Template -> the variable that names what people are invited to.
OCCASIONS: Mapping[str, str] = {"teammate-invite": "workspace"}
#: The variable of these templates that is filled in here, whatever product code says.
REMOVAL = "removal_url"
#: Product code whose workspaces may have one name says here which one it is.
_NAMED = "workspace_id"
_LONGEST = 64
#: What never reached anybody, so that asking anew is no second mail.
_NEVER_SENT = (Status.CANCELLED, Status.EXPIRED, Status.FAILED, Status.SUPPRESSED)
_invitation = SQLModel.metadata.tables[str(Invitation.__tablename__)]


class Invited(NamedTuple):
    """The mail that somebody has had already."""

    id: str
    status: Status


def occasion_of(template: object, draft: Draft) -> str | None:
    """Return what a mail of this template invites to, None where it is no invitation."""
    variable = OCCASIONS.get(str(template))
    if variable is None:
        return None
    said = str(draft.metadata.get(_NAMED) or draft.variables.get(variable))
    # What is longer than the column stands there as its digest.
    return said if len(said) <= _LONGEST else hashlib.blake2b(said.encode(), digest_size=32).hexdigest()


def with_removal(desk: Desk, person: Person, variables: object, email_id: str) -> dict[str, object]:
    """Return the variables of an invitation with the link by which its reader has their address removed."""
    reader = OptOut(desk.house.tenant_id, person.prints[0], Stream.TRANSACTIONAL, None, ids.to_bytes(email_id))
    return {**cast("Mapping[str, object]", variables or {}), REMOVAL: desk.context.links.removal(reader)}


def invited(desk: Desk, person: Person, occasion: str, email_id: str) -> Invited | None:
    """Return the mail by which this person was invited before; else note that they are by this one.

    Who asks at the same moment waits for this transaction, and then finds its mail.
    """
    key = {"tenant_id": desk.house.tenant_id, "fingerprint": person.prints[0], "occasion": occasion}
    earlier = _earlier(desk, person, occasion)
    if earlier is not None and earlier.status not in _NEVER_SENT:
        return earlier
    row = {**key, "email_id": email_id, "at": desk.now}
    made = database.insert(desk.session, _invitation).values(row).on_conflict_do_nothing()
    if desk.session.execute(made.returning(_invitation.c.email_id)).first() is not None:
        return None
    same = (_invitation.c[name] == value for name, value in key.items())
    if earlier is None:
        # Somebody else invited them a moment ago.
        return _earlier(desk, person, occasion)
    # Of two who both replace a mail that never went, the one that comes second finds the first one's mail.
    again = (
        update(_invitation).where(*same, _invitation.c.email_id == earlier.id).values(email_id=email_id, at=desk.now)
    )
    taken = desk.session.execute(again.returning(_invitation.c.email_id)).first() is not None
    return None if taken else _earlier(desk, person, occasion)


def _earlier(desk: Desk, person: Person, occasion: str) -> Invited | None:
    statement = (
        select(Invitation.email_id, Email.status)
        .join(Email, col(Email.id) == col(Invitation.email_id), isouter=True)
        .where(
            col(Invitation.tenant_id) == desk.house.tenant_id,
            col(Invitation.fingerprint).in_(person.prints),
            col(Invitation.occasion) == occasion,
        )
        .order_by(col(Invitation.at).desc())
        .limit(1)
    )
    found = desk.session.exec(statement).first()
    if found is None:
        return None
    email_id, status = cast("tuple[str, Status | None]", tuple(found))
    if status is None:
        # It is accepted in this very transaction, so its row is written at the end; or it is gone, and was sent once.
        written = (str(row["status"]) for row in desk.writing.rows if row["id"] == email_id)
        return Invited(email_id, Status(next(written, Status.SENT)))
    return Invited(email_id, status)
