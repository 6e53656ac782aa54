"""All endpoints, a file a group of paths."""

from mailer.web.api.endpoints import campaigns, emails, metrics, people, streams, suppressions, templates, topics
from mailer.web.api.endpoints.endpoint import Endpoint

#: Of two paths that fit, the first is taken.
ENDPOINTS: tuple[Endpoint, ...] = (
    *emails.ENDPOINTS,
    *streams.ENDPOINTS,
    *templates.ENDPOINTS,
    *metrics.ENDPOINTS,
    *topics.ENDPOINTS,
    *suppressions.ENDPOINTS,
    *people.ENDPOINTS,
    *campaigns.ENDPOINTS,
)
