"""Every screen of the dashboard: the one table of them, and their routes."""

from starlette.routing import BaseRoute

from mailer import secrets
from mailer.service import Service
from mailer.web.dashboard import home
from mailer.web.dashboard.asking import OwnScreen, Screen
from mailer.web.dashboard.entering import Entrance
from mailer.web.dashboard.gate import Gate
from mailer.web.dashboard.pages import Pages

#: For what the secrets of second factors are sealed.
SEALED_FOR = "second factor"
#: The screens of a tenant; each names its permission.
SCREENS: tuple[Screen, ...] = (*home.SCREENS,)
#: A user's own pages.
OWN: tuple[OwnScreen, ...] = ()


def routes(service: Service) -> list[BaseRoute]:
    """Return every route below `/app`."""
    gate = Gate(service=service, pages=Pages())
    entrance = Entrance(gate=gate, seals=secrets.seals(service.settings, SEALED_FOR))
    return [*entrance.routes(), *map(gate.own, OWN), *map(gate.screen, SCREENS)]
