"""Campaigns: one mail to many people."""

from http import HTTPStatus

from pydantic import BaseModel

from mailer.campaigns import drafts as campaign_drafts
from mailer.web.api import campaigning, queries, shapes
from mailer.web.api.endpoints.endpoint import CAMPAIGNS, Endpoint, Handler

_CAMPAIGN = "/v1/campaigns/{id}"


def _step(name: str, handler: Handler, body: type[BaseModel] | None = None, *, required: bool = True) -> Endpoint:
    """Return the endpoint that leads a campaign on."""
    return Endpoint(
        method="POST",
        path=f"{_CAMPAIGN}/{name}",
        scopes=CAMPAIGNS,
        handler=handler,
        body=body,
        body_required=required,
        answers=(shapes.CampaignView,),
        once=True,
    )


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="POST",
        path="/v1/campaigns",
        scopes=CAMPAIGNS,
        handler=campaigning.create,
        body=campaign_drafts.CampaignDraft,
        answers=(shapes.CampaignView,),
        status=HTTPStatus.CREATED,
        once=True,
    ),
    Endpoint(
        method="GET",
        path="/v1/campaigns",
        scopes=CAMPAIGNS,
        handler=campaigning.listing,
        query=queries.CampaignQuery,
        answers=(shapes.CampaignPage,),
    ),
    Endpoint(method="GET", path=_CAMPAIGN, scopes=CAMPAIGNS, handler=campaigning.show, answers=(shapes.CampaignView,)),
    Endpoint(
        method="PATCH",
        path=_CAMPAIGN,
        scopes=CAMPAIGNS,
        handler=campaigning.change,
        body=campaign_drafts.CampaignChange,
        answers=(shapes.CampaignView,),
    ),
    Endpoint(
        method="DELETE", path=_CAMPAIGN, scopes=CAMPAIGNS, handler=campaigning.delete, answers=(shapes.DeletedView,)
    ),
    Endpoint(
        method="POST",
        path=f"{_CAMPAIGN}/recipients",
        scopes=CAMPAIGNS,
        handler=campaigning.add,
        body=campaign_drafts.Recipients,
        streamed=("application/x-ndjson", "text/csv"),
        answers=(shapes.AddedRecipientsView,),
    ),
    Endpoint(
        method="GET",
        path=f"{_CAMPAIGN}/recipients",
        scopes=CAMPAIGNS,
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
        scopes=CAMPAIGNS,
        handler=campaigning.test,
        body=campaign_drafts.Trial,
        answers=(shapes.BatchView,),
        status=HTTPStatus.ACCEPTED,
        once=True,
    ),
)
