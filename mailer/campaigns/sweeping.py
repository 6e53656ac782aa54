"""What becomes of campaigns by themselves: they start when it is time, expire, are settled, are completed."""

from collections import Counter
from datetime import datetime

from sqlalchemy import ColumnElement, any_, func, select, text, update
from sqlmodel import Session, SQLModel, col

from mailer import counters, reports
from mailer.campaigns.planning import desk_of, taken
from mailer.campaigns.steering import begin, end, halt
from mailer.compose.errors import ContentError
from mailer.counters import Tally
from mailer.database import on_postgresql
from mailer.errors import MailerError
from mailer.models import Campaign, CampaignStatus, Email
from mailer.status import Status
from mailer.submission import Intake, Submitter

_campaign = SQLModel.metadata.tables[str(Campaign.__tablename__)]
_email = SQLModel.metadata.tables[str(Email.__tablename__)]

#: How many rows one call settles; fewer on SQLite, whose one writer others wait for.
MOST = 5_000
MOST_ON_SQLITE = 1_000
#: How many campaigns one call looks at of each kind.
_SOME = 100
#: What ended campaign -> what its held mail becomes.
_ENDS = {CampaignStatus.CANCELLED: Status.CANCELLED, CampaignStatus.EXPIRED: Status.EXPIRED}
_EXPIRING = (CampaignStatus.SCHEDULED, CampaignStatus.RUNNING, CampaignStatus.PAUSED)

# Every campaign with held mail, one step of the partial index each, however many rows each has.
_HOLDING = """
    WITH RECURSIVE holding(id) AS (
        SELECT min(campaign_id) FROM email WHERE {held}
        UNION ALL
        SELECT (SELECT min(campaign_id) FROM email WHERE {held} AND campaign_id > holding.id)
        FROM holding WHERE holding.id IS NOT NULL
    )
    SELECT id FROM holding WHERE id IS NOT NULL
"""


def sweep(session: Session, context: Intake, now: datetime) -> int:
    """Do what is due for campaigns, at most some thousand rows; call it again until it returns 0.

    Two clocks at once are harmless: each campaign is taken before it is changed. Rings nobody: a worker looks for what
    is due twice a second.
    """
    changed = _start_due(session, context, now) + _expire_due(session, now)
    holding = set(session.execute(text(_HOLDING.format(held=_held(session)))).scalars())
    changed += _run_again(session, holding) + _settle_held(session, holding, now)
    return changed + _complete(session, holding, now)


def _held(session: Session) -> str:
    """Return the predicate of the partial index on held mail, in the dialect's words."""
    return "held" if on_postgresql(session) else "held = 1"


def _start_due(session: Session, context: Intake, now: datetime) -> int:
    """Start what is scheduled for now; what cannot start is paused, and says why."""
    due = (col(Campaign.status) == CampaignStatus.SCHEDULED, col(Campaign.scheduled_at) <= now)
    started = 0
    some = select(_campaign.c.id, _campaign.c.tenant_id).where(*due).limit(_SOME)
    for identifier, tenant_id in session.execute(some).all():
        sender = Submitter.trusted(tenant_id)
        campaign = taken(session, sender, identifier)
        if campaign.status is not CampaignStatus.SCHEDULED or (campaign.scheduled_at or now) > now:
            continue
        if campaign.expires_at is not None and campaign.expires_at <= now:
            continue
        try:
            begin(desk_of(session, sender, context, now), campaign)
        except (MailerError, ContentError) as error:
            halt(session, campaign, f"it could not start: {error}", now)
        started += 1
    return started


def _expire_due(session: Session, now: datetime) -> int:
    due = (col(Campaign.status).in_(_EXPIRING), col(Campaign.expires_at) <= now)
    ended = 0
    some = select(_campaign.c.id, _campaign.c.tenant_id).where(*due).limit(_SOME)
    for identifier, tenant_id in session.execute(some).all():
        campaign = taken(session, Submitter.trusted(tenant_id), identifier)
        if campaign.status in _EXPIRING and campaign.expires_at is not None and campaign.expires_at <= now:
            end(session, campaign, CampaignStatus.EXPIRED, now)
            ended += 1
    return ended


def _run_again(session: Session, holding: set[str]) -> int:
    """Let completed campaigns run that have held mail: somebody decided that a mail in doubt is sent again."""
    rested = (col(Campaign.id).in_(holding), col(Campaign.status) == CampaignStatus.COMPLETED)
    again = update(_campaign).where(*rested).values(status=CampaignStatus.RUNNING, ended_at=None)
    return len(session.execute(again.returning(_campaign.c.id)).all())


def _settle_held(session: Session, holding: set[str], now: datetime) -> int:
    """Settle held mail of campaigns that are over.

    Its recipients are counted, but get no event each: the campaign's own event says it once, and a million rows would
    say nothing more.
    """
    over = (col(Campaign.id).in_(holding), col(Campaign.status).in_(tuple(_ENDS)))
    left = most = MOST if on_postgresql(session) else MOST_ON_SQLITE
    for campaign in session.execute(select(Campaign).where(*over).limit(_SOME)).scalars().all():
        if left:
            left -= _settle(session, campaign, left, now)
    return most - left


def _settle(session: Session, campaign: Campaign, most: int, now: datetime) -> int:
    held = (_email.c.campaign_id == campaign.id, text(_held(session)))
    some = select(_email.c.id).where(*held).limit(most)
    chosen: ColumnElement[bool] = _email.c.id.in_(some.scalar_subquery())
    if on_postgresql(session):
        # An array is made once; IN may ask again for each row, and then skips what it has locked itself.
        chosen = _email.c.id == any_(func.array(some.with_for_update(skip_locked=True).scalar_subquery()))
    status = _ENDS[campaign.status]
    made = session.execute(
        update(_email)
        .where(chosen, _email.c.status == Status.HELD)
        .values(status=status, settled_at=now)
        .returning(_email.c.created_at)
    ).scalars()
    days, tally = Counter(moment.date() for moment in made), Tally()
    dims = counters.dimensions(
        tags=campaign.tags, topic=campaign.topic, template=campaign.template, campaign=campaign.id
    )
    for day, number in days.items():
        tally.add(campaign.tenant_id, day, campaign.stream, status, dims, number, at=now)
    tally.write(session)
    return days.total()


def _complete(session: Session, holding: set[str], now: datetime) -> int:
    """Complete what runs and has nobody left."""
    running = select(_campaign.c.id, _campaign.c.tenant_id).where(
        col(Campaign.status) == CampaignStatus.RUNNING, col(Campaign.id).not_in(holding)
    )
    completed = 0
    for identifier, tenant_id in session.execute(running).all():
        # Whoever adds has the campaign alone meanwhile: what they added is seen by the questions below.
        campaign = taken(session, Submitter.trusted(tenant_id), identifier)
        held = select(_email.c.id).where(_email.c.campaign_id == identifier, text(_held(session)))
        if campaign.status is not CampaignStatus.RUNNING or session.execute(held.limit(1)).first():
            continue
        sums = reports.campaign_sums(session, [campaign], now)[identifier]
        if sums["requested"] and not reports.outstanding(sums):
            end(session, campaign, CampaignStatus.COMPLETED, now)
            completed += 1
    return completed
