"""Which campaigns are asked for, and which of their recipients."""

from mailer.models import CampaignStatus
from mailer.status import Status
from mailer.web.api.queries.paging import EmailCursor, Paged


class CampaignQuery(Paged):
    """Which campaigns are asked for."""

    status: CampaignStatus | None = None


class RecipientQuery(Paged):
    """Which recipients of a campaign are asked for."""

    after: EmailCursor | None = None
    status: Status | None = None
