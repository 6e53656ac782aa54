"""Who gets no mail, and why."""

from mailer import drafts
from mailer.web.api import queries, shapes, suppressing
from mailer.web.api.endpoints.endpoint import SUPPRESSIONS, Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/v1/suppressions/check",
        scopes=SUPPRESSIONS,
        handler=suppressing.check,
        query=queries.CheckQuery,
        answers=(shapes.CheckView,),
    ),
    Endpoint(
        method="POST",
        path="/v1/suppressions/check",
        scopes=SUPPRESSIONS,
        handler=suppressing.check_list,
        body=drafts.CheckDraft,
        answers=(shapes.ChecksView,),
    ),
    Endpoint(
        method="GET",
        path="/v1/suppressions",
        scopes=SUPPRESSIONS,
        handler=suppressing.listing,
        query=queries.SuppressionQuery,
        answers=(shapes.SuppressionPage,),
    ),
    Endpoint(
        method="POST",
        path="/v1/suppressions",
        scopes=SUPPRESSIONS,
        handler=suppressing.add,
        body=drafts.SuppressionDraft,
        answers=(shapes.AddedView,),
    ),
    Endpoint(
        method="DELETE",
        path="/v1/suppressions/{id}",
        scopes=SUPPRESSIONS,
        handler=suppressing.lift,
        body=drafts.LiftDraft,
        body_required=False,
        query=queries.LiftQuery,
        answers=(shapes.SuppressionView,),
    ),
)
