"""Tenants, their identities, topics and keys."""

from datetime import UTC, datetime

import pytest
from sqlmodel import Session, select

from mailer import tenancy
from mailer.database import Database
from mailer.drafts import TopicDraft, parse
from mailer.errors import ConfigurationError, Conflict, Invalid, NotFound, Unauthorized
from mailer.models import ApiKey, Identity, Tenant, TopicDefault, Visibility
from mailer.settings import Settings
from suppression.rules import Stream

NOW = datetime(2027, 3, 1, 9, 30, tzinfo=UTC)


async def prepare(database: Database, **settings: str) -> Tenant:
    return await database.run(lambda session: tenancy.prepare(session, Settings(**settings), NOW))


async def identities(database: Database) -> dict[Stream, str]:
    def verb(session: Session) -> dict[Stream, str]:
        return {each.stream: f"{each.name} <{each.address}>" for each in session.exec(select(Identity))}

    return await database.read(verb)


async def test_a_fresh_database_gets_the_default_tenant_once(database: Database) -> None:
    first = await prepare(database)
    assert first == await prepare(database)
    assert first.id is not None
    tenant_id = first.id
    topics = await database.read(lambda session: tenancy.topics(session, tenant_id))
    assert {topic.key: topic.stream for topic in topics} == {
        "newsletter": Stream.PROMOTIONAL,
        "product-updates": Stream.PROMOTIONAL,
        "surveys": Stream.PROMOTIONAL,
        "events": Stream.PROMOTIONAL,
        "promotions": Stream.PROMOTIONAL,
        "notifications": Stream.TRANSACTIONAL,
    }
    assert all(topic.names.keys() == {"en", "uk"} for topic in topics)
    assert set((await identities(database)).values()) == {tenancy.MADE_UP}


async def test_identity_settings_belong_to_the_default_tenant(database: Database) -> None:
    await prepare(database, from_="Ringwise <Hello@ringwise.example>", postal_address="1 Main Street")
    tenant = await prepare(database, from_="news@ringwise.example", transactional_from='"R, Inc" <app@bücher.example>')
    assert tenant.postal_address == "1 Main Street"
    assert await identities(database) == {
        Stream.TRANSACTIONAL: "R, Inc <app@xn--bcher-kva.example>",
        Stream.PROMOTIONAL: " <news@ringwise.example>",
    }
    # A command that runs without the settings takes nothing away.
    await prepare(database)
    assert " <news@ringwise.example>" in (await identities(database)).values()


@pytest.mark.parametrize("sender", ["Ringwise", "a@b", "R\r\nX: y <a@b.example>", "R <a@b.example> more"])
async def test_a_from_that_is_no_address_stops_the_start(sqlite: Database, sender: str) -> None:
    with pytest.raises(ConfigurationError):
        await prepare(sqlite, from_=sender)


async def test_customers_have_an_opt_out_in_every_mail(database: Database) -> None:
    default = await prepare(database)
    acme = await database.run(
        lambda session: tenancy.create_tenant(session, "acme", sender="Acme <a@acme.example>", now=NOW)
    )
    assert (default.opt_out_in_every_mail, acme.opt_out_in_every_mail, acme.name) == (False, True, "Acme")
    with pytest.raises(Conflict):
        await database.run(lambda session: tenancy.create_tenant(session, "acme", sender="a@acme.example", now=NOW))
    with pytest.raises(Invalid):
        await database.run(lambda session: tenancy.create_tenant(session, "A B", sender="a@acme.example", now=NOW))
    with pytest.raises(Invalid, match="acme, default"):
        await database.read(lambda session: tenancy.only_tenant(session, None))
    with pytest.raises(NotFound):
        await database.read(lambda session: tenancy.only_tenant(session, "nobody"))
    assert (await database.read(lambda session: tenancy.only_tenant(session, "acme"))).id == acme.id


async def test_one_tenant_needs_no_naming(sqlite: Database) -> None:
    tenant = await prepare(sqlite)
    assert (await sqlite.read(lambda session: tenancy.only_tenant(session, None))).id == tenant.id


async def test_a_key_opens_until_it_is_revoked_and_is_not_kept(database: Database) -> None:
    tenant = await prepare(database)
    assert tenant.id is not None
    tenant_id = tenant.id
    issued = await database.run(
        lambda session: tenancy.create_key(session, tenant_id, "app", scopes=["read"], captures=True, now=NOW)
    )
    assert issued.plain.startswith("mk_")
    assert len(issued.plain) == 46
    stored = await database.read(lambda session: list(session.exec(select(ApiKey))))
    assert issued.plain not in repr(stored)
    found = await database.read(lambda session: tenancy.authenticate(session, issued.plain))
    assert (found.id, found.scopes, found.captures) == (issued.key.id, ["read"], True)
    for other in ("", "mk_", issued.plain[:-1], issued.plain.swapcase(), "\ud800"):
        with pytest.raises(Unauthorized):
            await database.read(lambda session, other=other: tenancy.authenticate(session, other))  # type: ignore[misc]
    await database.run(lambda session: tenancy.revoke(session, tenant_id, "app", NOW))
    with pytest.raises(Unauthorized):
        await database.read(lambda session: tenancy.authenticate(session, issued.plain))
    with pytest.raises(NotFound):
        await database.run(lambda session: tenancy.revoke(session, tenant_id, issued.key.id, NOW))
    assert [key.revoked_at for key in await database.read(lambda s: tenancy.keys(s, tenant_id))] == [NOW]


@pytest.mark.parametrize(("name", "scopes"), [("app", []), ("app", ["fly"]), ("  ", ["read"])])
async def test_a_key_needs_a_name_and_known_scopes(sqlite: Database, name: str, scopes: list[str]) -> None:
    tenant = await prepare(sqlite)
    tenant_id = tenant.id or 0
    with pytest.raises(Invalid):
        await sqlite.run(lambda session: tenancy.create_key(session, tenant_id, name, scopes=scopes, now=NOW))


async def test_a_topic_is_made_once_a_tenant(database: Database) -> None:
    tenant = await prepare(database)
    tenant_id = tenant.id or 0
    draft = parse(TopicDraft, {"key": "beta", "stream": "promotional", "names": {"en": "Beta"}})
    made = await database.run(lambda session: tenancy.create_topic(session, tenant_id, draft))
    assert (made.key, made.names) == ("beta", {"en": "Beta"})
    with pytest.raises(Conflict):
        await database.run(lambda session: tenancy.create_topic(session, tenant_id, draft))


async def test_a_topic_goes_to_everybody_and_is_shown_to_everybody_unless_it_says_otherwise(database: Database) -> None:
    tenant_id = (await prepare(database)).id or 0

    def kinds(session: Session) -> dict[str, tuple[TopicDefault, Visibility]]:
        return {topic.key: (topic.default, topic.visibility) for topic in tenancy.topics(session, tenant_id)}

    usual = (TopicDefault.OPT_IN, Visibility.PUBLIC)
    assert set((await database.read(kinds)).values()) == {usual}
    plain = {"key": "plain", "stream": "promotional"}
    club = {"key": "club", "stream": "promotional", "default": "opt_out", "visibility": "private"}
    for asked in (plain, club):
        draft = parse(TopicDraft, asked)
        await database.run(lambda session, draft=draft: tenancy.create_topic(session, tenant_id, draft))  # type: ignore[misc]
    found = await database.read(kinds)
    assert (found["plain"], found["club"]) == (usual, (TopicDefault.OPT_OUT, Visibility.PRIVATE))
    for field in ("default", "visibility"):
        with pytest.raises(Invalid, match=field):
            parse(TopicDraft, {**plain, field: "perhaps"})
