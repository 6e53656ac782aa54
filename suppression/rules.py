"""Which reason forbids which mail, and who may end it: the policy as a table."""

import re
from enum import StrEnum
from typing import NamedTuple, NewType

_TOPIC_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class Stream(StrEnum):
    """The two kinds of mail, each with its own queue, limits and policy."""

    TRANSACTIONAL = "transactional"
    PROMOTIONAL = "promotional"


class Reason(StrEnum):
    """Why a mailbox is not sent some mail."""

    UNSUBSCRIBE = "unsubscribe"
    COMPLAINT = "complaint"
    HARD_BOUNCE = "hard_bounce"
    INVALID = "invalid"
    SOFT_BOUNCE = "soft_bounce"
    SNOOZE = "snooze"
    MANUAL = "manual"


class Origin(StrEnum):
    """Who brought an entry."""

    RECIPIENT = "recipient"
    PROVIDER = "provider"
    ADMIN = "admin"
    API = "api"
    IMPORT = "import"
    ERASURE = "erasure"


class Ender(StrEnum):
    """Who or what may end an entry."""

    PERSON = "person"
    OPERATOR = "operator"
    TIME = "time"
    DELIVERY = "delivery"


class Reach(StrEnum):
    """How much of one stream a reason forbids."""

    NOTHING = "nothing"
    LEAVABLE = "leavable"
    EVERYTHING = "everything"


class Topic(NamedTuple):
    """What a person can leave, if it may be left."""

    key: str
    stream: Stream
    may_leave: bool


#: What an entry covers: "all", "stream:<stream>" or "topic:<key>"; made by the functions below only.
Scope = NewType("Scope", str)
ALL = Scope("all")
STREAM_PROMOTIONAL = Scope(f"stream:{Stream.PROMOTIONAL}")
STREAM_TRANSACTIONAL = Scope(f"stream:{Stream.TRANSACTIONAL}")
TOPIC_PREFIX = "topic:"


class ScopeError(ValueError):
    """The scope of an entry cannot be understood."""


def valid_topic_key(key: str) -> bool:
    """Return whether this may be the key of a topic."""
    return _TOPIC_KEY.fullmatch(key) is not None


def topic_scope(key: str) -> Scope:
    """Return the scope that covers one topic."""
    if not valid_topic_key(key):
        raise ScopeError(
            "a topic key is 1 to 40 lower-case letters, digits and hyphens, and does not begin with a hyphen"
        )
    return Scope(TOPIC_PREFIX + key)


def stream_scope(stream: Stream) -> Scope:
    """Return the scope that covers one stream."""
    return STREAM_PROMOTIONAL if stream is Stream.PROMOTIONAL else STREAM_TRANSACTIONAL


def parse_scope(text: str) -> Scope:
    """Read a scope, or raise ScopeError with one clear sentence."""
    if text.startswith(TOPIC_PREFIX):
        return topic_scope(text.removeprefix(TOPIC_PREFIX))
    for scope in (ALL, STREAM_PROMOTIONAL, STREAM_TRANSACTIONAL):
        if text == scope:
            return scope
    raise ScopeError("a scope is all, stream:promotional, stream:transactional or topic:<key>")


class Rule(NamedTuple):
    """One row of the policy: what a reason forbids, where it may stand, who ends it."""

    reason: Reason
    transactional: Reach
    promotional: Reach
    #: Scopes an entry of this reason may have; "topic:" stands for any topic.
    scopes: tuple[str, ...]
    enders: frozenset[Ender]
    #: The same for a reader: "ended by ...".
    ended_by: str

    @property
    def scoped(self) -> bool:
        """Whether the scope narrows the rule; a fact about the mailbox has one scope and holds as it is."""
        return len(self.scopes) > 1

    def reach(self, stream: Stream) -> Reach:
        """Return how much of the stream this reason forbids."""
        return self.promotional if stream is Stream.PROMOTIONAL else self.transactional


_MAILBOX = (ALL,)
_PROMOTIONAL = (STREAM_PROMOTIONAL,)
_OPT_OUT = (ALL, STREAM_PROMOTIONAL, TOPIC_PREFIX)
_ANY = (ALL, STREAM_PROMOTIONAL, STREAM_TRANSACTIONAL, TOPIC_PREFIX)
_NO, _LEFT, _YES = Reach.NOTHING, Reach.LEAVABLE, Reach.EVERYTHING
_OPERATOR = frozenset({Ender.OPERATOR})
_PERSON = frozenset({Ender.PERSON})
_DELIVERY = frozenset({Ender.TIME, Ender.DELIVERY})
_WHILE = frozenset({Ender.TIME, Ender.PERSON})

#: The policy, strictest first: among several entries that forbid a mail, the first in this order decides.
RULES: tuple[Rule, ...] = (
    #    reason             transactional  promotional  scopes  ended by
    Rule(Reason.HARD_BOUNCE, _YES, _YES, _MAILBOX, _OPERATOR, "an operator, with a note"),
    Rule(Reason.INVALID, _YES, _YES, _MAILBOX, _OPERATOR, "an operator, with a note"),
    Rule(Reason.MANUAL, _YES, _YES, _ANY, _OPERATOR, "an operator, with a note"),
    Rule(Reason.COMPLAINT, _NO, _YES, _PROMOTIONAL, _PERSON, "the person, by a fresh opt-in"),
    Rule(Reason.UNSUBSCRIBE, _LEFT, _YES, _OPT_OUT, _PERSON, "the person, by a fresh opt-in"),
    Rule(Reason.SOFT_BOUNCE, _NO, _YES, _PROMOTIONAL, _DELIVERY, "time, or a delivery"),
    Rule(Reason.SNOOZE, _NO, _YES, _PROMOTIONAL, _WHILE, "time, or the person"),
)
#: Facts about one mailbox: they do not follow a person to another address, as what people and operators decided does.
OF_THE_MAILBOX = frozenset({Reason.HARD_BOUNCE, Reason.INVALID, Reason.SOFT_BOUNCE})
_BY_REASON = {rule.reason: rule for rule in RULES}
_STRICTNESS = {rule.reason: place for place, rule in enumerate(RULES)}


def rule_of(reason: Reason) -> Rule:
    """Return the row of the policy for this reason."""
    return _BY_REASON[reason]


def strictness(reason: Reason) -> int:
    """Return the place of the reason in the policy; the strictest is 0."""
    return _STRICTNESS[reason]


def may_end(reason: Reason, ender: Ender) -> bool:
    """Return whether this party may end an entry of this reason."""
    return ender in _BY_REASON[reason].enders


def may_stand(reason: Reason, scope: Scope) -> bool:
    """Return whether an entry of this reason may have this scope."""
    kind = TOPIC_PREFIX if scope.startswith(TOPIC_PREFIX) else scope
    return kind in _BY_REASON[reason].scopes


def covers(scope: str, stream: Stream, topic: Topic | None) -> bool:
    """Return whether mail of this stream and topic lies within the scope."""
    if topic is not None and scope == TOPIC_PREFIX + topic.key:
        return True
    return scope in (ALL, stream_scope(stream))


def blocks(reason: Reason, scope: str, stream: Stream, topic: Topic | None) -> bool:
    """Return whether a live entry of this reason and scope forbids mail of this stream and topic."""
    rule = _BY_REASON[reason]
    reach = rule.reach(stream)
    if reach is Reach.NOTHING:
        return False
    if reach is Reach.LEAVABLE and (topic is None or not topic.may_leave):
        return False
    return not rule.scoped or covers(scope, stream, topic)
