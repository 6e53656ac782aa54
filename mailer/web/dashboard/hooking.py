"""Webhooks: the endpoints and how they do, their secrets, and every message with what was answered."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from typing import NamedTuple

import orjson
from sqlmodel import Session
from starlette.responses import Response

from mailer.audit import Act
from mailer.drafts import parse
from mailer.errors import Invalid, Problem
from mailer.models import DeliveryState, Webhook, WebhookDelivery
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.webhooks import deliveries, endpoints, signing
from mailer.webhooks.deliveries import Window
from mailer.webhooks.drafts import ReplayDraft, WebhookChange, WebhookDraft
from mailer.webhooks.endpoints import Made, Wanted
from mailer.webhooks.payloads import KINDS

_PAGE = 25
#: What an endpoint may ask for, by the thing before the dot.
_FAMILIES = [(family, tuple(kinds)) for family, kinds in groupby(KINDS, lambda kind: kind.partition(".")[0])]
#: Why we disabled one -> the key of its words.
_WHY: Mapping[str | None, str] = {deliveries.GONE: "webhooks_why_gone", deliveries.SILENT: "webhooks_why_silent"}


class Seen(NamedTuple):
    """An endpoint as the screens show it."""

    webhook: Webhook

    @property
    def state(self) -> str:
        """Return how it does: `works`, `failing`, `off` (somebody wanted that) or `dead` (we gave it up)."""
        if not self.webhook.enabled:
            return "off" if self.webhook.disabled_why is None else "dead"
        return "failing" if self.webhook.failures else "works"

    @property
    def kind(self) -> str:
        """Return how serious that is."""
        return {"works": "good", "failing": "warn", "off": "", "dead": "bad"}[self.state]

    @property
    def why(self) -> str:
        """Return the key of the sentence that says why we disabled it."""
        return _WHY.get(self.webhook.disabled_why, "webhooks_why_other")


class Line(NamedTuple):
    """A message to an endpoint, and its body as it would be sent now."""

    message: WebhookDelivery
    body: str

    @property
    def kind(self) -> str:
        """Return how serious its state is."""
        return {DeliveryState.DELIVERED: "good", DeliveryState.FAILED: "bad"}.get(self.message.state, "warn")


async def show(asked: Asked) -> Response:
    """Show the endpoints, and the form for another one; a secret that was made just now is shown this once."""
    found = await asked.read(lambda session: endpoints.listing(session, asked.tenant_id))
    values = {
        "endpoints": [Seen(each) for each in found],
        "families": _FAMILIES,
        "made": asked.told,
        "full": endpoints.MOST,
    }
    return asked.page("webhooks.html", values)


async def create(asked: Asked) -> Response:
    """Make an endpoint; messages may go to public addresses only, which is asked before."""
    own = asked.form.one("secret").strip()
    draft = parse(WebhookDraft, _typed(asked) | ({"secret": own} if own else {}))
    await endpoints.check(asked.service.hooks.guard, draft.url)
    secret = signing.parse(draft.secret) if draft.secret else None
    wanted = Wanted(draft.url, draft.events, draft.description, secret)
    made = await asked.run(partial(_create, asked, wanted))
    return asked.tell("/webhooks", _told(made))


async def show_one(asked: Asked) -> Response:
    """Show an endpoint, and a page of its messages, the newest first."""
    after = asked.query("after", 60)
    # What failed is found by an index of its own; what waits is the newest anyway.
    state = DeliveryState.FAILED if asked.query("state") == DeliveryState.FAILED else None

    def look(session: Session) -> tuple[Webhook, list[Line], bool]:
        webhook = _named(asked, session)
        log = deliveries.listing(session, webhook, limit=_PAGE + 1, state=state, after=after or None)
        return webhook, _lines(session, log[:_PAGE]), len(log) > _PAGE

    webhook, lines, more = await asked.read(look)
    path, kept = f"/webhooks/{webhook.id}", {"state": state or ""}
    return asked.page(
        "webhook.html",
        {
            "seen": Seen(webhook),
            "signs_too": webhook.old_until if webhook.old_until and webhook.old_until > asked.now else None,
            "lines": lines,
            "failed": state is not None,
            "made": asked.told,
            "newest": asked.at(path, **kept) if after else "",
            "older": asked.at(path, **kept, after=lines[-1].message.message_id) if more else "",
        },
    )


async def act_on_one(asked: Asked) -> Response:
    """Enable, disable, remove, test, give a new secret, or send messages again."""
    do = asked.form.one("do")
    if do == "rotate":
        made = await asked.run(partial(_rotate, asked))
        return asked.tell(f"/webhooks/{made.webhook.id}", _told(made))
    if do not in _ACTS:
        raise Invalid(Problem("do", f"must be one of rotate, {', '.join(_ACTS)}"))
    # An endpoint that is disabled is told nothing more once that was answered.
    await asked.run(partial(_ACTS[do], asked), conclusive=do == "disable")
    done = f"webhook_{do}"
    return asked.to("/webhooks", done=done) if do == "remove" else asked.to(f"/webhooks/{asked.param('id')}", done=done)


async def show_form(asked: Asked) -> Response:
    """Show the form that changes an endpoint."""
    webhook = await asked.read(partial(_named, asked))
    return asked.page("webhook-edit.html", {"webhook": webhook, "families": _FAMILIES})


async def change(asked: Asked) -> Response:
    """Change address, description and events; what waits goes where the address leads now."""
    draft = parse(WebhookChange, _typed(asked))
    await endpoints.check(asked.service.hooks.guard, draft.url or "")
    await asked.run(partial(_change, asked, draft))
    return asked.to(f"/webhooks/{asked.param('id')}", done="webhook_change")


def _told(made: Made) -> dict[str, object]:
    return {"url": made.webhook.url, "secret": made.secret}


def _typed(asked: Asked) -> dict[str, object]:
    form = asked.form
    kinds = sorted(form.many("events")) if form.one("which") == "some" else None
    return {"url": form.one("url").strip(), "description": form.one("description").strip(), "events": kinds}


def _lines(session: Session, log: Sequence[WebhookDelivery]) -> list[Line]:
    bodies = deliveries.bodies(session, log)
    return [
        Line(message, orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2).decode())
        for message, body in zip(log, bodies, strict=True)
    ]


def _named(asked: Asked, session: Session) -> Webhook:
    return endpoints.get(session, asked.tenant_id, asked.param("id"))


def _taken(asked: Asked, session: Session) -> Webhook:
    return endpoints.get(session, asked.tenant_id, asked.param("id"), to_change=True)


def _create(asked: Asked, wanted: Wanted, session: Session) -> Made:
    made = endpoints.create(session, asked.service.hooks, asked.tenant_id, wanted, asked.now)
    asked.log(session, Act.WEBHOOK_CREATED, made.webhook.id)
    return made


def _change(asked: Asked, draft: WebhookChange, session: Session) -> None:
    webhook = _taken(asked, session)
    given: dict[str, object] = {"url": draft.url, "description": draft.description, "kinds": draft.events}
    changed = {name: value for name, value in given.items() if value != getattr(webhook, name)}
    if changed:
        endpoints.change(session, webhook, changed)
        asked.log(session, Act.WEBHOOK_CHANGED, webhook.id, changed=sorted(changed))


def _enable(asked: Asked, session: Session) -> None:
    webhook = endpoints.enable(session, _taken(asked, session))
    asked.log(session, Act.WEBHOOK_ENABLED, webhook.id)


def _disable(asked: Asked, session: Session) -> None:
    webhook = endpoints.disable(session, _taken(asked, session), asked.now)
    asked.log(session, Act.WEBHOOK_DISABLED, webhook.id)


def _remove(asked: Asked, session: Session) -> None:
    endpoints.delete(session, _taken(asked, session))
    asked.log(session, Act.WEBHOOK_DELETED, asked.param("id"))


def _rotate(asked: Asked, session: Session) -> Made:
    made = endpoints.rotate(session, asked.service.hooks, _taken(asked, session), asked.now)
    asked.log(session, Act.WEBHOOK_ROTATED, made.webhook.id)
    return made


def _test(asked: Asked, session: Session) -> None:
    deliveries.test(session, _taken(asked, session), asked.now)
    asked.log(session, Act.WEBHOOK_TESTED, asked.param("id"))


def _replay(asked: Asked, session: Session) -> None:
    """Send again one message, all that failed, or what happened in a window of time."""
    webhook, form = _taken(asked, session), asked.form
    if form.one("what") == "failed":
        count = deliveries.replay_failed(session, webhook, asked.now)
    elif form.one("what") == "window":
        if not form.one("since"):
            raise Invalid(Problem("since", "webhooks_since_missing"))
        given = {name: moment for name in ("since", "until") if (moment := _moment(form.one(name), name))}
        draft = parse(ReplayDraft, {**given, "missed": form.one("missed") == "yes"})
        window = Window(draft.since or asked.now, draft.until or asked.now, draft.missed)
        count = deliveries.replay(session, webhook, window, asked.now)
    else:
        deliveries.replay_one(session, webhook, form.one("message"), asked.now)
        count = 1
    asked.log(session, Act.WEBHOOK_REPLAYED, webhook.id, replayed=count)


def _moment(text: str, name: str) -> str:
    """Return a moment as the API takes it, from what a browser sends of a day and time in UTC."""
    if not text.strip():
        return ""
    try:
        return datetime.fromisoformat(text.strip()).replace(tzinfo=UTC).isoformat()
    except ValueError:
        raise Invalid(Problem(name, "webhooks_moment_wrong")) from None


_ACTS = {"enable": _enable, "disable": _disable, "remove": _remove, "test": _test, "replay": _replay}

SCREENS = (
    Screen("/webhooks", May.SEE_WEBHOOKS, show, create, may_act=May.EDIT_WEBHOOKS),
    Screen("/webhooks/{id}", May.SEE_WEBHOOKS, show_one, act_on_one, may_act=May.EDIT_WEBHOOKS),
    Screen("/webhooks/{id}/edit", May.EDIT_WEBHOOKS, show_form, change),
)
