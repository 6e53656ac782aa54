"""Topics: what people can leave, in which words they read it, and which are retired."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeVar

from sqlmodel import Session
from starlette.responses import Response

from mailer import reports, tenancy
from mailer.audit import Act
from mailer.drafts import TopicChange, TopicDraft, parse
from mailer.errors import Invalid, NotFound, Problem
from mailer.models import LeaveRule, Topic, TopicDefault, Visibility
from mailer.reports import By, Span
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen
from mailer.web.dashboard.words import SPOKEN
from suppression.rules import Stream

#: How many days the numbers beside a topic are of, today included.
DAYS = 30
#: The row of the form for a language that the topic has no words in yet.
OTHER = "other"
_Draft = TypeVar("_Draft", TopicDraft, TopicChange)
_RULES = ("opt_out", "default", "visibility")


class _Seen(NamedTuple):
    topics: Sequence[Topic]
    #: By topic and name, of mail that was accepted in the last days.
    figures: Mapping[str, Mapping[str, float | None]]


async def show(asked: Asked) -> Response:
    """Show the topics of each stream, and the form for another one."""
    today = asked.now.date()
    span = Span(today - timedelta(days=DAYS - 1), today)

    def look(session: Session) -> _Seen:
        table = reports.table(session, asked.tenant_id, span, By.TOPIC)
        figures = {row.value: {figure.name: figure.value for figure in row.figures} for row in table.rows}
        return _Seen(tenancy.topics(session, asked.tenant_id), figures)

    seen = await asked.read(look)
    return asked.page(
        "topics.html",
        {
            "streams": {stream: [topic for topic in seen.topics if topic.stream is stream] for stream in Stream},
            "figures_of": seen.figures,
            "days": DAYS,
            "locales": _locales(None),
            **_CHOICES,
        },
    )


async def create(asked: Asked) -> Response:
    """Make a topic."""
    form = asked.form
    given = {name: form.one(name) for name in ("key", "stream", *_RULES) if form.one(name)}
    draft = _parsed(TopicDraft, {**given, **_words(asked, None)})

    def verb(session: Session) -> None:
        topic = tenancy.create_topic(session, asked.tenant_id, draft)
        asked.log(session, Act.TOPIC_CREATED, topic.key, stream=topic.stream.value)

    await asked.run(verb)
    return asked.to("/topics", done="topic_created")


async def show_one(asked: Asked) -> Response:
    """Show the form of one topic."""
    topic = await asked.read(lambda session: _topic(session, asked))
    return asked.page("topic.html", {"topic": topic, "locales": _locales(topic), "other": OTHER, **_CHOICES})


async def change(asked: Asked) -> Response:
    """Keep what was changed of a topic, retire it, or bring it back."""
    do = asked.form.one("do")
    await asked.run(partial(_change, asked, do))
    done = {"retire": "topic_retired", "restore": "topic_restored"}.get(do, "topic_changed")
    return asked.to(f"/topics/{asked.param('key')}", done=done)


def _change(asked: Asked, do: str, session: Session) -> None:
    topic = _topic(session, asked)
    if do in ("retire", "restore"):
        wanted = _parsed(TopicChange, {"retired": do == "retire"})
    else:
        given = {name: asked.form.one(name) for name in _RULES if asked.form.one(name)}
        wanted = _parsed(TopicChange, {**given, **_words(asked, topic)})
    before = {name: getattr(topic, name) for name in wanted.model_fields_set}
    changed = sorted(name for name, value in before.items() if value != getattr(wanted, name))
    if changed:
        tenancy.change_topic(session, asked.tenant_id, topic.key, wanted)
        asked.log(session, Act.TOPIC_CHANGED, topic.key, changed=changed)


def _topic(session: Session, asked: Asked) -> Topic:
    key = asked.param("key")
    found = next((topic for topic in tenancy.topics(session, asked.tenant_id) if topic.key == key), None)
    if found is None:
        raise NotFound("there is no such topic")
    return found


def _locales(topic: Topic | None) -> Sequence[str]:
    """Return the languages that have a row in the form: ours, and whatever else the topic speaks."""
    more = sorted({*topic.names, *topic.descriptions} - SPOKEN.keys()) if topic is not None else []
    return [*SPOKEN, *more]


def _words(asked: Asked, topic: Topic | None) -> dict[str, dict[str, str]]:
    """Return the names and descriptions that the form holds, by language; what is empty is not said."""
    form, rows = asked.form, {locale: locale for locale in _locales(topic)}
    if other := form.one("locale").strip():
        rows[other] = OTHER
    elif form.one(f"name_{OTHER}").strip() or form.one(f"description_{OTHER}").strip():
        raise Invalid(Problem("locale", "say which language these words are in, such as pl"))
    return {
        f"{word}s": {locale: text for locale, row in rows.items() if (text := form.one(f"{word}_{row}").strip())}
        for word in ("name", "description")
    }


def _parsed(kind: type[_Draft], given: Mapping[str, object]) -> _Draft:
    try:
        return parse(kind, given)
    except Invalid as error:
        # Of `names.uk` the form knows the field `name_uk`.
        raise Invalid(*(Problem(_field(each.path), each.message) for each in error.problems)) from None


def _field(path: str) -> str:
    words, _, locale = path.partition(".")
    return f"{words.removesuffix('s')}_{locale}" if locale else words


_CHOICES: Mapping[str, object] = {
    "leave_rules": list(LeaveRule),
    "defaults": list(TopicDefault),
    "visibilities": list(Visibility),
    "other": OTHER,
}

SCREENS = (
    Screen("/topics", May.SEE_TOPICS, show, create, may_act=May.EDIT_TOPICS),
    Screen("/topics/{key}", May.SEE_TOPICS, show_one, change, may_act=May.EDIT_TOPICS),
)
