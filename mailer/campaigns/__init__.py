"""Campaigns: one template to many people on one topic; each recipient is a row from the moment of adding."""

from mailer.campaigns.adding import CHUNK, Added, add_recipients, wanted
from mailer.campaigns.braking import brake, warned, warnings
from mailer.campaigns.checking import Check, Checked, Preflight, preflight
from mailer.campaigns.planning import Page, create, delete, described, get, listing, recipients, update
from mailer.campaigns.reading import Format, Recipient, value_of
from mailer.campaigns.steering import cancel, pause, resume, schedule, start, test
from mailer.campaigns.streaming import Upload, add
from mailer.campaigns.sweeping import sweep
from suppression.lines import Refusal

__all__ = [
    "CHUNK",
    "Added",
    "Check",
    "Checked",
    "Format",
    "Page",
    "Preflight",
    "Recipient",
    "Refusal",
    "Upload",
    "add",
    "add_recipients",
    "brake",
    "cancel",
    "create",
    "delete",
    "described",
    "get",
    "listing",
    "pause",
    "preflight",
    "recipients",
    "resume",
    "schedule",
    "start",
    "sweep",
    "test",
    "update",
    "value_of",
    "wanted",
    "warned",
    "warnings",
]
