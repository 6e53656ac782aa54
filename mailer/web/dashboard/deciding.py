"""Settings of a tenant: what it decided itself, and how the operator set the service up."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import NamedTuple

from sqlmodel import Session
from starlette.responses import Response

from mailer import tenancy
from mailer.audit import Act
from mailer.drafts import TenantChange, parse
from mailer.models import Tenant
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.words import SPOKEN
from suppression.rules import Stream

#: What of a tenant is text in several lines.
_LONG = frozenset({"postal_address"})


class Lines(NamedTuple):
    """What is several things, and stands in the form as a line each."""

    written: Callable[[object], str]
    read: Callable[[Sequence[str]], object]


def _hosts(value: object) -> str:
    return "\n".join(value) if isinstance(value, list) else ""


def _pairs(value: object) -> str:
    return "\n".join(f"{name}={said}" for name, said in value.items()) if isinstance(value, dict) else ""


def _read_pairs(lines: Sequence[str]) -> object:
    cut = [line.partition("=") for line in lines]
    return {name.strip(): said.strip() for name, _, said in cut}


_LINES: Mapping[str, Lines] = {"untracked_hosts": Lines(_hosts, list), "utm": Lines(_pairs, _read_pairs)}
#: What stands for nothing where the table has NULL.
_NOTHING: Mapping[str, object] = {name: lines.read(()) for name, lines in _LINES.items()}
#: What the environment decides at every start, for the tenant `default`.
_SET_ELSEWHERE = {"postal_address": "MAILER_POSTAL_ADDRESS", "name": "MAILER_FROM"}


class Entry(NamedTuple):
    """One line of the form: its kind is `text`, `area`, `number`, `tick` or `choose`."""

    name: str
    kind: str
    value: object
    options: Sequence[str] = ()
    #: The setting of the environment that decides instead.
    fixed: str = ""


async def show(asked: Asked) -> Response:
    """Show the form of everything that a tenant can decide."""
    tenant = asked.tenant
    return asked.page(
        "settings.html",
        {"entries": [_entry(asked, tenant, name) for name in TenantChange.model_fields], "facts": _facts(asked)},
    )


async def act(asked: Asked) -> Response:
    """Keep what was changed; it holds for what is accepted and answered from the commit on."""
    await asked.run(partial(_change, asked))
    return asked.to("/settings", done="settings_saved")


def _change(asked: Asked, session: Session) -> None:
    tenant = session.get_one(Tenant, asked.tenant_id)
    given = {
        entry.name: _given(asked, entry) for entry in (_entry(asked, tenant, n) for n in TenantChange.model_fields)
    }
    changed = {name: value for name, value in given.items() if value is not None and value != _kept(tenant, name)}
    if not changed:
        return
    tenancy.change_tenant(session, tenant, parse(TenantChange, changed))
    asked.log(session, Act.TENANT_CHANGED, tenant.key, changed=sorted(changed))


def _entry(asked: Asked, tenant: Tenant, name: str) -> Entry:
    value: object = getattr(tenant, name)
    fixed = _fixed(asked, tenant, name)
    if name in _LINES:
        return Entry(name, "area", _LINES[name].written(value))
    if name == "locale":
        return Entry(name, "choose", value, tuple(SPOKEN))
    if isinstance(value, StrEnum):
        return Entry(name, "choose", value.value, tuple(type(value)))
    if isinstance(value, bool):
        return Entry(name, "tick", value)
    if isinstance(value, int):
        return Entry(name, "number", value)
    return Entry(name, "area" if name in _LONG else "text", value, fixed=fixed)


def _given(asked: Asked, entry: Entry) -> object:
    """Return what the form says of a line; None where it says nothing."""
    text = asked.form.one(entry.name).strip()
    if entry.fixed:
        return None
    if entry.kind == "tick":
        return text == "yes"
    if entry.kind == "number":
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    if entry.name in _LINES:
        return _LINES[entry.name].read([line.strip() for line in text.splitlines() if line.strip()])
    # A postal address may be emptied; a browser sends its line breaks as CR LF.
    return text.replace("\r\n", "\n")


def _kept(tenant: Tenant, name: str) -> object:
    value = getattr(tenant, name)
    if value is None:
        return _NOTHING.get(name)
    return value.value if isinstance(value, StrEnum) else value


def _fixed(asked: Asked, tenant: Tenant, name: str) -> str:
    settings = asked.service.settings
    if tenant.key != tenancy.DEFAULT:
        return ""
    decided = settings.postal_address if name == "postal_address" else settings.sender(Stream.PROMOTIONAL)
    return _SET_ELSEWHERE.get(name, "") if decided else ""


def _facts(asked: Asked) -> Mapping[str, str]:
    """Return how the operator set the service up, for the operator's own people alone: no secret is among it."""
    settings = asked.service.settings
    if asked.tenant.key != tenancy.DEFAULT:
        return {}
    relays = {stream: ", ".join(relay.name for relay in settings.relays(stream)) for stream in Stream}
    return {
        "MAILER_PUBLIC_URL": settings.public_url,
        "MAILER_DATABASE_URL": "PostgreSQL" if settings.on_postgresql else "SQLite",
        "MAILER_REDIS_URL": "Redis" if settings.redis_url else "",
        "MAILER_TRANSACTIONAL_RELAY": relays[Stream.TRANSACTIONAL],
        "MAILER_PROMOTIONAL_RELAY": relays[Stream.PROMOTIONAL],
        "MAILER_RETURN_PATH_DOMAIN": settings.return_path_domain,
        "MAILER_COMPLAINT_LIMITS": settings.complaint_limits,
        "MAILER_BOUNCE_LIMITS": settings.bounce_limits,
        "MAILER_RETRY_AFTER": settings.retry_after,
        "MAILER_GIVE_UP_AFTER": settings.give_up_after,
        "MAILER_ONLY_TO": settings.only_to,
    }


SCREENS = (Screen("/settings", May.SEE_SETTINGS, show, act, may_act=May.EDIT_SETTINGS),)
