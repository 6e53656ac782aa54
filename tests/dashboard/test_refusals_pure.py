"""Whatever may be refused on a page is told in its language, and nothing stands in the tables that nobody says."""

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from string import Formatter

import pytest

from mailer.models import CampaignStatus, Opens, UserRole
from mailer.reports import Did
from mailer.reports.series import Step
from mailer.status import Status
from mailer.web.dashboard import refusals
from mailer.web.dashboard.refusals import TONGUES, Row, refused, refused_at, refused_within
from mailer.web.dashboard.words import SPOKEN, WORDS, voice
from suppression.rules import RULES, Reason, Stream
from tests.sentences import HOLE, Source

ROOT = Path(__file__).parent.parent.parent
#: What no page of the dashboard runs, or what its operator alone reads, in the log or in a terminal.
NOT_ON_PAGES = (
    *("mailer/bench", "mailer/cli", "mailer/delivery", "mailer/demo", "mailer/doctor", "mailer/inbox", "mailer/migrat"),
    *("mailer/feedback/inbound", "mailer/feedback/tracking", "mailer/web/api"),
    *("mailer/keyring.py", "mailer/relays.py", "mailer/rekeying.py", "mailer/settings.py"),
)
#: What is raised with a sentence: these, and whatever is derived from them.
ERRORS = {
    *("MailerError", "AddressError", "EntryError", "LiftError", "LineError", "ScopeError", "Unreadable"),
    *("FilterArgumentError", "SecurityError", "TemplateAssertionError"),
}
#: These end the process, or never leave it.
NOT_FOR_PEOPLE = {"ConfigurationError", "WrongVersion"}
#: What else is called with a sentence, and at which place it stands.
CALLS = {"Problem": 1, "Refusal": 1, "wrong": 0, "_wrong": 0, "_shaped": 1, "_stop": 2, "halt": 2}
#: What answers with a sentence, or with None.
TELLERS = frozenset({"forbidden", "forbidden_name"})
#: What a value may be where it is a sentence itself, or the name of a source.
VALUES = ("a1", "is not valid text", "body.html")
#: Kind of hole -> every value that it has.
KINDS: Mapping[str, set[str]] = {
    "campaign": {each.value for each in CampaignStatus},
    "did": {Did.OPENED.value, Did.CLICKED.value},
    "email": {each.value for each in Status},
    "ender": {rule.ended_by for rule in RULES},
    "measure": {each.value for each in Opens} - {Opens.INDIVIDUAL.value},
    "one_of_stream": {each.value for each in Stream},
    "reason": {each.value for each in Reason},
    "role": {each.value for each in UserRole},
    "step_of_series": {each.value for each in Step},
    "stream": {each.value for each in Stream},
}
#: What only narrows a list, or stands beside a field that is told of; nothing typed there is refused.
FILTERS = {
    *("campaign", "category", "days", "kind", "origin", "provider", "state", "status", "thing", "user", "zone"),
}
FOREIGN = tomllib.loads((refusals.FOLDER / "foreign.toml").read_text("utf-8"))


@pytest.fixture(scope="module")
def sentences() -> Mapping[str, str]:
    """Every sentence of ours, and a file that says it."""
    sources = {
        path: Source(path)
        for folder in ("mailer", "suppression")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not str(path.relative_to(ROOT)).startswith(NOT_ON_PAGES)
    }
    raised = _derived(sources)
    found: dict[str, str] = {}
    for path, source in sources.items():
        # The one `ValueError` whose sentence is handed on.
        own = raised | {"ValueError"} if path.name == "signing.py" and path.parent.name == "webhooks" else raised
        for text in source.said(own, CALLS, TELLERS):
            if text not in WORDS["en"] and text.strip(f"{HOLE}: ,"):
                found.setdefault(text, str(path.relative_to(ROOT)))
    return found


def test_the_languages_of_refusals_are_those_of_the_pages() -> None:
    assert {*TONGUES, "en"} == set(SPOKEN)


@pytest.mark.parametrize("language", sorted(TONGUES))
def test_every_sentence_that_refuses_something_is_in_words(language: str, sentences: Mapping[str, str]) -> None:
    assert len(sentences) > 400
    missing = {text.replace(HOLE, "{}"): path for text, path in sentences.items() if _row(language, text) is None}
    assert missing == {}


@pytest.mark.parametrize("language", sorted(TONGUES))
def test_no_words_are_left_of_what_nobody_says(language: str, sentences: Mapping[str, str]) -> None:
    used = {row.english for text in sentences for row in _rows(language, text)}
    left = {row.english for row in TONGUES[language].rows} - used - FOREIGN[language].keys()
    assert left == set()


@pytest.mark.parametrize("language", sorted(TONGUES))
def test_each_has_the_holes_of_its_english_and_kinds_that_are_there(language: str) -> None:
    tongue = TONGUES[language]
    known = {"", "either", "quoted", "said", "sentence", *tongue.kinds}
    for row in tongue.rows:
        assert {name for _, name, _, _ in Formatter().parse(row.said) if name} <= set(row.pattern.groupindex), row
        assert {kind or "" for _, name, kind, _ in Formatter().parse(row.said) if name} <= known, row
    for kind, values in KINDS.items():
        assert values <= tongue.kinds[kind].keys(), kind


def test_every_field_of_a_form_has_a_name() -> None:
    folder = refusals.FOLDER.parent
    text = "".join(path.read_text("utf-8") for path in sorted(folder.glob("*.html")))
    fields = set(re.findall(r'parts\.(?:field|area|choose)\("([a-z_]+[a-z])"', text)) - FILTERS
    assert {name for name in fields if f"field_{name}" not in WORDS["en"]} == set()


@pytest.mark.parametrize(
    ("english", "ukrainian"),
    [
        ("there is no topic news", "Теми «news» немає."),
        (
            "the campaign is paused and cannot be started: resume it",
            "Кампанія призупинена, тому запустити її не можна: продовжте її.",
        ),
        (
            "the column 'Ort' is no variable of the template: rename or remove it",
            "Стовпця «Ort» немає серед змінних шаблону: перейменуйте або приберіть його.",
        ),
        ("body.html, line 3: 'nme' is undefined.", "body.html, рядок 3: змінну nme не визначено."),
        ("body.html, line 3: something that nobody knows.", "body.html, рядок 3: something that nobody knows."),
        (
            "the domain has no dot; write it as Name <name@example.org>",
            "У домені немає крапки; пишіть як Назва <name@example.org>.",
        ),
        (
            "The variable name is missing; it must be a list. The variable x is not declared here.",
            "Бракує змінної name; це має бути список. Змінну x тут не оголошено.",
        ),
        (
            "the campaign has started, so topic, tags cannot change any more",
            "Кампанію вже запущено, тому цього вже не змінити: тема, позначки.",
        ),
        ("should be 'urgent', 'single' or 'bulk'", "Потрібне одне з цих значень: 'urgent', 'single', 'bulk'."),
        (
            "hooks.example.org leads to an address that is not public",
            "hooks.example.org веде на адресу, не доступну всім.",
        ),
        (
            "body.txt, line 2: unexpected end of template, expected 'end of print statement'.",
            "body.txt, рядок 2: шаблон несподівано закінчився, мало бути кінець виразу «}}».",
        ),
        (
            "The default of the variable city is wrong: The variable city must be a list.",
            "Усталене значення змінної city не підходить. Значення змінної city має бути таке: список.",
        ),
        ("body.html, line 3: + takes numbers.", "body.html, рядок 3: + діє лише з числами."),
        (
            "it paused itself: 6.00% of the mail went to addresses that do not exist (12 of 200); the limit is 5.00%",
            "Призупинилося само: частка листів на адреси, яких не існує: 6.00% (12 із 200); межа 5.00%.",
        ),
        ("no answer within 15 seconds", "Відповіді немає за 15 с."),
        ("what nobody has ever said", "What nobody has ever said."),
        ("code_wrong", "Цей код хибний, застарів або вже використаний. Дочекайтеся наступного."),
        ("", ""),
    ],
)
def test_a_refusal_is_one_sentence(english: str, ukrainian: str) -> None:
    assert refused(voice("uk", ""), english) == ukrainian


def test_english_stays_as_it_was_raised() -> None:
    say = voice("en", "")
    assert refused(say, "must be at most 200 characters long") == "Must be at most 200 characters long."
    long = refused_at(say, "name", "must be at most 200 characters long", {})
    assert long == ("Name:", "must be at most 200 characters long.")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("name", "Ім’я:"),
        ("variables.city.name", "Змінні (city.name):"),
        ("to[0].email", "Надіслати на (1.email):"),
        ("subject_pl", "Тема листа (pl):"),
        ("opt_out", "Чи можна від неї відписатися?"),
        ("scope", "Повноваження:"),
        ("somewhere", "somewhere:"),
        ("", ""),
    ],
)
def test_a_refusal_begins_with_what_the_form_calls_its_field(path: str, name: str) -> None:
    assert refused_at(voice("uk", ""), path, "is empty", {"scope": "keys_scopes"}).field == name


@pytest.mark.parametrize(
    "text", ["." * 1999, "a.txt: " * 280, "the topic " * 199, "x" * 10**6], ids=["dots", "colons", "words", "long"]
)
def test_what_somebody_wrote_to_no_end_is_told_as_it_is(text: str) -> None:
    assert refused_within(voice("uk", ""), text).startswith(text[:1])


def _rows(language: str, text: str) -> Iterator[Row]:
    """Return the row that says a sentence, and those that say what stands in it."""
    if (row := _row(language, text)) is not None:
        yield row
        said = {name for _, name, kind, _ in Formatter().parse(row.said) if kind in ("said", "sentence")}
        found = row.pattern.fullmatch(text)
        for name, inner in found.groupdict().items() if found else ():
            if name in said and inner != text:
                yield from _rows(language, inner)


def _row(language: str, text: str) -> Row | None:
    """Return the row that says a sentence, whatever stands in its holes."""
    for values in product(VALUES, repeat=text.count(HOLE)):
        parts = iter([*values, ""])
        if row := TONGUES[language].row_of("".join(piece + next(parts) for piece in text.split(HOLE))):
            return row
    return None


def _derived(sources: Mapping[Path, object]) -> frozenset[str]:
    """Return the names of the errors and of all that is derived from them, wherever that is written."""
    classes = [
        (node.name, {base.id for base in node.bases if isinstance(base, ast.Name)})
        for path in sources
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    names = set(ERRORS)
    while more := {name for name, bases in classes if bases & names} - names - NOT_FOR_PEOPLE:
        names |= more
    return frozenset(names)
