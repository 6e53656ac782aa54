"""What is missing before a campaign may start, told while there is time to mend it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlmodel import Session

from mailer import reports
from mailer.campaigns.planning import desk_of, ready
from mailer.compose.errors import ContentError
from mailer.errors import Invalid, Problem
from mailer.models import Campaign
from mailer.submission import Intake, Submitter
from suppression.rules import Stream


class Checked(StrEnum):
    """What is looked at, in the order in which one goes about it."""

    CONTENT = "content"
    TOPIC = "topic"
    SENDER = "sender"
    #: The visible link, and what promotional mail must show beside it; where a topic cannot be left there is none.
    WAY_OUT = "way_out"
    RECIPIENTS = "recipients"
    #: `expires_at`.
    END = "end"


class Check(NamedTuple):
    """One thing that was looked at, and what is wrong with it."""

    what: Checked
    problems: tuple[Problem, ...] = ()


class Preflight(NamedTuple):
    """All that was looked at, and to whom the mail would go."""

    checks: tuple[Check, ...]
    #: Who would get it as it is now: added, and no suppression forbids it.
    waiting: int
    #: Whether its mail carries the link and the headers by which its readers leave.
    leavable: bool

    @property
    def may_start(self) -> bool:
        """Return whether a start would be taken; without recipients it is, and they can be added while it runs."""
        return not any(check.problems for check in self.checks if check.what is not Checked.RECIPIENTS)


#: Field -> what it belongs to; every other one is content.
_OF: Mapping[str, Checked] = {
    "topic": Checked.TOPIC,
    "from": Checked.SENDER,
    "expires_at": Checked.END,
}


def preflight(session: Session, sender: Submitter, campaign: Campaign, context: Intake, now: datetime) -> Preflight:
    """Return what a start of a campaign would meet; it asks the start's own question and writes nothing."""
    desk = replace(desk_of(session, sender, context, now), keeps=False)
    topic = desk.house.topics.get(campaign.topic)
    # Of a topic that is as it was, only how its mail is left can be wrong: no postal address, no links by https.
    kept = topic is not None and topic.stream is campaign.stream
    of = {**_OF, "topic": Checked.WAY_OUT} if kept else _OF
    found: dict[Checked, list[Problem]] = {each: [] for each in Checked}
    try:
        ready(desk, campaign)
    except Invalid as error:
        for problem in error.problems:
            found[of.get(problem.path.partition(".")[0], Checked.CONTENT)].append(problem)
    except ContentError as error:
        found[Checked.CONTENT].append(Problem("", str(error)))
    waiting = reports.outstanding(reports.campaign_sums(session, [campaign], now)[campaign.id])
    if not waiting:
        found[Checked.RECIPIENTS].append(Problem("recipients", "nobody would get it: add recipients"))
    leavable = campaign.stream is Stream.PROMOTIONAL or (topic is not None and topic.may_leave)
    return Preflight(tuple(Check(what, tuple(problems)) for what, problems in found.items()), waiting, leavable)
