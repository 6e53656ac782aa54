"""Counters -> numbers, each with its formula; no screen counts a big table."""

from collections import Counter as Sums
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select
from sqlmodel import Session

from mailer.counters import ALL, FACTS
from mailer.errors import Invalid, Problem
from mailer.models import Campaign
from suppression.rules import Stream

#: The tag by which campaigns are told apart.
CAMPAIGN = "campaign="
_LONGEST = 3660
_MOST_CAMPAIGNS = 200
_SUPPRESSED = "suppressed:"
#: What is counted where an email's way has ended, besides the suppressed ones; each email once.
_ENDED = ("sent", "bounced", "failed", "cancelled", "expired", "uncertain")
_TRIED = "(sent + refused_at_once)"


class Span(NamedTuple):
    """The days on which the emails were accepted, both included (UTC)."""

    first: date
    last: date

    @classmethod
    def of(cls, now: datetime, *, days: int = 30, first: date | None = None, last: date | None = None) -> "Span":
        """Return the days from `first` to `last`; without a first, as many days up to the last."""
        end = last or now.date()
        begin = first or end - timedelta(days=days - 1)
        if begin > end:
            raise Invalid(Problem("from", "must not be after to"))
        if end - begin > timedelta(days=_LONGEST):
            raise Invalid(Problem("from", "must be at most ten years before to"))
        return cls(begin, end)


class Figure(NamedTuple):
    """One number: what it is called, its value (None where there is nothing to divide by), how it is worked out."""

    name: str
    value: float | None
    formula: str


@dataclass(frozen=True, slots=True)
class Report:
    """The numbers of some emails, of each stream, and of each campaign."""

    span: Span
    figures: tuple[Figure, ...]
    #: Reason -> how many.
    suppressed_by: Mapping[str, int]
    streams: Mapping[str, "Report"]
    campaigns: Mapping[str, "Report"]


def report(
    session: Session, tenant_id: int, span: Span, *, stream: Stream | None = None, tag: str | None = None
) -> Report:
    """Return the numbers of the emails that were accepted in these days."""
    if tag is not None and "=" not in tag:
        raise Invalid(Problem("tag", "must be written name=value"))
    chosen = [FACTS.c.tenant_id == tenant_id, FACTS.c.day >= span.first, FACTS.c.day <= span.last]
    if stream is not None:
        chosen.append(FACTS.c.stream == stream.value)
    of_tag = [FACTS.c.dimension == "tag", FACTS.c.value == (tag or "")[:160]]
    sums = _sums(session, FACTS.c.stream, [*chosen, *(of_tag if tag else [FACTS.c.dimension == "all"])])
    campaigns: dict[str, Sums[str]] = {}
    if tag is None:
        like = [FACTS.c.dimension == "tag", FACTS.c.value.startswith(CAMPAIGN, autoescape=True)]
        campaigns = _sums(session, FACTS.c.value, [*chosen, *like])
    total: Sums[str] = Sums()
    for each in sums.values():
        total.update(each)
    streams = [stream] if stream else list(Stream)
    return Report(
        span,
        _figures(total),
        _reasons(total),
        {each.value: _part(span, sums.get(each.value, Sums())) for each in streams},
        {name.removeprefix(CAMPAIGN): _part(span, sums) for name, sums in _largest(campaigns.items())},
    )


def campaign_sums(session: Session, campaigns: Sequence[Campaign], now: datetime) -> dict[str, Sums[str]]:
    """Return for each of a tenant's campaigns what was counted of its emails, metric by metric."""
    if not campaigns:
        return {}
    # Every column of the sums' key is named, day by day: no look at what others sent in these days.
    first = min(campaign.created_at for campaign in campaigns).date()
    days = [first + timedelta(days=number) for number in range((now.date() - first).days + 2)]
    where = [
        FACTS.c.tenant_id == campaigns[0].tenant_id,
        FACTS.c.day.in_(days),
        FACTS.c.stream.in_({campaign.stream.value for campaign in campaigns}),
        FACTS.c.dimension == "campaign",
        FACTS.c.value.in_([campaign.id for campaign in campaigns]),
    ]
    found = _sums(session, FACTS.c.value, where)
    return {campaign.id: found.get(campaign.id, Sums()) for campaign in campaigns}


def stream_sums(session: Session, tenant_id: int, stream: Stream, first: date, last: date) -> Sums[str]:
    """Return what was counted of a tenant's mail of a stream, accepted on these days, metric by metric."""
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    where = [
        FACTS.c.tenant_id == tenant_id,
        FACTS.c.day.in_(days),
        FACTS.c.stream == stream.value,
        FACTS.c.dimension == ALL[0],
        FACTS.c.value == ALL[1],
    ]
    return _sums(session, FACTS.c.dimension, where).get(ALL[0], Sums())


def outstanding(sums: Sums[str]) -> int:
    """Return how many emails have not come to an end: requested, less every final status."""
    ended = sum(_reasons(sums).values()) + sum(sums[metric] for metric in _ENDED)
    return max(0, sums["requested"] - ended)


def campaign_report(session: Session, campaign: Campaign, now: datetime) -> Report:
    """Return the numbers of one campaign since it was made; `held` is what no final status has yet."""
    sums = campaign_sums(session, [campaign], now)[campaign.id]
    held = Figure(
        "held",
        outstanding(sums),
        "requested - every final status: waits until the campaign runs, for its turn, or for another try",
    )
    span = Span(campaign.created_at.date(), now.date())
    figures = _figures(sums, requested="recipients added, one email each")
    return Report(span, (*figures, held), _reasons(sums), {}, {})


def progress(sums: Sums[str]) -> dict[str, int]:
    """Return the few numbers that say how far a campaign is; requested is the sum of the others."""
    suppressed = sum(_reasons(sums).values())
    ended = {metric: sums[metric] for metric in _ENDED}
    return {"requested": sums["requested"], "held": outstanding(sums), "suppressed": suppressed, **ended}


def totals(session: Session) -> list[tuple[str, str, int]]:
    """Return every tenant's sums together, by stream and metric, since the beginning."""
    statement = (
        select(FACTS.c.stream, FACTS.c.metric, func.sum(FACTS.c.amount))
        .where(FACTS.c.dimension == "all")
        .group_by(FACTS.c.stream, FACTS.c.metric)
        .order_by(FACTS.c.stream, FACTS.c.metric)
    )
    return [(stream, metric, int(amount)) for stream, metric, amount in session.execute(statement)]


def _sums(session: Session, group: ColumnElement[str], where: Iterable[ColumnElement[bool]]) -> dict[str, Sums[str]]:
    statement = select(group, FACTS.c.metric, func.sum(FACTS.c.amount)).where(*where)
    found: dict[str, Sums[str]] = {}
    for name, metric, amount in session.execute(statement.group_by(group, FACTS.c.metric)):
        found.setdefault(name, Sums())[metric] = int(amount)
    return found


def _largest(campaigns: Iterable[tuple[str, Sums[str]]]) -> list[tuple[str, Sums[str]]]:
    return sorted(campaigns, key=lambda each: (-each[1]["requested"], each[0]))[:_MOST_CAMPAIGNS]


def _part(span: Span, sums: Sums[str]) -> Report:
    return Report(span, _figures(sums), _reasons(sums), {}, {})


def _reasons(sums: Sums[str]) -> Mapping[str, int]:
    return {
        metric.removeprefix(_SUPPRESSED): amount
        for metric, amount in sorted(sums.items())
        if metric.startswith(_SUPPRESSED)
    }


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _figures(
    sums: Sums[str], *, requested: str = "emails accepted in these days, one a recipient"
) -> tuple[Figure, ...]:
    """Work out every number from the sums; a formula names the figures above it."""
    suppressed = sum(_reasons(sums).values())
    opened = sums["opens:human"] + sums["opens:proxy"]
    refused, returned = sums["bounced"], sums["returned"]
    bounced, tried, accepted = refused + returned, sums["sent"] + refused, sums["sent"] - returned
    arrived, known = reached(sums)
    return (
        Figure("requested", sums["requested"], requested),
        Figure("suppressed", suppressed, "requested and not sent, because a suppression forbids it"),
        Figure("waiting", outstanding(sums), "requested - every final status"),
        Figure("sent", sums["sent"], "the relay took it (sent_at is set)"),
        Figure("deferrals", sums["deferred"], "tries that the relay put off, all counted"),
        Figure("refused_at_once", refused, "the recipient's side refused it when it was sent, or retries ran out"),
        Figure("returned", returned, "sent, and came back later"),
        Figure("bounced", bounced, "refused_at_once + returned"),
        Figure("hard_bounced", sums["hard_bounced"], "of these, the address is the cause and will stay so"),
        Figure("soft_bounced", sums["soft_bounced"], "bounced - hard_bounced"),
        Figure("accepted", accepted, "sent - returned"),
        Figure("delivered", sums["delivered"], "a provider, or a delivery report, told that it arrived"),
        Figure("failed", sums["failed"], "our or the content's fault"),
        Figure("cancelled", sums["cancelled"], "taken back before it was sent"),
        Figure("expired", sums["expired"], "expires_at passed before it was sent"),
        Figure("uncertain", sums["uncertain"], "a worker died between asking and answer, and it is not sent twice"),
        Figure("bounce_rate", _rate(bounced, tried), f"bounced / {_TRIED}"),
        Figure("hard_bounce_rate", _rate(sums["hard_bounced"], tried), f"hard_bounced / {_TRIED}"),
        Figure("soft_bounce_rate", _rate(sums["soft_bounced"], tried), f"soft_bounced / {_TRIED}"),
        Figure("tracked", sums["tracked"], "sent with a pixel"),
        Figure("coverage", _rate(sums["tracked"], sums["sent"]), "tracked / sent"),
        Figure("opens_human", sums["opens:human"], "tracked emails whose picture a person's mail program loaded"),
        Figure("opens_proxy", sums["opens:proxy"], "tracked emails whose picture a proxy loaded for the person"),
        Figure("opens_machine", sums["opens:machine"], "tracked emails whose picture a machine loaded; never added"),
        Figure(
            "opens_unknown", sums["opens:unknown"], "tracked emails whose picture who-knows-who loaded; never added"
        ),
        Figure("opened", opened, "opens_human + opens_proxy, each email once a class"),
        Figure("open_rate", _rate(min(opened, sums["tracked"]), sums["tracked"]), "opened / tracked, at most 1"),
        Figure("unsubscribed", sums["unsubscribed"], "emails whose recipient left by them"),
        Figure("resubscribed", sums["resubscribed"], "of these, taken back"),
        Figure("unsubscribe_rate", _rate(sums["unsubscribed"], sums["sent"]), "unsubscribed / sent"),
        Figure("complained", sums["complained"], "emails whose recipient called them spam"),
        Figure("complaint_rate", _rate(sums["complained"], arrived), f"complained / {known}"),
    )


def reached(sums: Sums[str]) -> tuple[int, str]:
    """Return how many mails arrived, and how that is known: told where most were, else what did not come back.

    Of two relays only one may tell; what it tells says nothing of the other's mail.
    """
    if 2 * sums["delivered"] > sums["sent"]:
        return sums["delivered"], "delivered"
    return sums["sent"] - sums["returned"], "accepted (deliveries are not told, or of fewer than half of the mails)"
