"""Every screen of the dashboard: the one table of them, and their routes."""

from starlette.routing import BaseRoute

from mailer import secrets
from mailer.service import Service
from mailer.users import factors
from mailer.web.dashboard import (
    account,
    auditing,
    bounces,
    bringing,
    campaign,
    campaign_report,
    campaigns,
    comparing,
    deciding,
    drafting,
    emails,
    filling,
    flowing,
    home,
    hooking,
    keys,
    members,
    people,
    reports,
    scanners,
    suppressing,
    telling,
    templating,
    topics,
    writing,
)
from mailer.web.dashboard.asking import Screen
from mailer.web.dashboard.entering import Entrance
from mailer.web.dashboard.gate import Gate
from mailer.web.dashboard.pages import Pages
from mailer.web.dashboard.telling import Teller

#: The screens of a tenant; each names its permission.
SCREENS: tuple[Screen, ...] = (
    *home.SCREENS,
    *emails.SCREENS,
    *people.SCREENS,
    *campaigns.SCREENS,
    *drafting.SCREENS,
    *campaign.SCREENS,
    *filling.SCREENS,
    *campaign_report.SCREENS,
    *comparing.SCREENS,
    *reports.SCREENS,
    *scanners.SCREENS,
    *bringing.SCREENS,
    *suppressing.SCREENS,
    *topics.SCREENS,
    *flowing.SCREENS,
    *writing.SCREENS,
    *templating.SCREENS,
    *bounces.SCREENS,
    *hooking.SCREENS,
    *keys.SCREENS,
    *members.SCREENS,
    *auditing.SCREENS,
    *deciding.SCREENS,
)


def routes(service: Service) -> list[BaseRoute]:
    """Return every route below `/app`."""
    teller = Teller(secrets.seals(service.settings, telling.SEALED_FOR))
    gate = Gate(service=service, pages=Pages(), teller=teller)
    seals = secrets.seals(service.settings, factors.SEALED_FOR)
    entrance = Entrance(gate=gate, seals=seals)
    return [*entrance.routes(), *map(gate.own, account.own(seals)), *map(gate.screen, SCREENS), gate.nothing()]
