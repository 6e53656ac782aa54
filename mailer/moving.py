"""A person has another address: each of the two binds the other, and mail that is for later goes to the present one."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import exists, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from mailer import emails, people
from mailer.models import Email
from mailer.providers import provider_of
from mailer.status import Status
from mailer.submission import Intake, stays_inside
from suppression import entries
from suppression.address import Address
from suppression.entries import KinKind

#: What nobody has begun to send. Mail that is due goes where it was asked to go: it may be the very notice that tells
#: the former mailbox of the change, which nobody who stole an account may lead away.
_FOR_LATER = (Status.HELD, Status.SCHEDULED)


class Moved(NamedTuple):
    """What a change of address met."""

    #: Mails for later that go to the present address now.
    emails: int = 0
    #: Mails of campaigns that have the present address already, so that they are taken back.
    cancelled: int = 0


def move(session: Session, tenant_id: int, former: Address, present: Address, context: Intake, now: datetime) -> Moved:
    """Keep that two addresses are one person's, and send what is for later to the present one; twice is once.

    An opt-out of either holds for both (spec section 4), and so does every other restriction but what is a mailbox's
    own, such as a bounce. What a person permitted does not follow: a new mailbox is asked anew. Nothing separates the
    two again. Run it `conclusive` (`Database.run`): mail that the other address forbids is stopped.
    """
    if former.canonical == present.canonical:
        return Moved()
    old, new = (context.fingerprints.named(tenant_id, each.canonical) for each in (former, present))
    entries.relate(session, tenant_id, [old, new], KinKind.KEY, now)
    newest = {next(iter(named)): context.fingerprints.primary_id for named in (old, new)}
    entries.relate(session, tenant_id, [newest], KinKind.ADDRESS, now)
    _speak_as_before(session, tenant_id, tuple(old), tuple(new), present, now)
    moved = _lead(session, tenant_id, tuple(old), present, context, now)
    people.enforce(session, tenant_id, next(iter(new)), now)
    return moved


def _speak_as_before(
    session: Session, tenant_id: int, old: tuple[bytes, ...], new: tuple[bytes, ...], present: Address, now: datetime
) -> None:
    """Keep the language that the person chose, unless the present address has one."""
    chosen = people.chosen_languages(session, tenant_id, (*new, *old))
    locale = next((chosen[one] for one in old if one in chosen), None)
    if locale is not None and not any(one in chosen for one in new):
        people.choose_language(session, tenant_id, new[0], locale, address=present.original, now=now)


def _lead(
    session: Session, tenant_id: int, old: tuple[bytes, ...], present: Address, context: Intake, now: datetime
) -> Moved:
    """Give mail for later its new address; of a campaign nobody has more than one."""
    new = context.fingerprints.all_of(tenant_id, present.canonical)
    other = aliased(Email)
    has = exists().where(
        col(other.tenant_id) == tenant_id,
        col(other.fingerprint).in_(new),
        col(other.campaign_id) == col(Email.campaign_id),
    )
    waits = select(Email.id, Email.campaign_id, Email.details, has).where(
        col(Email.tenant_id) == tenant_id,
        col(Email.fingerprint).in_(old),
        col(Email.status).in_(_FOR_LATER),
    )
    twice, alone, campaigns = list[str](), list[str](), set[str]()
    for email_id, campaign_id, details, there in session.exec(waits.order_by(col(Email.id)).with_for_update(of=Email)):
        if there or campaign_id in campaigns:
            twice.append(email_id)
        # What several got together shows them to each other, so it stays as it was written.
        elif not (details or {}).get("message_key"):
            alone.append(email_id)
            campaigns |= {campaign_id} if campaign_id else set()
    for email_id in twice:
        emails.cancel(session, tenant_id, email_id, now)
    values: dict[str, object] = {
        "address": present.envelope,
        "fingerprint": new[0],
        "provider": provider_of(present.domain),
        **({"captured": True} if stays_inside(context.settings, present) else {}),
    }
    if alone:
        session.execute(
            update(Email).where(col(Email.id).in_(alone)).values(values).execution_options(synchronize_session=False)
        )
    return Moved(len(alone), len(twice))
