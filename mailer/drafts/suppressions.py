"""Entries of the suppression list."""

from typing import Annotated

from pydantic import AfterValidator, Field

from mailer.drafts.checking import wrong
from mailer.drafts.fields import Address, Body, Moment, Note, TopicKey
from suppression import rules
from suppression.rules import Reason, Stream


def _scope(value: str) -> str:
    try:
        return rules.parse_scope(value)
    except rules.ScopeError as error:
        raise wrong(str(error)) from None


class SuppressionDraft(Body):
    """An entry that forbids mail to an address."""

    email: Address
    reason: Reason = Reason.MANUAL
    scope: Annotated[str, AfterValidator(_scope)] = rules.ALL
    expires_at: Moment | None = None
    note: Note | None = None


class CheckDraft(Body):
    """May these addresses get this mail? One that is no address is answered for itself."""

    emails: list[Annotated[str, Field(max_length=1000)]] = Field(min_length=1, max_length=500)
    stream: Stream
    topic: TopicKey | None = None


class LiftDraft(Body):
    """Why an entry is lifted."""

    note: Note
