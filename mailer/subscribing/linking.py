"""The mailed link by which a person may change everything: only the mailbox itself can use it."""

from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from mailer import people, submission
from mailer.drafts import Draft, parse
from mailer.feedback import optouts
from mailer.models import Email, Opens
from mailer.submission import Accepted, Intake, Submitter
from mailer.subscribing.counting import one_at_a_time
from suppression import entries
from suppression.rules import Stream
from suppression.token import OptOut

#: How long a link for editing works.
EDIT_FOR = timedelta(hours=24)
EDIT_TEMPLATE = "preference-link"
#: How many of them one mailbox gets within such a time, however often somebody asks (R10.10).
MOST_LINKS = 3
#: Who presses the button again within this time has the mail on its way.
AGAIN_AFTER = timedelta(minutes=2)


def mail_link(session: Session, opt_out: OptOut, context: Intake, now: datetime) -> Accepted | None:
    """Mail the link that may change everything to the mailbox that got the mail; the page's answer is always the same.

    None where the address is no longer known, or the mailbox had a link just now or its links of the day. Ring the
    mail's stream after your transaction's commit.
    """
    email = optouts.email_of(session, opt_out)
    if email is None or email.address is None:
        return None
    family = entries.family(session, opt_out.tenant_id, [opt_out.fingerprint])
    one_at_a_time(session, [opt_out.tenant_id.to_bytes(8) + min(family)])
    had = select(func.count(), func.max(Email.created_at)).where(
        col(Email.tenant_id) == opt_out.tenant_id,
        col(Email.fingerprint).in_(family),
        col(Email.template) == EDIT_TEMPLATE,
        col(Email.created_at) > now - EDIT_FOR,
    )
    number, last = session.exec(had).one()
    if number >= MOST_LINKS or (last is not None and last > now - AGAIN_AFTER):
        return None
    ends = now + EDIT_FOR
    draft = {
        "stream": Stream.TRANSACTIONAL,
        "to": {"email": email.address, "name": email.name or ""},
        "template": EDIT_TEMPLATE,
        "locale": next(iter(people.chosen_languages(session, opt_out.tenant_id, family).values()), email.locale),
        "variables": {"edit_url": context.links.edit(opt_out, ends), "expires_at": ends.isoformat()},
        # Somebody else may have pressed the button: a mail that was not asked for measures nobody.
        "tracking": {"opens": Opens.OFF, "clicks": Opens.OFF},
        "expires_at": ends,
    }
    # What only ever went to the inbox is answered there.
    scopes = Submitter.trusted(opt_out.tenant_id).scopes
    sender = Submitter(opt_out.tenant_id, scopes, captures=email.captured)
    return submission.submit(session, sender, parse(Draft, draft), context, now)
