"""A preference page is saved as it stands."""

from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from mailer import people
from mailer.feedback.optouts.acts import How, begin
from mailer.feedback.optouts.leaving import opted_out
from mailer.feedback.optouts.telling import tell_each
from mailer.people import EventKind
from suppression import rules
from suppression.rules import Stream
from suppression.token import OptOut


class Chosen(NamedTuple):
    """The topics that a preference page showed, and those that the person wants."""

    shown: frozenset[str]
    wanted: frozenset[str]


def choose(session: Session, opt_out: OptOut, chosen: Chosen, how: How, now: datetime) -> None:
    """Save a preference page: come back to what is wanted, leave the rest of what was shown.

    Who wants none of the promotional topics has left the promotional stream, and with it what is founded later.
    """
    act = begin(session, opt_out, how, now)
    before = people.preferences(session, opt_out.tenant_id, opt_out.fingerprint, now)
    shown = [each for each in before.topics if each.topic.key in chosen.shown and each.may_leave]
    back = {each.topic.key for each in shown if each.left and each.topic.key in chosen.wanted}
    if back:
        rejoined = people.rejoin(session, act.leaving(rules.STREAM_PROMOTIONAL), back, now)
        tell_each(session, act, EventKind.RESUBSCRIBED, rejoined.lifted, now)
        tell_each(session, act, EventKind.UNSUBSCRIBED, rejoined.added, now)
    unwanted = [each.topic for each in shown if each.topic.key not in chosen.wanted]
    promotional = [each for each in shown if each.topic.stream is Stream.PROMOTIONAL]
    none = promotional and not any(each.topic.key in chosen.wanted for each in promotional)
    if none and not before.all_promotional_left:
        opted_out(session, opt_out, how, now, scope=rules.STREAM_PROMOTIONAL)
    for topic in unwanted:
        if not (none and topic.stream is Stream.PROMOTIONAL):
            opted_out(session, opt_out, how, now, scope=rules.topic_scope(topic.key))
