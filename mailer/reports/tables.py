"""Numbers of many things of one kind side by side: of each topic, each mailbox provider, each link."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import select
from sqlmodel import Session, col

from mailer.counters import ALL, CAMPAIGN_PROVIDER, SEPARATOR
from mailer.errors import Invalid, Problem
from mailer.models import Campaign, LinkLabel
from mailer.providers import PROVIDERS
from mailer.reports.figures import NAMES, Counted, Figure, figures
from mailer.reports.reading import largest, sums_by, within
from mailer.reports.spans import Span
from suppression.rules import Stream

#: How many rows a table has at most: those with the most mail.
MOST = 500


class By(StrEnum):
    """What the rows of a table are."""

    STREAM = "stream"
    TOPIC = "topic"
    TEMPLATE = "template"
    CAMPAIGN = "campaign"
    TAG = "tag"
    #: Of mailboxes; counted from the moment on in which a relay was asked.
    PROVIDER = "provider"
    #: As `{campaign, else template, else topic}#{its place in the mail}`.
    LINK = "link"


class _Shape(NamedTuple):
    """How a table is read, and which figures its rows have."""

    dimension: str
    #: The rows with the most of this come first.
    measure: str
    figures: Collection[str]


_CLICKS = tuple(name for name in NAMES if name.startswith("clicks_"))
#: Counted of all mail, but by provider only once a relay was asked.
_BEFORE = frozenset({"requested", "suppressed", "waiting", "cancelled", "expired", "failed"})
_AFTER = tuple(name for name in NAMES if name not in _BEFORE)
_SHAPES: Mapping[By, _Shape] = {
    By.STREAM: _Shape(ALL[0], "requested", NAMES),
    By.TOPIC: _Shape("topic", "requested", NAMES),
    By.TEMPLATE: _Shape("template", "requested", NAMES),
    By.CAMPAIGN: _Shape("campaign", "requested", NAMES),
    By.TAG: _Shape("tag", "requested", NAMES),
    By.PROVIDER: _Shape("provider", "sent", _AFTER),
    By.LINK: _Shape("link", "clicks_total:human", _CLICKS),
}


class Row(NamedTuple):
    """The numbers of one topic, one provider, one link …"""

    value: str
    #: What people call it, where that is something else.
    label: str
    figures: tuple[Figure, ...]


class Table(NamedTuple):
    """Rows, those with the most mail first."""

    by: By
    span: Span
    rows: tuple[Row, ...]
    #: Whether there are more than these.
    has_more: bool


def table(
    session: Session, tenant_id: int, span: Span, by: By, *, stream: Stream | None = None, limit: int = MOST
) -> Table:
    """Return the numbers of a tenant's mail that was accepted in these days, row by row."""
    shape = _SHAPES[by]
    facts = within(tenant_id, span, [stream] if stream else list(Stream), shape.dimension)
    if by is By.STREAM:
        return _table(by, span, sums_by(session, facts.c.stream), {}, limit)
    # One more than are shown.
    found = largest(session, facts, shape.measure, limit + 1)
    return _table(by, span, found, _labels(session, tenant_id, by, list(found)), limit)


def campaign_table(session: Session, campaign: Campaign, by: By, now: datetime) -> Table:
    """Return the numbers of a campaign's mail, by mailbox provider or by link."""
    if by is By.PROVIDER:
        prefix, dimension = f"{campaign.id}{SEPARATOR}", CAMPAIGN_PROVIDER
        values = [f"{prefix}{provider}" for provider in PROVIDERS]
    elif by is By.LINK:
        prefix, dimension = "", "link"
        values = [f"{campaign.id}#{place}" for place in range(_MOST_LINKS)]
    else:
        raise Invalid(Problem("by", "a campaign is told apart by provider and by link"))
    span = Span.of_life(campaign.created_at, campaign.ended_at or now)
    facts = within(campaign.tenant_id, span, [campaign.stream], dimension).c
    sums = sums_by(session, facts.value, facts.value.in_(values))
    found = {value.removeprefix(prefix): each for value, each in sums.items()}
    return _table(by, span, found, _labels(session, campaign.tenant_id, by, list(found)), MOST)


#: How many links of a mail are told apart.
_MOST_LINKS = 300


def _table(by: By, span: Span, found: Mapping[str, Counted], labels: Mapping[str, str], limit: int) -> Table:
    shape = _SHAPES[by]
    ordered = sorted(found.items(), key=lambda each: (-each[1][shape.measure], each[0]))
    rows = tuple(
        Row(value, labels.get(value, value), figures(sums, only=shape.figures)) for value, sums in ordered[:limit]
    )
    return Table(by, span, rows, len(ordered) > limit)


def _labels(session: Session, tenant_id: int, by: By, values: Sequence[str]) -> Mapping[str, str]:
    if by is By.LINK:
        links = select(col(LinkLabel.value), col(LinkLabel.label)).where(
            col(LinkLabel.tenant_id) == tenant_id, col(LinkLabel.value).in_(values)
        )
        return {row.value: row.label for row in session.execute(links)}
    if by is not By.CAMPAIGN:
        return {}
    names = select(col(Campaign.id), col(Campaign.name)).where(
        col(Campaign.tenant_id) == tenant_id, col(Campaign.id).in_(values)
    )
    return {row.id: row.name for row in session.execute(names)}
