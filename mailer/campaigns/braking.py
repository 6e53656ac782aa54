"""Too many complaints, or addresses that do not exist: a campaign, or a tenant's promotional mail, pauses itself."""

import logging
from collections import Counter as Sums
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import delete, select
from sqlmodel import Session, SQLModel, col

from mailer import halts, reports
from mailer.campaigns.planning import taken
from mailer.campaigns.steering import halt
from mailer.models import Brake, BrakeState, Campaign, CampaignStatus, Tally
from mailer.settings import Limits
from mailer.submission import Submitter
from suppression.rules import Stream

logger = logging.getLogger(__name__)

_TALLY = SQLModel.metadata.tables[str(Tally.__tablename__)]
#: How long is remembered what was let go on.
_KEPT = timedelta(days=90)
#: How many days a tenant's mail is judged by, by the day on which it was accepted, today included.
WINDOW = 7
_SOME = 100


class Measure(NamedTuple):
    """What is judged: bad facts of so many mails."""

    name: str
    #: In the words of a sentence.
    words: str
    facts: Callable[[Sums[str]], int]
    mails: Callable[[Sums[str]], int]
    #: Below these nothing is judged: one of three recipients is no rate.
    least_facts: int
    least_mails: int


#: Soft bounces are no sign of a bad list, and what was refused for our own sake is not the list's fault.
MEASURES = (
    Measure(
        "complaints",
        "of the mail that arrived was called spam",
        lambda sums: sums["complained"],
        lambda sums: reports.reached(sums)[0],
        3,
        500,
    ),
    Measure(
        "bounces",
        "of the mail went to addresses that do not exist",
        lambda sums: sums["hard_bounced"],
        lambda sums: sums["sent"] + sums["bounced"],
        10,
        200,
    ),
)


class Subject(NamedTuple):
    """Whose mail is judged: a campaign's, else all of a tenant's stream."""

    tenant_id: int
    stream: Stream
    campaign: Campaign | None = None

    @property
    def key(self) -> str:
        """Return what names it."""
        return self.campaign.id if self.campaign is not None else f"{self.tenant_id}:{self.stream}"


def brake(session: Session, limits: Mapping[str, Limits | None], now: datetime) -> int:
    """Pause what is past a limit, and return how much that was; call it before the facts are folded (`counters.fold`).

    `limits` has a pair for each measure's name. It looks at running campaigns, at the streams of whoever got a
    complaint or a bounce since the last call, and at what is paused already: at counters only.
    """
    old = (col(Brake.state) != BrakeState.PAUSED, col(Brake.at) < now - _KEPT)
    session.execute(delete(Brake).where(*old))
    known = {(each.subject, each.measure): each for each in session.execute(select(Brake)).scalars()}
    paused = _follow_paused(session, known.values(), now)
    stopped = 0
    for subject in _subjects(session, now):
        if subject.key not in paused:
            stopped += _judge(session, subject, limits, known, now)
    return stopped


def warnings(session: Session, now: datetime, *, tenant_id: int | None = None) -> Sequence[Brake]:
    """Return what is above a limit at which somebody should look, or is paused by itself, the newest first."""
    recent = select(Brake).where(col(Brake.state) != BrakeState.RESUMED, col(Brake.at) > now - timedelta(days=WINDOW))
    if tenant_id is not None:
        recent = recent.where(col(Brake.tenant_id) == tenant_id)
    return session.execute(recent.order_by(col(Brake.at).desc()).limit(_SOME)).scalars().all()


def warned(session: Session, some: Sequence[Campaign]) -> Mapping[str, Sequence[Brake]]:
    """Return of campaigns of one tenant what is too much with each, or was until somebody let it go on."""
    found: dict[str, list[Brake]] = {campaign.id: [] for campaign in some}
    rows = select(Brake).where(col(Brake.subject).in_(list(found))).order_by(col(Brake.measure))
    for row in session.execute(rows).scalars():
        found[row.subject].append(row)
    return found


def _subjects(session: Session, now: datetime) -> Iterable[Subject]:
    """Return what has to be judged: campaigns that run, and every stream with fresh facts or such a campaign."""
    running = select(Campaign).where(col(Campaign.status) == CampaignStatus.RUNNING).limit(_SOME)
    campaigns = session.execute(running).scalars().all()
    fresh = select(_TALLY.c.tenant_id, _TALLY.c.stream).where(
        _TALLY.c.metric.in_(("complained", "hard_bounced")), _TALLY.c.dimension == "all"
    )
    streams = {(row.tenant_id, Stream(row.stream)) for row in session.execute(fresh.distinct())}
    streams |= {(campaign.tenant_id, campaign.stream) for campaign in campaigns}
    yield from (Subject(campaign.tenant_id, campaign.stream, campaign) for campaign in campaigns)
    yield from (Subject(tenant_id, stream) for tenant_id, stream in sorted(streams))


def _sums(session: Session, subject: Subject, now: datetime, first: date | None = None) -> Sums[str]:
    if subject.campaign is not None:
        return reports.campaign_sums(session, [subject.campaign], now)[subject.campaign.id]
    today = now.date()
    begin = today - timedelta(days=WINDOW - 1)
    span = reports.Span(max(begin, first or begin), today)
    return reports.stream_sums(session, subject.tenant_id, span, [subject.stream])[subject.stream]


def _judge(
    session: Session,
    subject: Subject,
    limits: Mapping[str, Limits | None],
    known: Mapping[tuple[str, str], Brake],
    now: datetime,
) -> bool:
    """Warn of a subject, once in a while, or pause it; return whether it was paused."""
    for measure in MEASURES:
        limit, row = limits[measure.name], known.get((subject.key, measure.name))
        if limit is None:
            continue
        resumed = row is not None and row.state is BrakeState.RESUMED
        sums = _sums(session, subject, now, row.day if row is not None and resumed else None)
        facts, mails = measure.facts(sums), measure.mails(sums)
        if row is not None and resumed and (subject.campaign is not None or row.day > now.date() - timedelta(WINDOW)):
            facts, mails = facts - row.known_facts, mails - row.known_mails
        if facts < measure.least_facts or mails < measure.least_mails or facts / mails < limit.warn:
            continue
        pausing = facts / mails >= limit.pause and subject.stream is Stream.PROMOTIONAL
        reason = (
            f"{facts / mails:.2%} {measure.words} ({facts:,} of {mails:,}); "
            f"the limit is {limit.pause if pausing else limit.warn:.2%}"
        )
        if not pausing and row is not None and row.at > now - timedelta(days=WINDOW):
            continue
        logger.warning("%s: %s", subject.key, reason)
        if not pausing:
            _write(session, subject, measure, row, BrakeState.WARNED, reason, now)
            continue
        # All that is known by now is not judged again, whichever measure it belongs to.
        for each in MEASURES:
            _write(session, subject, each, known.get((subject.key, each.name)), BrakeState.PAUSED, reason, now)
        _stop(session, subject, reason, now)
        return True
    return False


def _write(
    session: Session,
    subject: Subject,
    measure: Measure,
    row: Brake | None,
    state: BrakeState,
    reason: str,
    now: datetime,
) -> None:
    if row is None:
        row = Brake(
            subject=subject.key,
            measure=measure.name,
            tenant_id=subject.tenant_id,
            stream=subject.stream.value,
            campaign_id=subject.campaign.id if subject.campaign else None,
            state=state,
            reason=reason,
            at=now,
            day=now.date(),
        )
    row.state, row.reason, row.at = state, reason, now
    session.add(row)
    session.flush()


def _stop(session: Session, subject: Subject, reason: str, now: datetime) -> None:
    note = f"it paused itself: {reason}"
    if subject.campaign is None:
        halts.pause(session, subject.stream, note, now, tenant_id=subject.tenant_id, by=halts.By.BRAKE)
        return
    campaign = taken(session, Submitter.trusted(subject.tenant_id), subject.campaign.id)
    if campaign.status is CampaignStatus.RUNNING:
        halt(session, campaign, note, now)


def _follow_paused(session: Session, rows: Iterable[Brake], now: datetime) -> set[str]:
    """Return what is still paused; what is known of it grows until somebody lets it go on, and is then not judged."""
    tenants = halts.current(session, now).tenants
    still = set()
    for row in rows:
        if row.state is not BrakeState.PAUSED:
            continue
        campaign = session.get(Campaign, row.campaign_id) if row.campaign_id else None
        if row.campaign_id and campaign is None:
            session.delete(row)
            continue
        stream = Stream(row.stream)
        measure = next(each for each in MEASURES if each.name == row.measure)
        row.day = now.date()
        sums = _sums(session, Subject(row.tenant_id, stream, campaign), now, row.day)
        stands = campaign.status is CampaignStatus.PAUSED if campaign else (stream, row.tenant_id) in tenants
        row.known_facts, row.known_mails = measure.facts(sums), measure.mails(sums)
        if stands:
            still.add(row.subject)
        else:
            row.state = BrakeState.RESUMED
    session.flush()
    return still
