"""Opting in."""

from http import HTTPStatus

from mailer.drafts.subscribing import SubscribeDraft
from mailer.models import Scope
from mailer.web.api import shapes, subscribing
from mailer.web.api.endpoints.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/people/{email}/subscribe",
        scopes=frozenset({Scope.PEOPLE}),
        handler=subscribing.subscribe,
        body=SubscribeDraft,
        answers=(shapes.AskedView,),
        status=HTTPStatus.ACCEPTED,
        once=True,
    ),
)
