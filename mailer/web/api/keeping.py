"""Templates and topics of a tenant."""

from http import HTTPStatus

from sqlmodel import Session

from mailer import catalogue, tenancy
from mailer.audit import Act
from mailer.catalogue import Version
from mailer.drafts import TemplateDraft, TopicChange, TopicDraft
from mailer.errors import NotFound
from mailer.models import Topic
from mailer.people import may_leave
from mailer.web.api.calls import Answer, Call
from mailer.web.trying import tried


async def templates_of(call: Call) -> Answer:
    """List the templates of a tenant in the version that a new email gets."""
    found = await call.read(lambda session: catalogue.listing(session, call.tenant_id))
    return Answer({"data": [_summary(each) for each in found], "has_more": False})


async def template(call: Call) -> Answer:
    """Show the version of a template that a new email gets."""
    found = await call.read(lambda session: catalogue.current(session, call.tenant_id, call.path("name")))
    return Answer(_whole(found))


async def save_template(call: Call) -> Answer:
    """Keep a new version of a template, once it was rendered in a child process with its example values."""
    body = await tried(call.draft(TemplateDraft))

    def verb(session: Session) -> Version:
        saved = catalogue.save(session, call.tenant_id, body, call.now)
        call.log(session, Act.TEMPLATE_SAVED, saved.name, version=saved.version)
        return saved

    saved = await call.run(verb)
    return Answer(_whole(saved), HTTPStatus.CREATED)


async def versions(call: Call) -> Answer:
    """List the stored versions of a template, the newest first."""
    name = call.path("name")
    found = await call.read(lambda session: catalogue.versions(session, call.tenant_id, name))
    if not found:
        # A shipped template has no stored version before it is first sent.
        found = [await call.read(lambda session: catalogue.current(session, call.tenant_id, name))]
    return Answer({"data": [_summary(each) for each in found], "has_more": False})


async def version(call: Call) -> Answer:
    """Show one version of a template."""
    number = call.path("number")
    if not number.isascii() or not number.isdigit() or len(number) > 9:
        raise NotFound(f"there is no version {number[:80]}")
    name = call.path("name")
    return Answer(
        _whole(await call.read(lambda session: catalogue.version(session, call.tenant_id, name, int(number))))
    )


async def topics(call: Call) -> Answer:
    """List what people can leave."""
    found = await call.read(lambda session: tenancy.topics(session, call.tenant_id))
    return Answer({"data": [_topic(topic) for topic in found], "has_more": False})


async def create_topic(call: Call) -> Answer:
    """Add a topic."""
    draft = call.draft(TopicDraft)

    def verb(session: Session) -> Topic:
        call.log(session, Act.TOPIC_CREATED, draft.key)
        return tenancy.create_topic(session, call.tenant_id, draft)

    return Answer(_topic(await call.run(verb)), HTTPStatus.CREATED)


async def change_topic(call: Call) -> Answer:
    """Change what is given of a topic."""
    change, key = call.draft(TopicChange), call.path("key")

    def verb(session: Session) -> Topic:
        call.log(session, Act.TOPIC_CHANGED, key, changed=sorted(change.model_fields_set))
        return tenancy.change_topic(session, call.tenant_id, key, change)

    return Answer(_topic(await call.run(verb)))


def _topic(topic: Topic) -> dict[str, object]:
    return {
        "key": topic.key,
        "stream": topic.stream,
        "opt_out": topic.opt_out,
        "default": topic.default,
        "visibility": topic.visibility,
        "may_leave": may_leave(topic),
        "names": topic.names,
        "descriptions": topic.descriptions,
        "retired": topic.retired,
    }


def _summary(version: Version) -> dict[str, object]:
    body = version.body
    return {
        "name": version.name,
        "version": version.version,
        "shipped": version.shipped,
        "stream": body.stream,
        "topic": body.topic,
        "urgency": body.urgency.name.lower(),
        "written_by": body.written_by,
        "description": body.description,
        "locales": sorted(body.parts),
        "created_at": version.created_at,
        "retired_at": version.retired_at,
    }


def _whole(version: Version) -> dict[str, object]:
    body = version.body
    parts = {
        locale: {"subject": part.subject, "html": part.html, "text": part.text}
        for locale, part in sorted(body.parts.items())
    }
    return {
        **_summary(version),
        "default_locale": body.default_locale,
        "variables": dict(body.schema.declared),
        "json_schema": body.schema.json_schema(),
        "example": body.schema.example(),
        "parts": parts,
    }
