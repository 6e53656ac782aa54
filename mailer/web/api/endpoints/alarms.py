"""Scanner alarms."""

from mailer.web.api import alarming
from mailer.web.api.endpoints.endpoint import SUPPRESSIONS, Endpoint
from mailer.web.api.shapes.alarms import AlarmPage, UndoneView

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/suppressions/alarms",
        scopes=SUPPRESSIONS,
        handler=alarming.listing,
        query=alarming.AlarmQuery,
        answers=(AlarmPage,),
    ),
    Endpoint(
        method="POST",
        path="/v1/suppressions/alarms/{id}/undo",
        scopes=SUPPRESSIONS,
        handler=alarming.undo,
        body=alarming.UndoDraft,
        answers=(UndoneView,),
    ),
)
