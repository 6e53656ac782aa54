"""The sample company and its mail: every template that travels with the program, to people who do not exist."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import cast

from mailer import resources
from mailer.compose.templates import BASE, Content, load_folder
from mailer.drafts import Draft, TopicDraft, parse

FROM = "Ringwise <hello@ringwise.example>"
POSTAL_ADDRESS = "Ringwise Ltd, 12 Bell Lane, Kyiv 01001, Ukraine"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who gets mail in the demo."""

    email: str
    name: str
    locale: str = "en"


ANN = Person("ann.meyer@northwind.example", "Ann Meyer")
PAUL = Person("paul.weber@northwind.example", "Paul Weber")
INES = Person("ines.hartmann@northwind.example", "Ines Hartmann")
MAREK = Person("marek.nowak@balticfreight.example", "Marek Nowak")
#: Looks at the dashboard; gets no mail.
USER = Person("zoe.hart@ringwise.example", "Zoe Hart")
#: Leaves after her first newsletter.
LENA = Person("lena.berg@halden.example", "Lena Berg")
HANNA = Person("hanna.melnyk@north.example", "Ганна Мельник", "uk")
TARAS = Person("taras.koval@north.example", "Тарас Коваль", "uk")

#: Most examples speak to Ann (Анно); these are for somebody else, or for several.
_READERS: Mapping[str, Sequence[Person]] = {
    "newsletter": (ANN, INES, MAREK),
    "product-update": (ANN, PAUL, MAREK),
    "maintenance-notice": (ANN, PAUL),
    "new-lead": (INES,),
    "lead-reassigned": (INES,),
    "teammate-invite": (PAUL,),
}
_UKRAINIAN_READERS: Mapping[str, Sequence[Person]] = {
    "newsletter": (HANNA, TARAS),
    "teammate-invite": (TARAS,),
}

#: Notifications of the sample company that its people leave one by one, not all together: template -> topic.
_TOPICS: Mapping[str, TopicDraft] = {
    template: parse(TopicDraft, {"key": key, "stream": "transactional", "names": names, "descriptions": said})
    for template, key, names, said in (
        (
            "new-lead",
            "new-lead",
            {"en": "New leads", "uk": "Нові ліди"},
            {"en": "Somebody new asks for you.", "uk": "Коли до вас звертається хтось новий."},
        ),
        (
            "lead-reassigned",
            "lead-reassigned",
            {"en": "Reassigned leads", "uk": "Передані ліди"},
            {"en": "A lead becomes yours.", "uk": "Коли лід стає вашим."},
        ),
        (
            "event-reminder",
            "event-reminders",
            {"en": "Event reminders", "uk": "Нагадування про події"},
            {"en": "What is next in your calendar.", "uk": "Що далі у вашому календарі."},
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One mail of the demo."""

    content: Content
    person: Person
    #: What differs from the template's own examples.
    variables: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def draft(self) -> Draft:
        """Return the request that product code would make."""
        topic = _TOPICS.get(self.content.name or "")
        return parse(
            Draft,
            {
                **({"topic": topic.key} if topic else {}),
                "stream": self.content.stream.value,
                "to": {"email": self.person.email, "name": self.person.name},
                "template": self.content.name,
                "variables": {**self.content.schema.example(), **self.variables},
                "locale": self.person.locale,
                "tags": {"source": "demo"},
            },
        )


def topics() -> tuple[TopicDraft, ...]:
    """Return the topics that the sample company has besides those of every tenant."""
    return tuple(_TOPICS.values())


def first() -> Sample:
    """Return the newsletter after which Lena leaves."""
    return Sample(content("newsletter"), LENA)


def after_leaving() -> tuple[Sample, ...]:
    """Return what Lena is sent afterwards: a newsletter that must not go, an invoice that must."""
    return Sample(content("newsletter"), LENA, {"issue": "April 2027"}), Sample(content("invoice"), LENA)


def all_templates() -> Iterator[Sample]:
    """Return every template in English, and in Ukrainian those whose examples are translated."""
    ukrainian = _ukrainian()
    for folder in sorted(_folder().iterdir()):
        if folder.name == BASE or not folder.is_dir():
            continue
        content = load_folder(folder)
        yield from (Sample(content, person) for person in _READERS.get(folder.name, (ANN,)))
        if (variables := ukrainian.get(folder.name)) is not None:
            readers = _UKRAINIAN_READERS.get(folder.name, (HANNA,))
            yield from (Sample(content, person, variables) for person in readers)


def _folder() -> Path:
    return resources.templates() / "email"


@cache
def content(name: str) -> Content:
    """Return a template that travels with the program."""
    return load_folder(_folder() / name)


def _ukrainian() -> Mapping[str, Mapping[str, object]]:
    text = Path(__file__).with_name("ukrainian.json").read_text("utf-8")
    return cast("Mapping[str, Mapping[str, object]]", json.loads(text))
