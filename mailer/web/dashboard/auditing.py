"""The audit log as a screen: who did what to what, when; by user, thing and day."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import audit, tenancy
from mailer.audit import Act, Wanted
from mailer.models import AuditEntry, User
from mailer.users import accounts
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen

_PAGE = 50
#: What acts are about: the word before the dot.
THINGS = tuple(dict.fromkeys(act.partition(".")[0] for act in Act))


class _Found(NamedTuple):
    entries: Sequence[AuditEntry]
    members: Sequence[User]
    #: Everybody whom an entry names, by their ids, members or not any more.
    users: dict[str, User]
    #: What the keys are called that acted.
    keys: dict[str, str]


async def show(asked: Asked) -> Response:
    """Show a page of the log, the newest first."""
    chosen = {name: asked.query(name, 40) for name in ("user", "thing", "from", "to", "before")}
    found = await asked.read(lambda session: _find(session, asked.tenant_id, chosen))
    shown = found.entries[:_PAGE]
    kept = {name: value for name, value in chosen.items() if name != "before"}
    return asked.page(
        "audit.html",
        {
            "entries": shown,
            "members": found.members,
            "users": found.users,
            "keys": found.keys,
            "things": THINGS,
            "chosen": chosen,
            "newest": asked.at("/audit", **kept) if chosen["before"] else "",
            "older": asked.at("/audit", **kept, before=shown[-1].id) if len(found.entries) > _PAGE else "",
        },
    )


def _find(session: Session, tenant_id: int, chosen: dict[str, str]) -> _Found:
    last = _day(chosen["to"])
    wanted = Wanted(
        user_id=chosen["user"] or None,
        thing=chosen["thing"] if chosen["thing"] in THINGS else None,
        since=_day(chosen["from"]),
        until=last + timedelta(days=1) if last else None,
    )
    entries = audit.listing(session, tenant_id, wanted, limit=_PAGE + 1, before=chosen["before"] or None)
    members = [member.user for member in accounts.members(session, tenant_id)]
    # A target that is a user is shown by the address, so that it is read and not looked up.
    named = {one for entry in entries for one in (entry.user_id, entry.target) if one and one.startswith("us_")}
    keys = {key.id: key.name for key in tenancy.keys(session, tenant_id)}
    return _Found(entries, members, accounts.by_ids(session, sorted(named)), keys)


def _day(text: str) -> datetime | None:
    """Return the beginning of a day in UTC; what is no day asks for nothing."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return None
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if 1970 <= day.year < 9999 else None


SCREENS = (Screen("/audit", May.SEE_AUDIT, show),)
