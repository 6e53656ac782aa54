"""What an act of a person leaves behind: an event an entry, and a count on its mail."""

from collections.abc import Iterable
from datetime import datetime
from itertools import chain, repeat

from sqlmodel import Session

from mailer import counters
from mailer.feedback.optouts.acts import Act
from mailer.people import EventKind, News, tell
from suppression.entries import Entry


def tell_each(
    session: Session, act: Act, kind: EventKind, found: Iterable[Entry], now: datetime, *, counted: bool = False
) -> None:
    """Write one event an entry.

    `counted`: reports count the act, unless it changed nothing. Its first event says so, and where the mail is gone
    what it counts in: the sums can be worked out again (`reports.recount`).
    """
    email = act.email
    about: dict[str, object] = {"campaign_id": email.campaign_id} if email is not None and email.campaign_id else {}
    if act.inferred:
        about["inferred"] = True
    marked: dict[str, object] = {"counted": True} if counted else {}
    if counted and email is None:
        marked |= {"stream": act.opt_out.stream.value} | ({"topic": act.opt_out.topic} if act.opt_out.topic else {})
    news = [
        News(
            entry.tenant_id,
            kind,
            {
                "suppression_id": entry.id,
                "scope": entry.scope,
                "how": act.how.kind.value,
                **about,
                **(marked if first else {}),
            },
            email.id if email else None,
        )
        for first, entry in zip(chain([True], repeat(False)), found, strict=False)
    ]
    tell(session, news, now)
    if counted and news:
        _count(session, act, kind, now)


def _count(session: Session, act: Act, kind: EventKind, now: datetime) -> None:
    """Count on the day and in the dimensions of the mail; of the act and its topic where the mail is gone."""
    email, tally = act.email, counters.Tally()
    dims = counters.dimensions(
        tags=email.tags if email else None,
        topic=email.topic if email else act.opt_out.topic,
        template=email.template if email else None,
        campaign=email.campaign_id if email else None,
        provider=email.provider if email else None,
    )
    day, metric = (email.created_at if email else now).date(), kind.value.removeprefix("email.")
    tally.add(act.opt_out.tenant_id, day, act.opt_out.stream, metric, dims, at=now)
    tally.write(session)
