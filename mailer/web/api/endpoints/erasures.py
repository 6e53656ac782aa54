"""The erasure of a person."""

from mailer.drafts.people import EraseDraft
from mailer.models import Scope
from mailer.web.api import erasing
from mailer.web.api.endpoints.endpoint import Endpoint
from mailer.web.api.shapes.erasures import ErasedView

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="DELETE",
        path="/v1/people/{email}",
        scopes=frozenset({Scope.PEOPLE}),
        handler=erasing.erase,
        body=EraseDraft,
        body_required=False,
        answers=(ErasedView,),
    ),
)
