"""Amazon SES: the account-level suppression list.

`aws sesv2 list-suppressed-destinations` answers EmailAddress, Reason, LastUpdateTime; the bulk files for an import job
have emailAddress and reason, as NDJSON or as CSV without a header.
"""

from collections.abc import Mapping, Sequence

from suppression.exchange.found import Form, FormName, LineError, Options, Restriction
from suppression.exchange.rows import Row
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason, Scope

_REASONS: Mapping[str, tuple[Reason, Scope]] = {
    "BOUNCE": (Reason.HARD_BOUNCE, ALL),
    "COMPLAINT": (Reason.COMPLAINT, STREAM_PROMOTIONAL),
}


def _read(row: Row, _options: Options) -> Sequence[Restriction]:
    known = _REASONS.get(row.text("reason").upper())
    if known is None:
        raise LineError("the reason is neither BOUNCE nor COMPLAINT")
    kept = dict(row.evidence(event_id="feedbackid"))
    return (Restriction(*known, row.raw("lastupdatetime"), evidence=kept),)


FORMS = (
    Form(
        name=FormName.SES,
        source="aws sesv2 list-suppressed-destinations | jq -c '.SuppressedDestinationSummaries[]', or a bulk file",
        address=("emailaddress", "email"),
        read=_read,
        needed=(("reason",),),
        bare=("emailaddress", "reason"),
    ),
)
