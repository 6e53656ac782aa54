"""Our own lists, and everybody's: addresses, with or without reason, scope and dates."""

from collections.abc import Sequence

from suppression import rules
from suppression.exchange.found import Form, FormName, LineError, Options, Restriction
from suppression.exchange.rows import Row, moment
from suppression.rules import Origin, Reason, Scope

#: What of an entry is written, in this order; reading needs the first only.
COLUMNS = (
    "email",
    "reason",
    "scope",
    "created_at",
    "expires_at",
    "note",
    "origin",
    "lifted_at",
    "lifted_by",
    "lift_note",
    "id",
)
_REASONS = ", ".join(Reason)


def _read(row: Row, options: Options) -> Sequence[Restriction]:
    if row.raw("liftedat") is not None:
        return ()
    reason = _reason(row.text("reason").casefold(), options)
    expires = row.raw("expiresat")
    if expires is not None and moment(expires) is None:
        raise LineError("expires_at is no time: write it as 2027-01-31T12:00:00Z")
    scope = _scope(row.text("scope"), reason, options)
    kept = dict(row.evidence(origin="origin", former_id="id"))
    if kept.get("origin") not in tuple(Origin):
        kept.pop("origin", None)
    return (Restriction(reason, scope, row.raw("createdat", "date"), expires, row.text("note"), kept),)


def _reason(text: str, options: Options) -> Reason:
    if not text:
        if options.reason is None:
            raise LineError(f"says no reason: name one for the whole list ({_REASONS})")
        return options.reason
    try:
        return Reason(text)
    except ValueError:
        raise LineError(f"the reason is none that is known here: {_REASONS}") from None


def _scope(text: str, reason: Reason, options: Options) -> Scope:
    if not text:
        topic = options.topics.get("")
        usual = rules.topic_scope(topic) if topic else Scope(rules.rule_of(reason).scopes[0])
        return options.scope_of(reason, usual if rules.may_stand(reason, usual) else rules.ALL)
    try:
        scope = rules.parse_scope(text)
    except rules.ScopeError as error:
        raise LineError(f"the scope cannot be read: {error}") from None
    if not rules.may_stand(reason, scope):
        raise LineError(f"an entry with the reason {reason} cannot have the scope {scope}")
    return scope


FORMS = (
    Form(
        name=FormName.LIST,
        source="our own export, or any list with a column email; CSV or NDJSON",
        address=("email", "emailaddress", "address"),
        read=_read,
        bare=("email",),
    ),
)
