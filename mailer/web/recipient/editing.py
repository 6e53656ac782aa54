"""The whole preference page is saved: topics, pause and language in one act."""

from datetime import datetime

from sqlmodel import Session

from mailer import people
from mailer.feedback import optouts
from mailer.feedback.optouts import Chosen, How
from mailer.web.recipient.asking import Form
from mailer.web.recipient.words import EDITION, SPOKEN
from suppression.rules import Stream
from suppression.token import OptOut


def edit(session: Session, opt_out: OptOut, form: Form, how: How, now: datetime) -> bool:
    """Save the page as it stands, and return whether something was left by it."""
    before = people.preferences(session, opt_out.tenant_id, opt_out.fingerprint, now)
    wanted = form.many("topic")
    if form.one("promotional") == "none":
        wanted -= {each.topic.key for each in before.topics if each.topic.stream is Stream.PROMOTIONAL}
    # What the person read is proof of what they said yes to: the version of the words stands beside it.
    optouts.choose(session, opt_out, Chosen(form.many("shown"), wanted, wording=EDITION), how, now)
    if form.one("pause") == "30" and before.snoozed_until is None:
        optouts.snooze(session, opt_out, how, now)
    elif form.one("pause") == "no":
        people.wake(session, opt_out.tenant_id, opt_out.fingerprint, now)
    _speak(session, opt_out, form.one("language"), before.locale, now)
    shown = (each for each in before.topics if each.gets and each.topic.key in form.many("shown"))
    return any(each.topic.key not in wanted for each in shown)


def _speak(session: Session, opt_out: OptOut, wanted: str, before: str | None, now: datetime) -> None:
    locale = {"": before, "any": None}.get(wanted, wanted)
    if locale == before or (locale is not None and locale not in SPOKEN):
        return
    email = optouts.email_of(session, opt_out)
    address = email.address if email else None
    people.choose_language(session, opt_out.tenant_id, opt_out.fingerprint, locale, address=address, now=now)
