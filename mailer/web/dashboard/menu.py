"""The menu: what stands in it, in which order, and who sees it."""

from collections.abc import Sequence
from typing import NamedTuple

from mailer.models import UserRole
from mailer.users import permissions
from mailer.users.permissions import May


class Item(NamedTuple):
    """One line of the menu: its word `menu_…`, the path of its screen, and who may see that."""

    word: str
    path: str
    may: May


#: Groups of lines, each with a word `group_…` above it; the first group has none. A test compares it with the screens.
MENU: tuple[tuple[str, tuple[Item, ...]], ...] = (
    (
        "",
        (
            Item("home", "", May.SEE_HOME),
            Item("emails", "/emails", May.SEE_EMAILS),
            Item("people", "/people", May.SEE_PEOPLE),
            Item("campaigns", "/campaigns", May.SEE_CAMPAIGNS),
            Item("reports", "/reports", May.SEE_REPORTS),
            Item("suppressions", "/suppressions", May.SEE_SUPPRESSIONS),
            Item("topics", "/topics", May.SEE_TOPICS),
            Item("streams", "/streams", May.SEE_TOPICS),
            Item("templates", "/templates", May.SEE_TEMPLATES),
            Item("bounces", "/bounces", May.SEE_BOUNCES),
            Item("webhooks", "/webhooks", May.SEE_WEBHOOKS),
        ),
    ),
    (
        "house",
        (
            Item("keys", "/keys", May.EDIT_KEYS),
            Item("users", "/users", May.EDIT_USERS),
            Item("audit", "/audit", May.SEE_AUDIT),
            Item("settings", "/settings", May.SEE_SETTINGS),
        ),
    ),
)


def shown_to(role: UserRole) -> Sequence[tuple[str, Sequence[Item]]]:
    """Return what a role sees of the menu; a group of nothing is left out."""
    found = [(word, [item for item in items if permissions.may(role, item.may)]) for word, items in MENU]
    return [(word, items) for word, items in found if items]
