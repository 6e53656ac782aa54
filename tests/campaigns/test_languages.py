"""A campaign's mail speaks the language of the list, else of the person's choice, else its own."""

import pytest
from sqlmodel import Session

from mailer import people
from mailer.campaigns import Format
from mailer.campaigns.reading import Reader, Wanted
from mailer.compose.variables import Schema
from mailer.models import Tenant
from suppression.address import parse
from suppression.lines import Refusal
from tests.campaigns.world import World, asked, offer

PARTS = {
    "en": {"subject": "Spring in {{ city }}", "text": "Hello"},
    "uk": {"subject": "Весна: {{ city }}", "text": "Вітаємо"},
    "de": {"subject": "Frühling: {{ city }}", "text": "Hallo"},
}


async def choose(world: World, address: str, locale: str) -> None:
    fingerprint = world.context.fingerprints.of(world.sender.tenant_id, parse(address).canonical)
    await world.database.run(
        lambda session: people.choose_language(
            session, world.sender.tenant_id, fingerprint, locale, address=address, now=world.now
        )
    )


def person(address: str, **more: str) -> dict[str, object]:
    return {"email": address, "variables": {"city": "Kyiv"}, **more}


async def spoken(world: World, campaign: str) -> dict[str, str]:
    return {str(email.address).partition("@")[0]: email.locale for email in await world.emails(campaign)}


async def test_the_list_then_the_person_then_the_campaign_say_the_language(world: World) -> None:
    await world.template(parts=PARTS)
    await choose(world, "chose@example.org", "uk")
    await choose(world, "named@example.org", "uk")
    await choose(world, "strange@example.org", "fr")
    await choose(world, "both@example.org", "uk")
    campaign = await world.create(**offer(locale="de"))
    await world.add(
        campaign,
        [
            person("nobody@example.org"),
            person("chose@example.org"),
            person("named@example.org", locale="en"),
            person("region@example.org", locale="en-GB"),
            person("strange@example.org"),
            person("both@example.org", locale="fr"),
        ],
    )
    assert await spoken(world, campaign) == {
        "nobody": "de",
        "chose": "uk",
        "named": "en",
        "region": "en-GB",
        "strange": "de",
        "both": "uk",
    }


async def test_a_choice_of_another_tenants_person_says_nothing(world: World) -> None:
    await world.template(parts=PARTS)
    fingerprint = world.context.fingerprints.of(world.sender.tenant_id, "ann@example.org")

    def choose_elsewhere(session: Session) -> None:
        other = Tenant(key="other", name="Other", created_at=world.now)
        session.add(other)
        session.flush()
        people.choose_language(session, other.id or 0, fingerprint, "uk", address=None, now=world.now)

    await world.database.run(choose_elsewhere)
    campaign = await world.create(**offer())
    await world.add(campaign, [person("ann@example.org")])
    assert await spoken(world, campaign) == {"ann": "en"}


async def test_words_in_one_language_stay_what_they_are(world: World) -> None:
    await choose(world, "ann@example.org", "uk")
    campaign = await world.create(**asked())
    await world.add(campaign, [{"email": "ann@example.org", "locale": "uk"}])
    assert await spoken(world, campaign) == {"ann": "en"}


async def test_a_csv_file_names_languages_in_a_column(world: World) -> None:
    await world.template(parts=PARTS)
    campaign = await world.create(**offer())
    lines = b"email,locale,city\nann@example.org,uk,Kyiv\nbob@example.org,,Lviv\ncid@example.org,UK!,Odesa\n"
    added = await world.upload(campaign).lines([lines], Format.CSV)
    assert await spoken(world, campaign) == {"ann": "uk", "bob": "en"}
    assert added.lines == [Refusal(4, "locale must be a language such as uk or pt-BR, or be left out")]


@pytest.mark.parametrize(
    ("locale", "reason"),
    [
        (b'"Ukrainian"', "locale must be a language such as uk"),
        (b'"uk_UA"', "locale must be a language such as uk"),
        (b'"uk-aaaaaaaa"', "locale must be a language such as uk"),
        (b'"uk\\n"', "locale must be a language such as uk"),
        (b"5", "locale must be text"),
    ],
    ids=["word", "underscore", "long", "line-end", "number"],
)
def test_a_language_that_is_none_is_refused(locale: bytes, reason: str) -> None:
    reader = Reader(Format.NDJSON, Wanted.of(Schema.parse({}), {}))
    items = [*reader.feed(b'{"email": "ann@example.org", "locale": ' + locale + b"}\n")]
    assert isinstance(items[0], Refusal)
    assert items[0].reason.startswith(reason)
