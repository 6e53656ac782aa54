"""All endpoints, a file a group of paths."""

from mailer.web.api.endpoints import (
    alarms,
    campaigns,
    emails,
    erasures,
    lists,
    metrics,
    people,
    receiving,
    reports,
    streams,
    subscribing,
    suppressions,
    templates,
    topics,
    webhooks,
)
from mailer.web.api.endpoints.endpoint import Endpoint

#: Of two paths that fit, the first is taken.
ENDPOINTS: tuple[Endpoint, ...] = (
    *emails.ENDPOINTS,
    *streams.ENDPOINTS,
    *templates.ENDPOINTS,
    *metrics.ENDPOINTS,
    *topics.ENDPOINTS,
    *alarms.ENDPOINTS,
    *reports.ENDPOINTS,
    *lists.ENDPOINTS,
    *suppressions.ENDPOINTS,
    *erasures.ENDPOINTS,
    *people.ENDPOINTS,
    *campaigns.ENDPOINTS,
    *subscribing.ENDPOINTS,
    *receiving.ENDPOINTS,
    *webhooks.ENDPOINTS,
)
