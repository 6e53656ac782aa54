"""Mailchimp: the files of an audience export, unsubscribed and cleaned, and members as its API answers them.

`unsubscribed_…csv` has UNSUB_TIME, UNSUB_CAMPAIGN_TITLE, UNSUB_CAMPAIGN_ID, UNSUB_REASON, UNSUB_REASON_OTHER;
`cleaned_…csv` has CLEAN_TIME, CLEAN_CAMPAIGN_TITLE, CLEAN_CAMPAIGN_ID. The address comes first, its title in the
account's language.
"""

from collections.abc import Sequence

from suppression.exchange.found import Form, FormName, Options, Restriction
from suppression.exchange.rows import Row
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason

#: What a member or Mailchimp gives as the reason where the mail was reported.
_REPORTED = ("abuse", "spam")


def _read(row: Row, options: Options) -> Sequence[Restriction]:
    status = row.text("status").casefold()
    if row.has("cleantime") or status == "cleaned":
        kept = dict(row.evidence(group="cleancampaigntitle"))
        return (Restriction(Reason.HARD_BOUNCE, ALL, row.raw("cleantime", "lastchanged"), evidence=kept),)
    if not row.has("unsubtime") and status != "unsubscribed":
        return ()
    at = row.raw("unsubtime", "lastchanged")
    said = row.text("unsubreason", "unsubscribereason")
    kept = dict(row.evidence(group="unsubcampaigntitle"))
    note = " ".join(text for text in (said, row.text("unsubreasonother")) if text)
    if any(word in said.casefold() for word in _REPORTED):
        return (Restriction(Reason.COMPLAINT, STREAM_PROMOTIONAL, at, note=note, evidence=kept),)
    scope, _ = options.left("")
    return (Restriction(Reason.UNSUBSCRIBE, scope, at, note=note, evidence=kept),)


FORMS = (
    Form(
        name=FormName.MAILCHIMP,
        source="Mailchimp: Audience > Export, the unsubscribed and the cleaned file",
        address=("emailaddress", "email"),
        read=_read,
        needed=(("unsubtime", "cleantime", "status"),),
        first=True,
    ),
)
