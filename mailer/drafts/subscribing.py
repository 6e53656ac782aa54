"""Requests to get mail: by a form that everybody sees, or by product code for one of its own people."""

from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from mailer.drafts.checking import wrong
from mailer.drafts.fields import LINE, Address, Body, Locale, TopicKey

MOST_TOPICS = 20
#: What is kept where a form does not say which version of its words it shows.
UNSTATED = "unstated"


def _network_address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        raise wrong("must be an IPv4 or IPv6 address such as 192.0.2.1") from None


class SubscribeDraft(Body):
    """What a person is to get, once they say yes by the mail that asks them."""

    topics: Annotated[list[TopicKey], Field(min_length=1, max_length=MOST_TOPICS)]
    source: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(str.strip), LINE] = Field(
        description="The form or program by which it was asked: a part of the proof."
    )
    wording: Annotated[str, StringConstraints(min_length=1, max_length=40), LINE] = Field(
        description="Which version of the words the person read: a part of the proof."
    )
    name: Annotated[str, StringConstraints(max_length=200), LINE] = ""
    locale: Locale | None = None
    ip: Annotated[str, StringConstraints(max_length=45), AfterValidator(_network_address)] | None = Field(
        default=None, description="Where the person's request came from: requests are also counted by network."
    )


class PublicSubscription(Body):
    """What a form that everybody sees says; the source and the words are what it says of itself."""

    email: Address
    topics: Annotated[list[TopicKey], Field(min_length=1, max_length=MOST_TOPICS)]
    tenant: Annotated[str, StringConstraints(max_length=40), LINE] = ""
    source: Annotated[str, StringConstraints(max_length=200), LINE] = ""
    wording: Annotated[str, StringConstraints(max_length=40), LINE] = ""
    name: Annotated[str, StringConstraints(max_length=200), LINE] = ""
    locale: Locale | None = None
