"""Which version of a template a request means, and that each body is kept once."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlmodel import Session, select

from mailer import catalogue
from mailer.catalogue import Edition, Version
from mailer.compose.letter import Sender
from mailer.compose.templates import Content as Body
from mailer.compose.templates import Parts, try_in_child
from mailer.database import Database
from mailer.drafts import TemplateDraft, parse
from mailer.errors import NotFound, UnknownTemplate
from mailer.models import Content
from suppression.rules import Stream
from tests.test_api_world import prepared

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)


def own(text: str, name: str = "welcome") -> Body:
    draft = {"name": name, "stream": "transactional", "parts": {"en": {"subject": "Hi", "text": text}}}
    return catalogue.drafted(parse(TemplateDraft, draft))


async def tenant(database: Database) -> int:
    return (await prepared(database)).id or 0


async def resolve(database: Database, tenant_id: int, name: str) -> Edition:
    return await database.run(lambda session: catalogue.resolve(session, tenant_id, name, NOW))


async def save(database: Database, tenant_id: int, body: Body) -> Version:
    return await database.run(lambda session: catalogue.save(session, tenant_id, body, NOW))


async def count(database: Database) -> int:
    def verb(session: Session) -> int:
        return len(session.exec(select(Content)).all())

    return await database.read(verb)


async def test_a_shipped_template_is_stored_when_it_is_first_used(database: Database) -> None:
    tenant_id = await tenant(database)
    assert await count(database) == 0
    first, second = await resolve(database, tenant_id, "welcome"), await resolve(database, tenant_id, "welcome")
    assert first == second
    assert (first.version, first.body.stream, await count(database)) == (1, Stream.TRANSACTIONAL, 1)
    assert "html" in str(first.body.to_dict())
    with pytest.raises(UnknownTemplate):
        await resolve(database, tenant_id, "no-such-template")


async def test_an_updated_program_ships_a_new_version_and_an_older_one_keeps_its_own(
    sqlite: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant_id = await tenant(sqlite)
    old = await resolve(sqlite, tenant_id, "welcome")
    updated = replace(old.body, description="better")
    with monkeypatch.context() as patched:
        patched.setattr(catalogue, "shipped", lambda: {"welcome": (updated.digest(), updated)})
        new = await resolve(sqlite, tenant_id, "welcome")
        assert (new.version, new.body.description) == (2, "better")
    # A process of the older program that still runs does not make a third version.
    assert await resolve(sqlite, tenant_id, "welcome") == old
    assert await count(sqlite) == 2


async def test_the_tenants_own_newest_version_wins_until_it_is_retired(database: Database) -> None:
    tenant_id = await tenant(database)
    shipped = await resolve(database, tenant_id, "welcome")
    saved = [(await save(database, tenant_id, own(text))).version for text in ("one", "two", "two", "one")]
    assert saved == [2, 3, 3, 4]
    newest = await resolve(database, tenant_id, "welcome")
    assert (newest.version, newest.body.parts["en"].text) == (4, "one")
    listed = await database.read(lambda session: catalogue.versions(session, tenant_id, "welcome"))
    assert [(each.version, each.shipped) for each in listed] == [(4, False), (3, False), (2, False), (1, True)]
    assert await database.run(lambda session: catalogue.retire(session, tenant_id, "welcome", NOW)) == 3
    assert await resolve(database, tenant_id, "welcome") == shipped
    with pytest.raises(NotFound):
        await database.run(lambda session: catalogue.retire(session, tenant_id, "welcome", NOW))
    assert (await save(database, tenant_id, own("one"))).version == 5
    assert (await resolve(database, tenant_id, "welcome")).version == 5


async def test_two_who_save_at_once_make_two_versions(database: Database) -> None:
    tenant_id = await tenant(database)
    saved = await asyncio.gather(*(save(database, tenant_id, own(f"text {i}", "mine")) for i in range(4)))
    assert sorted(each.version or 0 for each in saved) == [1, 2, 3, 4]


async def test_a_literal_body_is_kept_once(database: Database) -> None:
    tenant_id = await tenant(database)
    body = catalogue.written(Stream.TRANSACTIONAL, "Hi {{ x }}", "<p>{% if %}</p>", None)
    editions = await asyncio.gather(
        *(database.run(lambda session: catalogue.literal(session, tenant_id, body, NOW)) for _ in range(4))
    )
    assert len({each.id for each in editions}) == await count(database) == 1
    assert editions[0].body.literal


async def test_a_rolled_back_version_spoils_nothing(sqlite: Database) -> None:
    tenant_id = await tenant(sqlite)

    def broken(session: Session) -> None:
        catalogue.save(session, tenant_id, own("lost"), NOW)
        catalogue.resolve(session, tenant_id, "welcome", NOW)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        await sqlite.run(broken)
    await save(sqlite, tenant_id, own("kept"))
    assert (await resolve(sqlite, tenant_id, "welcome")).body.parts["en"].text == "kept"


async def test_every_shipped_template_previews_in_every_locale() -> None:
    sender = Sender("a@b.example", "A")
    for _, body in catalogue.shipped().values():
        for locale in body.parts:
            look = catalogue.Look(sender=sender, locale=locale, variables=body.schema.example())
            reading = catalogue.preview(body, look, NOW)
            assert reading.subject
            assert reading.html
            assert reading.text
            assert not reading.defects


async def test_a_draft_may_extend_our_frame() -> None:
    parts = {"subject": "Hi", "html": '{% extends "_base/layout.html" %}{% block content %}<p>Hi</p>{% endblock %}'}
    draft = parse(TemplateDraft, {"name": "mine", "stream": "transactional", "parts": {"uk": parts}})
    body = catalogue.drafted(draft)
    try_in_child(body)
    assert body.default_locale == "uk"
    assert body.parts == {"uk": Parts("Hi", parts["html"])}
