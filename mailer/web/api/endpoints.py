"""The table of endpoints: it drives the routes, the keys' scopes and the OpenAPI document."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import BaseModel
from starlette.responses import Response

from mailer import drafts
from mailer.campaigns import drafts as campaign_drafts
from mailer.models import Scope
from mailer.web.api import campaigning, keeping, operating, queries, sending, shapes, showing, suppressing
from mailer.web.api.calls import Answer, Call

Handler = Callable[[Call], Awaitable[Answer | Response]]

_SEND = frozenset({Scope.SEND_TRANSACTIONAL, Scope.SEND_PROMOTIONAL})
_READ = frozenset({Scope.READ})
_LOOK = _SEND | _READ
_SUPPRESSIONS = frozenset({Scope.SUPPRESSIONS})
_ADMIN = frozenset({Scope.ADMIN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    #: A key with any of these may call it; `admin` may call everything.
    scopes: frozenset[Scope]
    handler: Handler
    #: What it answers; several where the request decides.
    answers: tuple[type[BaseModel], ...]
    status: HTTPStatus = HTTPStatus.OK
    body: type[BaseModel] | None = None
    body_required: bool = True
    query: type[BaseModel] | None = None
    #: Takes an Idempotency-Key.
    once: bool = False
    #: Asks for the key in the transaction that writes (`Call.sender`), so that at the door a recent look will do.
    asks_key_again: bool = False
    #: The other types of body that it takes, of any length: the handler reads them from the wire.
    streamed: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """Return what it does, in one sentence."""
        return (self.handler.__doc__ or "").strip().partition("\n")[0]

    @property
    def name(self) -> str:
        """Return what a generated client calls it."""
        return f"{self.handler.__module__.rpartition('.')[2]}_{getattr(self.handler, '__name__', '')}"


_CAMPAIGNS = frozenset({Scope.CAMPAIGNS})
_CAMPAIGN = "/v1/campaigns/{id}"


def _step(name: str, handler: Handler, body: type[BaseModel] | None = None, *, required: bool = True) -> Endpoint:
    """Return the endpoint that leads a campaign on."""
    return Endpoint(
        method="POST",
        path=f"{_CAMPAIGN}/{name}",
        scopes=_CAMPAIGNS,
        handler=handler,
        body=body,
        body_required=required,
        answers=(shapes.CampaignView,),
        once=True,
    )


_OF_CAMPAIGNS = (
    Endpoint(
        method="POST",
        path="/v1/campaigns",
        scopes=_CAMPAIGNS,
        handler=campaigning.create,
        body=campaign_drafts.CampaignDraft,
        answers=(shapes.CampaignView,),
        status=HTTPStatus.CREATED,
        once=True,
    ),
    Endpoint(
        method="GET",
        path="/v1/campaigns",
        scopes=_CAMPAIGNS,
        handler=campaigning.listing,
        query=queries.CampaignQuery,
        answers=(shapes.CampaignPage,),
    ),
    Endpoint(method="GET", path=_CAMPAIGN, scopes=_CAMPAIGNS, handler=campaigning.show, answers=(shapes.CampaignView,)),
    Endpoint(
        method="PATCH",
        path=_CAMPAIGN,
        scopes=_CAMPAIGNS,
        handler=campaigning.change,
        body=campaign_drafts.CampaignChange,
        answers=(shapes.CampaignView,),
    ),
    Endpoint(
        method="DELETE", path=_CAMPAIGN, scopes=_CAMPAIGNS, handler=campaigning.delete, answers=(shapes.DeletedView,)
    ),
    Endpoint(
        method="POST",
        path=f"{_CAMPAIGN}/recipients",
        scopes=_CAMPAIGNS,
        handler=campaigning.add,
        body=campaign_drafts.Recipients,
        streamed=("application/x-ndjson", "text/csv"),
        answers=(shapes.AddedRecipientsView,),
    ),
    Endpoint(
        method="GET",
        path=f"{_CAMPAIGN}/recipients",
        scopes=_CAMPAIGNS,
        handler=campaigning.recipients,
        query=queries.RecipientQuery,
        answers=(shapes.EmailPage,),
    ),
    _step("start", campaigning.start),
    _step("schedule", campaigning.schedule, campaign_drafts.Timing),
    _step("pause", campaigning.pause, campaign_drafts.Pausing, required=False),
    _step("resume", campaigning.resume),
    _step("cancel", campaigning.cancel),
    Endpoint(
        method="POST",
        path=f"{_CAMPAIGN}/test",
        scopes=_CAMPAIGNS,
        handler=campaigning.test,
        body=campaign_drafts.Trial,
        answers=(shapes.BatchView,),
        status=HTTPStatus.ACCEPTED,
        once=True,
    ),
    Endpoint(
        method="GET",
        path=f"{_CAMPAIGN}/report",
        scopes=_CAMPAIGNS,
        handler=campaigning.report,
        answers=(shapes.CampaignReportView,),
    ),
)

#: Of two paths that fit, the first is taken.
ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/emails",
        scopes=_SEND,
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
        scopes=_READ,
        handler=showing.listing,
        query=queries.EmailQuery,
        answers=(shapes.EmailPage,),
    ),
    Endpoint(
        method="POST",
        path="/v1/emails/batch",
        scopes=_SEND,
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
        scopes=_LOOK,
        handler=sending.render,
        body=drafts.RenderDraft,
        answers=(shapes.RenderedView,),
    ),
    Endpoint(method="GET", path="/v1/emails/{id}", scopes=_READ, handler=showing.email, answers=(shapes.EmailView,)),
    Endpoint(
        method="PATCH",
        path="/v1/emails/{id}",
        scopes=_SEND,
        handler=sending.reschedule,
        body=drafts.Reschedule,
        answers=(shapes.ChangedView,),
    ),
    Endpoint(
        method="POST",
        path="/v1/emails/{id}/cancel",
        scopes=_SEND,
        handler=sending.cancel,
        answers=(shapes.ChangedView,),
    ),
    Endpoint(
        method="POST",
        path="/v1/emails/{id}/resolve",
        scopes=_ADMIN,
        handler=operating.resolve,
        body=operating.ResolveDraft,
        answers=(shapes.ChangedView,),
    ),
    Endpoint(method="GET", path="/v1/streams", scopes=_READ, handler=operating.listing, answers=(shapes.StreamPage,)),
    Endpoint(
        method="GET", path="/v1/templates", scopes=_READ, handler=keeping.templates_of, answers=(shapes.TemplatePage,)
    ),
    Endpoint(
        method="POST",
        path="/v1/templates",
        scopes=_ADMIN,
        handler=keeping.save_template,
        body=drafts.TemplateDraft,
        answers=(shapes.TemplateView,),
        status=HTTPStatus.CREATED,
    ),
    Endpoint(
        method="GET",
        path="/v1/templates/{name}",
        scopes=_READ,
        handler=keeping.template,
        answers=(shapes.TemplateView,),
    ),
    Endpoint(
        method="GET",
        path="/v1/templates/{name}/versions",
        scopes=_READ,
        handler=keeping.versions,
        answers=(shapes.TemplatePage,),
    ),
    Endpoint(
        method="GET",
        path="/v1/templates/{name}/versions/{number}",
        scopes=_READ,
        handler=keeping.version,
        answers=(shapes.TemplateView,),
    ),
    Endpoint(
        method="GET",
        path="/v1/metrics",
        scopes=_READ,
        handler=showing.metrics,
        query=queries.MetricsQuery,
        answers=(shapes.MetricsView,),
    ),
    Endpoint(method="GET", path="/v1/topics", scopes=_READ, handler=keeping.topics, answers=(shapes.TopicPage,)),
    Endpoint(
        method="POST",
        path="/v1/topics",
        scopes=_ADMIN,
        handler=keeping.create_topic,
        body=drafts.TopicDraft,
        answers=(shapes.TopicView,),
        status=HTTPStatus.CREATED,
    ),
    Endpoint(
        method="GET",
        path="/v1/suppressions/check",
        scopes=_SUPPRESSIONS,
        handler=suppressing.check,
        query=queries.CheckQuery,
        answers=(shapes.CheckView,),
    ),
    Endpoint(
        method="GET",
        path="/v1/suppressions",
        scopes=_SUPPRESSIONS,
        handler=suppressing.listing,
        query=queries.SuppressionQuery,
        answers=(shapes.SuppressionPage,),
    ),
    Endpoint(
        method="POST",
        path="/v1/suppressions",
        scopes=_SUPPRESSIONS,
        handler=suppressing.add,
        body=drafts.SuppressionDraft,
        answers=(shapes.AddedView,),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/suppressions/{id}",
        scopes=_SUPPRESSIONS,
        handler=suppressing.lift,
        body=drafts.LiftDraft,
        body_required=False,
        query=queries.LiftQuery,
        answers=(shapes.SuppressionView,),
    ),
    *_OF_CAMPAIGNS,
)
