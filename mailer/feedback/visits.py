"""What a recipient's page shows before anybody has decided anything; reading it changes nothing."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlmodel import Session

from mailer import people
from mailer.feedback import optouts
from mailer.feedback.optouts import Kind
from mailer.models import Tenant, Topic, Visibility
from mailer.people import Preferences
from suppression import address, rules
from suppression.rules import Stream
from suppression.token import OptOut


class Visit(NamedTuple):
    """Whom a link belongs to, as far as a page may say, and how the person stands."""

    sender: str
    #: The language that the person chose, else that of the mail; None where neither is known.
    locale: str | None
    #: The masked address, None where it is gone.
    who: str | None
    stream: Stream
    #: The topic of the link, None where it has none or it is no more.
    topic: Topic | None
    #: Its key, as the link says it.
    topic_key: str | None
    #: Whether the link leaves a topic; else it leaves the promotional stream.
    topic_only: bool
    preferences: Preferences
    #: What the link leaves is left already.
    left: bool
    #: What this link took away can still be given back by it.
    undoable: bool

    @property
    def offered(self) -> Sequence[people.Choice]:
        """Return what a page may name that whoever holds the mail can read: public topics, and the link's own."""
        return [
            each
            for each in self.preferences.topics
            if each.may_leave and (each.topic.visibility is Visibility.PUBLIC or each.topic.key == self.topic_key)
        ]

    @property
    def promotional(self) -> Sequence[people.Choice]:
        """Return the promotional topics among those."""
        return [each for each in self.offered if each.topic.stream is Stream.PROMOTIONAL]

    @property
    def own(self) -> Sequence[people.Choice]:
        """Return what a page names that only the person can read: private topics too that come to them."""
        return [each for each in self.preferences.topics if each.may_leave and (each.shown or each in self.offered)]


def look(
    session: Session, opt_out: OptOut, now: datetime, *, done_by: Collection[Kind] = optouts.BY_LINK
) -> Visit | None:
    """Return what the page of a link shows, None where there is no such sender.

    `done_by` are the ways whose last act this page can take back.
    """
    tenant = session.get(Tenant, opt_out.tenant_id)
    if tenant is None:
        return None
    email = optouts.email_of(session, opt_out)
    chosen = people.preferences(session, opt_out.tenant_id, opt_out.fingerprint, now)
    topic_only = optouts.leaves_topic_only(opt_out, tenant)
    leaving = [each for each in chosen.topics if _leaves(opt_out, each)]
    return Visit(
        sender=tenant.name,
        locale=chosen.locale or (email.locale if email else None),
        who=address.mask(email.address) if email and email.address else None,
        stream=opt_out.stream,
        topic=next((each.topic for each in chosen.topics if each.topic.key == opt_out.topic), None),
        topic_key=opt_out.topic,
        topic_only=topic_only,
        preferences=chosen,
        left=bool(leaving) and all(each.left for each in leaving) if topic_only else chosen.all_promotional_left,
        undoable=optouts.undoable(session, opt_out, now, done_by=done_by),
    )


def _leaves(opt_out: OptOut, choice: people.Choice) -> bool:
    """Return whether a link that leaves no stream leaves this topic; one without a topic leaves all of its stream."""
    if opt_out.topic is None:
        return choice.topic.stream is opt_out.stream and choice.may_leave
    return choice.topic.key == opt_out.topic


def stopped(preferences: Preferences) -> bool:
    """Return whether mail does not go for a reason that a person cannot end on a page."""
    return any(
        each.why is not None and rules.Ender.OPERATOR in rules.rule_of(each.why).enders for each in preferences.topics
    )
