import json
from pathlib import Path

import pytest

from mailer.compose.errors import ContentError
from mailer.compose.skeleton import rehearse
from mailer.compose.templates import Content, Parts, Urgency, literal, load_folder
from suppression.rules import Stream

SETTINGS = """
stream = "promotional"
topic = "newsletter"
urgency = "bulk"
[variables]
name = {type = "string"}
day = {type = "date", example = 2027-03-01}
"""


def folder(tmp_path: Path, settings: str = SETTINGS, html: str = '{% extends "_base/layout.html" %}') -> Path:
    path = tmp_path / "email" / "sample"
    for locale in ("en", "uk"):
        (path / locale).mkdir(parents=True)
        (path / locale / "subject.txt").write_text(f"Hello {locale} {{{{ name }}}}\n")
        (path / locale / "body.html").write_text(html)
    (path / "template.toml").write_text(settings)
    base = tmp_path / "email" / "_base"
    base.mkdir()
    (base / "layout.html").write_text('{% include "_base/foot.html" %}{{ name }} {{ day|date }}')
    (base / "foot.html").write_text("foot")
    (base / "unused.html").write_text("unused")
    return path


def test_a_folder_becomes_a_content_that_needs_no_file(tmp_path: Path) -> None:
    content = load_folder(folder(tmp_path))
    assert (content.name, content.stream, content.topic, content.urgency) == (
        "sample", Stream.PROMOTIONAL, "newsletter", Urgency.BULK,
    )  # fmt: skip
    assert sorted(content.base) == ["_base/foot.html", "_base/layout.html"]
    assert sorted(content.parts) == ["en", "uk"]
    assert content.parts["en"].subject == "Hello en {{ name }}"
    assert content.schema.example()["day"] == "2027-03-01"
    rehearse(content)


def test_a_content_comes_back_from_json_the_same(tmp_path: Path) -> None:
    content = load_folder(folder(tmp_path))
    stored = json.loads(json.dumps(content.to_dict()))
    again = Content.from_dict(stored)
    assert again.to_dict() == content.to_dict()
    assert again.digest() == content.digest()
    rehearse(again)
    changed = Content.from_dict({**stored, "base": {**stored["base"], "_base/foot.html": "other"}})
    assert changed.digest() != content.digest()


def test_a_digest_is_the_same_in_every_process() -> None:
    content = literal(Stream.TRANSACTIONAL, Parts("Hello", "<p>Hello</p>"))
    assert content.digest() == "339820cbfc1916a4c2603d2b5f7f7d07f12e42ac4ee4dd198f3961a4fe7c9e3c"


def test_the_locale_falls_back_to_its_language_and_then_the_default(tmp_path: Path) -> None:
    content = load_folder(folder(tmp_path))
    assert [content.locale_of(asked) for asked in ("uk", "uk-UA", "fr", None)] == ["uk", "uk", "en", "en"]


@pytest.mark.parametrize(
    ("settings", "html", "sentence"),
    [
        ("nonsense", "x", "cannot be read"),
        ('stream = "marketing"', "x", "needs a stream"),
        ("", "x", "needs a stream"),
        ('stream = "promotional"\nurgency = "now"', "x", "urgency"),
        ('stream = "promotional"\ncolour = "red"', "x", "unknown setting: colour"),
        ('stream = "promotional"\nwritten_by = "cat"', "x", "written_by"),
        ('stream = "promotional"\ntopic = "No Topic"', "x", "topic"),
        (SETTINGS, '{% extends "../../secret.html" %}', "only files of _base/"),
        (SETTINGS, '{% include "_base/../x.html" %}', "only files of _base/"),
        (SETTINGS, '{% include "_base/nothing.html" %}', "no _base/nothing.html"),
        ('stream = "promotional"\n[variables]\nx = {type = "thing"}', "x", "needs a type"),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_sentence(tmp_path: Path, settings: str, html: str, sentence: str) -> None:
    with pytest.raises(ContentError, match=sentence):
        load_folder(folder(tmp_path, settings, html))


def test_a_folder_without_its_parts_is_refused(tmp_path: Path) -> None:
    path = folder(tmp_path)
    (path / "uk" / "subject.txt").unlink()
    with pytest.raises(ContentError, match=r"no uk/subject\.txt"):
        load_folder(path)
    (path / "uk" / "subject.txt").write_text("x")
    (path / "uk" / "body.html").unlink()
    with pytest.raises(ContentError, match=r"no uk/body\.html"):
        load_folder(path)
    (path / "template.toml").unlink()
    with pytest.raises(ContentError, match=r"no template\.toml"):
        load_folder(path)


@pytest.mark.parametrize("data", [{}, {"name": 1}, {"name": None, "stream": "promotional", "parts": 3}])
def test_what_is_not_a_stored_content_is_refused(data: dict[str, object]) -> None:
    with pytest.raises(ContentError):
        Content.from_dict(data)
