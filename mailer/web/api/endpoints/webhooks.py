"""Webhooks: endpoints, messages, secrets."""

from http import HTTPStatus

from mailer.models import Scope
from mailer.web.api import hooking, queries
from mailer.web.api.endpoints.endpoint import Endpoint
from mailer.web.api.shapes import DeletedView
from mailer.web.api.shapes.webhooks import (
    DeliveryPage,
    ReplayedView,
    TestedView,
    WebhookPage,
    WebhookSecretView,
    WebhookView,
)
from mailer.webhooks import drafts

_WEBHOOKS = frozenset({Scope.WEBHOOKS})
_ONE = "/v1/webhooks/{id}"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/webhooks",
        scopes=_WEBHOOKS,
        handler=hooking.create,
        body=drafts.WebhookDraft,
        answers=(WebhookSecretView,),
        status=HTTPStatus.CREATED,
    ),
    Endpoint(method="GET", path="/v1/webhooks", scopes=_WEBHOOKS, handler=hooking.listing, answers=(WebhookPage,)),
    Endpoint(method="GET", path=_ONE, scopes=_WEBHOOKS, handler=hooking.show, answers=(WebhookView,)),
    Endpoint(
        method="PATCH",
        path=_ONE,
        scopes=_WEBHOOKS,
        handler=hooking.change,
        body=drafts.WebhookChange,
        answers=(WebhookView,),
    ),
    Endpoint(method="DELETE", path=_ONE, scopes=_WEBHOOKS, handler=hooking.delete, answers=(DeletedView,)),
    Endpoint(
        method="POST",
        path=f"{_ONE}/rotate",
        scopes=_WEBHOOKS,
        handler=hooking.rotate,
        body=drafts.RotateDraft,
        body_required=False,
        answers=(WebhookSecretView,),
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/test",
        scopes=_WEBHOOKS,
        handler=hooking.test,
        answers=(TestedView,),
        status=HTTPStatus.ACCEPTED,
    ),
    Endpoint(
        method="POST",
        path=f"{_ONE}/replay",
        scopes=_WEBHOOKS,
        handler=hooking.replay,
        body=drafts.ReplayDraft,
        answers=(ReplayedView,),
        status=HTTPStatus.ACCEPTED,
    ),
    Endpoint(
        method="GET",
        path=f"{_ONE}/deliveries",
        scopes=_WEBHOOKS,
        handler=hooking.log,
        query=queries.DeliveryQuery,
        answers=(DeliveryPage,),
    ),
)
