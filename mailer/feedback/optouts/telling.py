"""What an act of a person leaves behind: an event an entry, and a count on its mail."""

from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session

from mailer import counters
from mailer.feedback.optouts.acts import Act
from mailer.people import EventKind, News, tell
from suppression.entries import Entry


def tell_each(session: Session, act: Act, kind: EventKind, found: Iterable[Entry], now: datetime) -> None:
    """Write one event an entry."""
    email = act.email
    about: dict[str, object] = {"campaign_id": email.campaign_id} if email is not None and email.campaign_id else {}
    if act.inferred:
        about["inferred"] = True
    news = [
        News(
            entry.tenant_id,
            kind,
            {"suppression_id": entry.id, "scope": entry.scope, "how": act.how.kind.value, **about},
            email.id if email else None,
        )
        for entry in found
    ]
    tell(session, news, now)


def count(session: Session, act: Act, metric: str, now: datetime) -> None:
    """Count on the day and in the dimensions of the mail; of the act and its topic where the mail is gone."""
    email, tally = act.email, counters.Tally()
    dims = counters.dimensions(
        tags=email.tags if email else None,
        topic=email.topic if email else act.opt_out.topic,
        template=email.template if email else None,
        campaign=email.campaign_id if email else None,
        provider=email.provider if email else None,
    )
    tally.add(
        act.opt_out.tenant_id, (email.created_at if email else now).date(), act.opt_out.stream, metric, dims, at=now
    )
    tally.write(session)
