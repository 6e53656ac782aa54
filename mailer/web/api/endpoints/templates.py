"""Templates and their versions."""

from http import HTTPStatus

from mailer import drafts
from mailer.web.api import keeping, shapes
from mailer.web.api.endpoints.endpoint import ADMIN, READ, Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET", path="/v1/templates", scopes=READ, handler=keeping.templates_of, answers=(shapes.TemplatePage,)
    ),
    Endpoint(
        method="POST",
        path="/v1/templates",
        scopes=ADMIN,
        handler=keeping.save_template,
        body=drafts.TemplateDraft,
        answers=(shapes.TemplateView,),
        status=HTTPStatus.CREATED,
    ),
    Endpoint(
        method="GET",
        path="/v1/templates/{name}",
        scopes=READ,
        handler=keeping.template,
        answers=(shapes.TemplateView,),
    ),
    Endpoint(
        method="GET",
        path="/v1/templates/{name}/versions",
        scopes=READ,
        handler=keeping.versions,
        answers=(shapes.TemplatePage,),
    ),
    Endpoint(
        method="GET",
        path="/v1/templates/{name}/versions/{number}",
        scopes=READ,
        handler=keeping.version,
        answers=(shapes.TemplateView,),
    ),
)
