"""What people can leave."""

from http import HTTPStatus

from mailer import drafts
from mailer.web.api import keeping, shapes
from mailer.web.api.endpoints.endpoint import ADMIN, READ, Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(method="GET", path="/v1/topics", scopes=READ, handler=keeping.topics, answers=(shapes.TopicPage,)),
    Endpoint(
        method="POST",
        path="/v1/topics",
        scopes=ADMIN,
        handler=keeping.create_topic,
        body=drafts.TopicDraft,
        answers=(shapes.TopicView,),
        status=HTTPStatus.CREATED,
    ),
    Endpoint(
        method="PATCH",
        path="/v1/topics/{key}",
        scopes=ADMIN,
        handler=keeping.change_topic,
        body=drafts.TopicChange,
        answers=(shapes.TopicView,),
    ),
)
