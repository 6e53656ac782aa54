"""listmonk: subscribers with their status, as the export's CSV or `GET /api/subscribers` has them.

The CSV has uuid, email, name, attributes, status, created_at, updated_at; the API adds `lists`, each with its own
subscription_status.
"""

from collections.abc import Iterable, Sequence

from suppression.exchange.found import Form, FormName, Options, Restriction
from suppression.exchange.rows import Row, printable
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason

_LEFT = "unsubscribed"


def _read(row: Row, options: Options) -> Sequence[Restriction]:
    status, at = row.text("status").casefold(), row.raw("updatedat", "createdat")
    kept = dict(row.evidence(subscriber="uuid"))
    if status == "blocklisted":
        return (Restriction(Reason.UNSUBSCRIBE, options.scope_of(Reason.UNSUBSCRIBE, ALL), at, evidence=kept),)
    if status == "disabled":
        scope = options.scope_of(Reason.MANUAL, STREAM_PROMOTIONAL)
        return (Restriction(Reason.MANUAL, scope, at, note="disabled in listmonk", evidence=kept),)
    found = {}
    for number, title, left_at in _left(row.raw("lists")):
        scope, widened = options.left(number, title)
        group = {**kept, "group": title or number}
        found[scope] = Restriction(Reason.UNSUBSCRIBE, scope, left_at or at, evidence=group, widened=widened)
    return tuple(found.values())


def _left(lists: object) -> Iterable[tuple[str, str, object]]:
    """Return the lists that were left: number, name, since when."""
    for each in lists if isinstance(lists, list) else ():
        if isinstance(each, dict) and each.get("subscription_status") == _LEFT:
            since = each.get("subscription_updated_at") or each.get("updated_at")
            yield printable(str(each.get("id") or "")), printable(str(each.get("name") or "")), since


FORMS = (
    Form(
        name=FormName.LISTMONK,
        source="listmonk: Subscribers > Export, or GET /api/subscribers | jq -c '.data.results[]'",
        address=("email",),
        read=_read,
        needed=(("status",),),
    ),
)
