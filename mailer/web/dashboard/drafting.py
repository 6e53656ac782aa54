"""A campaign is made, from a template or from what is pasted, and changed while that is possible."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, cast, get_args

from sqlmodel import Session
from starlette.responses import Response

from mailer import campaigns, catalogue, tenancy
from mailer.audit import Act
from mailer.campaigns.drafts import CampaignChange, CampaignDraft
from mailer.catalogue import Version
from mailer.compose.variables import Variable
from mailer.drafts import parse
from mailer.drafts.linking import UtmName
from mailer.errors import Invalid, Problem
from mailer.models import Campaign, Opens, Topic
from mailer.submission import Submitter
from mailer.submission.parties import House, house_of
from mailer.users.permissions import May
from mailer.web.dashboard import moments
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.campaigns import SHARED
from suppression.rules import Stream

#: A pasted page, written as a form writes it.
_MOST = 16 * 1024 * 1024
UTM: Sequence[str] = get_args(UtmName)
_PASTED = ("subject", "html", "text")
_VARIABLE = "variables."


class _House(NamedTuple):
    """What a campaign is chosen from."""

    house: House
    topics: Sequence[Topic]
    templates: Sequence[Version]
    #: The template that it is made from; None where the mail is pasted.
    template: Version | None

    @property
    def variables(self) -> Mapping[str, Variable]:
        """Return what the template wants to be told."""
        return self.template.body.schema.variables if self.template else {}

    @property
    def locales(self) -> Sequence[str]:
        """Return the languages that the template speaks."""
        return sorted(self.template.body.parts) if self.template else ()


async def show(asked: Asked) -> Response:
    """Show the form of a new campaign; the template is chosen first, for it says what else is asked."""
    name = asked.form.one("template") or asked.query("template", 80)
    chosen = await asked.read(lambda session: _look(session, asked.tenant_id, name))
    return _page(asked, chosen, None, {})


async def make(asked: Asked) -> Response:
    """Make a campaign."""
    made = await asked.run(partial(_make, asked))
    return asked.to(f"/campaigns/{made.id}", done="campaign_made")


async def show_change(asked: Asked) -> Response:
    """Show the form again with what a campaign is now."""

    def look(session: Session) -> tuple[_House, Campaign, dict[str, object]]:
        campaign = campaigns.get(session, asked.tenant_id, asked.param("id"))
        described = campaigns.described(session, campaign)
        return _look(session, asked.tenant_id, campaign.template or ""), campaign, described

    chosen, campaign, described = await asked.read(look)
    return _page(asked, chosen, campaign, _typed(described))


async def change(asked: Asked) -> Response:
    """Change a campaign."""
    await asked.run(partial(_change, asked))
    return asked.to(f"/campaigns/{asked.param('id')}", done="campaign_changed")


def _page(asked: Asked, chosen: _House, campaign: Campaign | None, values: Mapping[str, str]) -> Response:
    return asked.page(
        "campaign-form.html",
        {
            **SHARED,
            "called": {"name": "campaign_name"},
            "campaign": campaign,
            "started": campaign is not None and campaign.started_at is not None,
            "chosen": chosen,
            "values": values,
            "utm": UTM,
            "measures": list(Opens),
            "limits": _limits(chosen.house, chosen.template),
            "zones": moments.zones(),
            # What is kept is shown in UTC; what is typed for the first time is most likely the user's own time.
            "zone": "UTC" if values.get("expires_at") else moments.USUAL[asked.say.language],
        },
    )


def _limits(house: House, template: Version | None) -> Mapping[str, str]:
    """Return how opens and clicks are measured at most; a campaign can only lower it."""
    stream = template.body.stream if template else Stream.PROMOTIONAL
    return {"opens": house.opens[stream].value, "clicks": house.clicks[stream].value}


def _look(session: Session, tenant_id: int, name: str) -> _House:
    templates = catalogue.listing(session, tenant_id)
    template = catalogue.current(session, tenant_id, name) if name else None
    return _House(house_of(session, tenant_id), tenancy.topics(session, tenant_id), templates, template)


def _make(asked: Asked, session: Session) -> Campaign:
    template = asked.form.one("template")
    said = _said(asked, _look(session, asked.tenant_id, template))
    if template:
        said["template"] = template
    draft = parse(CampaignDraft, {name: value for name, value in said.items() if value is not None})
    sender = Submitter.trusted(asked.tenant_id)
    campaign = campaigns.create(session, sender, draft, asked.service.intake, asked.now)
    asked.log(session, Act.CAMPAIGN_CREATED, campaign.id)
    return campaign


def _change(asked: Asked, session: Session) -> None:
    campaign = campaigns.get(session, asked.tenant_id, asked.param("id"))
    said = _said(asked, _look(session, asked.tenant_id, campaign.template or ""))
    if campaign.started_at is not None:
        said = {name: said[name] for name in ("name", "expires_at")}
    said["name"] = said["name"] or campaign.name
    # What the form does not show stays: a language where there is one alone, the name beside an address.
    if "locale" not in asked.form.fields:
        said.pop("locale", None)
    if said.get("from") == campaign.from_address:
        said.pop("from")
    sender = Submitter.trusted(asked.tenant_id)
    asked_for = parse(CampaignChange, said)
    campaigns.update(session, sender, campaign.id, asked_for, asked.service.intake, asked.now)
    asked.log(session, Act.CAMPAIGN_CHANGED, campaign.id, changed=sorted(said))


def _said(asked: Asked, chosen: _House) -> dict[str, object]:
    """Return what the form says, in the words of a request; None where it says nothing."""
    form = asked.form

    def text(name: str) -> str | None:
        return form.one(name).strip() or None

    said: dict[str, object] = {
        "name": form.one("name"),
        "topic": text("topic"),
        "locale": text("locale"),
        "from": text("from"),
        "tracking": {kind: text(kind) for kind in ("opens", "clicks")},
        "utm": {name: value for name in UTM if (value := text(f"utm.{name}"))},
        "tags": _tags(form.one("tags")),
        "expires_at": moments.moment(form.one("expires_at"), form.one("zone"), "expires_at"),
    }
    if chosen.template is None:
        said |= {name: form.one(name).replace("\r\n", "\n") or None for name in _PASTED}
    else:
        typed = {name: form.one(_VARIABLE + name).replace("\r\n", "\n") for name in chosen.variables}
        said["variables"] = {
            name: campaigns.value_of(chosen.variables[name].type, value) for name, value in typed.items() if value
        }
    return said


def _tags(text: str) -> dict[str, str]:
    cut = [line.partition("=") for line in text.splitlines() if line.strip()]
    if not all(equals and value.strip() for _, equals, value in cut):
        raise Invalid(Problem("tags", "must be written name=value, one a line"))
    return {name.strip(): value.strip() for name, _, value in cut}


def _typed(described: Mapping[str, object]) -> dict[str, str]:
    """Return a campaign as its form shows it."""
    sender = cast("Mapping[str, str]", described["from"])
    typed = {
        **{name: str(described[name]) for name in ("name", "topic", "locale", *_PASTED) if name in described},
        "from": sender["email"],
        "expires_at": moments.written(cast("datetime | None", described.get("expires_at"))),
        "tags": "\n".join(f"{name}={value}" for name, value in _mapping(described, "tags").items()),
    }
    typed |= {kind: str(value) for kind, value in _mapping(described, "tracking").items()}
    typed |= {f"utm.{name}": str(value) for name, value in _mapping(described, "utm").items()}
    for name, value in _mapping(described, "variables").items():
        typed[_VARIABLE + name] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return typed


def _mapping(described: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = described.get(name)
    return found if isinstance(found, dict) else {}


SCREENS = (
    Screen("/campaigns/new", May.RUN_CAMPAIGNS, show, make, most=_MOST),
    Screen("/campaigns/{id}/edit", May.RUN_CAMPAIGNS, show_change, change, most=_MOST),
)
