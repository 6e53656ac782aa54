"""Mailgun: the three lists of a domain, with the columns of its CSV files and API.

Bounces: address, code, error, created_at. Unsubscribes: address, tags, created_at (`*` is everything). Complaints:
address, created_at. Dates are RFC 2822.
"""

import json
from collections.abc import Sequence

from suppression.exchange.found import Form, FormName, Options, Restriction
from suppression.exchange.rows import Row, printable
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason

_ADDRESS = ("address", "email", "recipient")
_EVERYTHING = "*"


def _bounce(row: Row, _options: Options) -> Sequence[Restriction]:
    kept = dict(row.evidence(code="code"))
    return (Restriction(Reason.HARD_BOUNCE, ALL, row.raw("createdat"), note=row.text("error"), evidence=kept),)


def _complaint(row: Row, _options: Options) -> Sequence[Restriction]:
    return (Restriction(Reason.COMPLAINT, STREAM_PROMOTIONAL, row.raw("createdat")),)


def _unsubscribe(row: Row, options: Options) -> Sequence[Restriction]:
    tags, at = _tags(row.raw("tags", "tag")), row.raw("createdat")
    if not tags or _EVERYTHING in tags:
        return (Restriction(Reason.UNSUBSCRIBE, options.scope_of(Reason.UNSUBSCRIBE, ALL), at),)
    found = {}
    for tag in tags:
        scope, widened = options.left(tag)
        found[scope] = Restriction(Reason.UNSUBSCRIBE, scope, at, evidence={"group": tag}, widened=widened)
    return tuple(found.values())


def _tags(value: object) -> list[str]:
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            value = str(value).strip("[]")
    some = value if isinstance(value, list) else str(value or "").split(",")
    return [text for tag in some if (text := printable(str(tag)).strip("\"' "))]


FORMS = (
    Form(
        name=FormName.MAILGUN_UNSUBSCRIBES,
        source="Mailgun: Suppressions > Unsubscribes, or GET /v3/{domain}/unsubscribes | jq -c '.items[]'",
        address=_ADDRESS,
        read=_unsubscribe,
        needed=(("tags", "tag"),),
    ),
    Form(
        name=FormName.MAILGUN_BOUNCES,
        source="Mailgun: Suppressions > Bounces, or GET /v3/{domain}/bounces | jq -c '.items[]'",
        address=_ADDRESS,
        read=_bounce,
        needed=(("code", "error"),),
    ),
    Form(
        name=FormName.MAILGUN_COMPLAINTS,
        source="Mailgun: Suppressions > Complaints, or GET /v3/{domain}/complaints | jq -c '.items[]'",
        address=_ADDRESS,
        read=_complaint,
        needed=(("createdat",),),
    ),
)
