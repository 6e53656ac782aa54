"""Postmark: the suppressions of a message stream, with EmailAddress, SuppressionReason, Origin, CreatedAt."""

from collections.abc import Mapping, Sequence

from suppression.exchange.found import Form, FormName, LineError, Options, Restriction
from suppression.exchange.rows import Row
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason, Scope

_BY_HAND = "manualsuppression"
#: (SuppressionReason, Origin) -> entry; "" stands for any origin. The recipient's own is the unsubscribe link.
_REASONS: Mapping[tuple[str, str], tuple[Reason, Scope]] = {
    ("hardbounce", ""): (Reason.HARD_BOUNCE, ALL),
    ("spamcomplaint", ""): (Reason.COMPLAINT, STREAM_PROMOTIONAL),
    (_BY_HAND, "recipient"): (Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL),
    (_BY_HAND, ""): (Reason.MANUAL, ALL),
}


def _read(row: Row, options: Options) -> Sequence[Restriction]:
    said, origin = row.text("suppressionreason").casefold(), row.text("origin").casefold()
    known = _REASONS.get((said, origin)) or _REASONS.get((said, ""))
    if known is None:
        raise LineError("the SuppressionReason is neither HardBounce nor SpamComplaint nor ManualSuppression")
    reason, usual = known
    kept = dict(row.evidence(origin="origin"))
    return (Restriction(reason, options.scope_of(reason, usual), row.raw("createdat"), evidence=kept),)


FORMS = (
    Form(
        name=FormName.POSTMARK,
        source="Postmark: GET /message-streams/{stream}/suppressions/dump | jq -c '.Suppressions[]', or its CSV",
        address=("emailaddress", "email"),
        read=_read,
        needed=(("suppressionreason",),),
    ),
)
