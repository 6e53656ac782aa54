"""SendGrid: six lists, as Suppressions > … > Export CSV writes them and as the v3 API answers them.

Bounces and blocks: status, reason, email, created. Invalid: reason, email, created. Spam reports: email, ip, created.
Unsubscribes: email, created. Group unsubscribes: email, group_id, group_name, created_at (a single group's export has
no group: name its topic). Dates are seconds since 1970.
"""

from collections.abc import Callable, Sequence

from suppression.exchange.found import Form, FormName, Options, Restriction
from suppression.exchange.rows import Row
from suppression.rules import ALL, STREAM_PROMOTIONAL, Reason, Scope

_EMAIL = ("email",)
_DATES = ("created", "createdat")


def _refused(row: Row, reason: Reason, scope: Scope) -> Sequence[Restriction]:
    kept = dict(row.evidence(status="status"))
    return (Restriction(reason, scope, row.raw(*_DATES), note=row.text("reason"), evidence=kept),)


def _bounce(row: Row, _options: Options) -> Sequence[Restriction]:
    # RFC 3463: class 4 passes by itself.
    if row.text("status").startswith("4"):
        return _block(row, _options)
    return _refused(row, Reason.HARD_BOUNCE, ALL)


def _block(row: Row, _options: Options) -> Sequence[Restriction]:
    # The server refused the mail (for its content, or its sender's name), not the mailbox.
    return _refused(row, Reason.SOFT_BOUNCE, STREAM_PROMOTIONAL)


def _invalid(row: Row, _options: Options) -> Sequence[Restriction]:
    return _refused(row, Reason.INVALID, ALL)


def _spam(row: Row, _options: Options) -> Sequence[Restriction]:
    return (Restriction(Reason.COMPLAINT, STREAM_PROMOTIONAL, row.raw(*_DATES)),)


def _unsubscribe(row: Row, options: Options) -> Sequence[Restriction]:
    return (Restriction(Reason.UNSUBSCRIBE, options.scope_of(Reason.UNSUBSCRIBE, ALL), row.raw(*_DATES)),)


def _group(row: Row, options: Options) -> Sequence[Restriction]:
    number, title = row.text("groupid"), row.text("groupname", "group")
    scope, widened = options.left(number, title)
    kept = {"group": title or number} if title or number else {}
    return (Restriction(Reason.UNSUBSCRIBE, scope, row.raw(*_DATES), evidence=kept, widened=widened),)


def _form(
    name: str,
    place: str,
    read: Callable[[Row, Options], Sequence[Restriction]],
    needed: tuple[tuple[str, ...], ...] = (),
) -> Form:
    return Form(
        name=FormName(f"sendgrid-{name}"),
        source=f"SendGrid: Suppressions > {place} > Export, or its API",
        address=_EMAIL,
        read=read,
        needed=(_DATES, *needed),
    )


FORMS = (
    _form("unsubscribes", "Global Unsubscribes", _unsubscribe),
    _form("groups", "Group Unsubscribes", _group),
    _form("bounces", "Bounces", _bounce, (("status",), ("reason",))),
    _form("blocks", "Blocks", _block, (("status",), ("reason",))),
    _form("spam-reports", "Spam Reports", _spam),
    _form("invalid", "Invalid", _invalid, (("reason",),)),
)
