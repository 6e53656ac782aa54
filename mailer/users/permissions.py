"""The one table of what each role may see and do; every screen of the dashboard names its permission."""

from collections.abc import Mapping
from enum import StrEnum

from mailer.models import UserRole


class May(StrEnum):
    """A permission: something to see, or something to do. Whoever may do a thing may see it too, by the table."""

    SEE_HOME = "see_home"
    #: Single emails, to whom they went and what became of them.
    SEE_EMAILS = "see_emails"
    #: Cancel, send again, settle what is uncertain.
    STEER_EMAILS = "steer_emails"
    SEE_PEOPLE = "see_people"
    #: Correct, export, erase; change what somebody gets on their behalf.
    EDIT_PEOPLE = "edit_people"
    SEE_CAMPAIGNS = "see_campaigns"
    #: Make, test, start, pause, cancel.
    RUN_CAMPAIGNS = "run_campaigns"
    SEE_REPORTS = "see_reports"
    #: Who opened, clicked, left: names behind the numbers.
    SEE_WHO = "see_who"
    SEE_TEMPLATES = "see_templates"
    EDIT_TEMPLATES = "edit_templates"
    SEE_SUPPRESSIONS = "see_suppressions"
    EDIT_SUPPRESSIONS = "edit_suppressions"
    SEE_TOPICS = "see_topics"
    EDIT_TOPICS = "edit_topics"
    SEE_BOUNCES = "see_bounces"
    SEE_WEBHOOKS = "see_webhooks"
    EDIT_WEBHOOKS = "edit_webhooks"
    EDIT_KEYS = "edit_keys"
    EDIT_USERS = "edit_users"
    SEE_AUDIT = "see_audit"
    SEE_SETTINGS = "see_settings"
    EDIT_SETTINGS = "edit_settings"
    #: Pause and resume the mail of a stream.
    STEER_STREAMS = "steer_streams"


#: Numbers without names.
_VIEWER = frozenset({May.SEE_HOME, May.SEE_CAMPAIGNS, May.SEE_REPORTS, May.SEE_TEMPLATES, May.SEE_TOPICS})

#: Role x permission, as one reads it aloud: an owner may everything, a viewer sees numbers and no person.
ALLOWED: Mapping[UserRole, frozenset[May]] = {
    UserRole.OWNER: frozenset(May),
    UserRole.MARKETER: _VIEWER
    | {May.RUN_CAMPAIGNS, May.EDIT_TEMPLATES, May.SEE_WHO, May.SEE_SUPPRESSIONS, May.SEE_BOUNCES, May.SEE_EMAILS},
    UserRole.SUPPORT: _VIEWER
    | {
        *(May.SEE_EMAILS, May.STEER_EMAILS, May.SEE_PEOPLE, May.EDIT_PEOPLE, May.SEE_WHO),
        *(May.SEE_SUPPRESSIONS, May.EDIT_SUPPRESSIONS, May.SEE_BOUNCES, May.SEE_WEBHOOKS),
    },
    UserRole.VIEWER: _VIEWER,
}


def may(role: UserRole, permission: May) -> bool:
    """Return whether a role has a permission."""
    return permission in ALLOWED[role]
