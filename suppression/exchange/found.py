"""What a list says of one mailbox, and what whoever brings it adds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from suppression import rules
from suppression.address import Address
from suppression.exchange.rows import Row
from suppression.rules import STREAM_PROMOTIONAL, Reason, Scope


class FormName(StrEnum):
    """The lists that are understood."""

    LIST = "list"
    SES = "ses"
    SENDGRID_UNSUBSCRIBES = "sendgrid-unsubscribes"
    SENDGRID_GROUPS = "sendgrid-groups"
    SENDGRID_BOUNCES = "sendgrid-bounces"
    SENDGRID_BLOCKS = "sendgrid-blocks"
    SENDGRID_SPAM_REPORTS = "sendgrid-spam-reports"
    SENDGRID_INVALID = "sendgrid-invalid"
    POSTMARK = "postmark"
    MAILGUN_UNSUBSCRIBES = "mailgun-unsubscribes"
    MAILGUN_BOUNCES = "mailgun-bounces"
    MAILGUN_COMPLAINTS = "mailgun-complaints"
    MAILCHIMP = "mailchimp"
    LISTMONK = "listmonk"
    MAUTIC = "mautic"


class LineError(ValueError):
    """The record is of no use; the sentence says why."""


class Restriction(NamedTuple):
    """What a record forbids."""

    reason: Reason
    scope: Scope
    #: When it began and when it ends, as the list writes it.
    at: object = None
    expires_at: object = None
    note: str = ""
    evidence: Mapping[str, str] = {}
    #: The group of the list that no topic was named for, so that the whole promotional stream is left.
    widened: str = ""


class Found(NamedTuple):
    """A mailbox and what is forbidden to it."""

    line: int
    address: Address
    reason: Reason
    scope: Scope
    #: None where the list does not say, or writes it unreadably.
    at: datetime | None
    expires_at: datetime | None
    note: str | None
    evidence: Mapping[str, str]
    widened: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the list itself does not say."""

    #: Why, for records without a reason of their own.
    reason: Reason | None = None
    #: How far, for opt-outs and entries by hand that say nothing of it.
    scope: Scope | None = None
    #: A group, list or tag of the other system -> the topic that is left; "" stands for every other group.
    topics: Mapping[str, str] = field(default_factory=dict)

    def left(self, *names: str) -> tuple[Scope, str]:
        """Return what leaves a group of these names (an id, a title), and the group's name where no topic is known.

        Without a topic the whole promotional stream is left: an import never makes less of an opt-out.
        """
        known = next((self.topics[name.casefold()] for name in names if name.casefold() in self.topics), None)
        topic = known or self.topics.get("")
        if topic is not None:
            return rules.topic_scope(topic), ""
        return self.scope or STREAM_PROMOTIONAL, next((name for name in reversed(names) if name), "")

    def scope_of(self, reason: Reason, usual: Scope) -> Scope:
        """Return how far an entry reaches: as asked for, where its reason can have that scope, else as is usual."""
        return self.scope if self.scope is not None and rules.may_stand(reason, self.scope) else usual


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How one system writes one list down."""

    name: FormName
    #: Where one gets it, for a person.
    source: str
    #: The columns that may hold the address, as `rows.column` returns names.
    address: tuple[str, ...]
    #: What a record forbids; nothing where it is no restriction. Raises `LineError`.
    read: Callable[[Row, Options], Sequence[Restriction]]
    #: Of each of these groups one column is there, else it is another list.
    needed: tuple[tuple[str, ...], ...] = ()
    #: The columns of a file without a header.
    bare: tuple[str, ...] = ()
    #: The address stands in the first column where none has a name we know: headers come translated.
    first: bool = False
