"""What an import is asked to do, from the words that people and programs write."""

from collections.abc import Iterable

from sqlmodel import Session, col, select

from mailer import people
from mailer.errors import Invalid, Problem
from mailer.models import Topic
from suppression import rules
from suppression.exchange import Options
from suppression.rules import Reason


def options_of(reason: Reason | None, scope: str | None, topics: Iterable[str]) -> Options:
    """Return what a list itself does not say; a topic is written `GROUP=KEY`, or `KEY` for every other group."""
    try:
        chosen = rules.parse_scope(scope) if scope is not None else None
    except rules.ScopeError as error:
        raise Invalid(Problem("scope", str(error))) from None
    if reason is not None and chosen is not None and not rules.may_stand(reason, chosen):
        raise Invalid(Problem("scope", f"an entry with the reason {reason} cannot have the scope {chosen}"))
    named = {}
    for text in topics:
        group, _, key = text.rpartition("=")
        if not rules.valid_topic_key(key.strip()):
            raise Invalid(Problem("topic", "write it as GROUP=KEY, or as KEY for every group, KEY a topic of yours"))
        named[group.strip().casefold()] = key.strip()
    return Options(reason=reason, scope=chosen, topics=named)


def known_topics(session: Session, tenant_id: int, options: Options) -> frozenset[str]:
    """Return the topics that can be left; refuses an option that names another one."""
    keys = set(options.topics.values())
    if options.scope is not None and options.scope.startswith(rules.TOPIC_PREFIX):
        keys.add(options.scope.removeprefix(rules.TOPIC_PREFIX))
    known = {topic.key: topic for topic in session.exec(select(Topic).where(col(Topic.tenant_id) == tenant_id))}
    for key in sorted(keys):
        if key not in known:
            raise Invalid(Problem("topic", f"there is no topic {key}"))
        if not people.may_leave(known[key]):
            raise Invalid(
                Problem("topic", f"nobody may leave the topic {key}, so an entry for it would forbid nothing")
            )
    return frozenset(key for key, topic in known.items() if people.may_leave(topic))
