"""People: what they get, and what they choose on the product's own page."""

from mailer import drafts
from mailer.web.api import people, shapes
from mailer.web.api.endpoints.endpoint import PEOPLE, Endpoint

_PERSON = "/v1/people/{email}"

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(method="GET", path=_PERSON, scopes=PEOPLE, handler=people.show, answers=(shapes.PersonView,)),
    Endpoint(
        method="PATCH",
        path=_PERSON,
        scopes=PEOPLE,
        handler=people.change,
        body=drafts.PersonChange,
        answers=(shapes.PersonView,),
    ),
)
