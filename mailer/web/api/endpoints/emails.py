"""Emails: send, show, change, resolve."""

from http import HTTPStatus

from mailer import drafts
from mailer.web.api import operating, queries, sending, shapes, showing
from mailer.web.api.endpoints.endpoint import ADMIN, LOOK, READ, SEND, Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/emails",
        scopes=SEND,
        handler=sending.send,
        body=drafts.Draft,
        answers=(shapes.PlacedView, shapes.SeveralView),
        status=HTTPStatus.ACCEPTED,
        once=True,
        asks_key_again=True,
    ),
    Endpoint(
        method="GET",
        path="/v1/emails",
        scopes=READ,
        handler=showing.listing,
        query=queries.EmailQuery,
        answers=(shapes.EmailPage,),
    ),
    Endpoint(
        method="POST",
        path="/v1/emails/batch",
        scopes=SEND,
        handler=sending.send_batch,
        body=drafts.Batch,
        answers=(shapes.BatchView,),
        status=HTTPStatus.ACCEPTED,
        once=True,
        asks_key_again=True,
    ),
    Endpoint(
        method="POST",
        path="/v1/emails/render",
        scopes=LOOK,
        handler=sending.render,
        body=drafts.RenderDraft,
        answers=(shapes.RenderedView,),
    ),
    Endpoint(method="GET", path="/v1/emails/{id}", scopes=READ, handler=showing.email, answers=(shapes.EmailView,)),
    Endpoint(
        method="PATCH",
        path="/v1/emails/{id}",
        scopes=SEND,
        handler=sending.reschedule,
        body=drafts.Reschedule,
        answers=(shapes.ChangedView,),
    ),
    Endpoint(
        method="POST",
        path="/v1/emails/{id}/cancel",
        scopes=SEND,
        handler=sending.cancel,
        answers=(shapes.ChangedView,),
    ),
    Endpoint(
        method="POST",
        path="/v1/emails/{id}/resolve",
        scopes=ADMIN,
        handler=operating.resolve,
        body=operating.ResolveDraft,
        answers=(shapes.ChangedView,),
    ),
)
