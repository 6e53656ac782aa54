"""Mautic: contacts that must not be written to, from a report or a query over `lead_donotcontact`.

A plain export of contacts does not say it, so one makes a report with the email, the reason (1 unsubscribed, 2 bounced,
3 by hand), the channel and the date; or a list with doNotEmail, as Mautic imports it.
"""

from collections.abc import Mapping, Sequence

from suppression.exchange.found import Form, FormName, LineError, Options, Restriction
from suppression.exchange.rows import Row
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason, Scope

_LEFT = (Reason.UNSUBSCRIBE, STREAM_PROMOTIONAL)
_BOUNCED = (Reason.HARD_BOUNCE, ALL)
_BY_HAND = (Reason.MANUAL, STREAM_PROMOTIONAL)
#: A reason as a number or a word; None where the contact may be written to.
_REASONS: Mapping[str, tuple[Reason, Scope] | None] = {
    "0": None,
    "contactable": None,
    "1": _LEFT,
    "unsubscribed": _LEFT,
    "2": _BOUNCED,
    "bounced": _BOUNCED,
    "3": _BY_HAND,
    "manual": _BY_HAND,
    "manually unsubscribed": _BY_HAND,
}
_REASON = ("reason", "dncreason", "donotcontactreason")
_FLAG = ("donotemail", "donotcontact", "dnc")


def _read(row: Row, options: Options) -> Sequence[Restriction]:
    if row.text("channel", "dncchannel").casefold() not in ("", "email"):
        return ()
    known = _known(row)
    if known is None:
        return ()
    reason, usual = known
    at = row.raw("dateadded", "dncdateadded", "dateidentified")
    return (Restriction(reason, options.scope_of(reason, usual), at, note=row.text("comments", "dnccomments")),)


def _known(row: Row) -> tuple[Reason, Scope] | None:
    said = row.text(*_REASON).casefold()
    if not said:
        return _LEFT if row.truth(*_FLAG) else None
    if said not in _REASONS:
        raise LineError("the reason is none of 1 (unsubscribed), 2 (bounced), 3 (manual)")
    return _REASONS[said]


FORMS = (
    Form(
        name=FormName.MAUTIC,
        source="Mautic: a report of contacts with the columns email, reason, channel, date_added, comments",
        address=("email", "contactemail"),
        read=_read,
        needed=((*_REASON, *_FLAG),),
    ),
)
