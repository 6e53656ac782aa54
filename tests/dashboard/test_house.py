"""The house itself: every route names its permission, every screen of the menu is there, all words in all languages."""

import re
from string import Formatter
from typing import cast

from starlette.routing import Route

from mailer import audit, resources
from mailer.models import UserRole
from mailer.service import Service
from mailer.settings import Settings
from mailer.users.permissions import ALLOWED, May, may
from mailer.web import dashboard
from mailer.web.dashboard.menu import MENU
from mailer.web.dashboard.routes import SCREENS
from mailer.web.dashboard.words import WORDS

#: Who is not signed in may ask these, and no others.
DOOR = {
    "/app",
    "/app/style.css",
    "/app/sign-in",
    "/app/code",
    "/app/sign-out",
    "/app/password/{token}",
    "/app/enter/{token}",
    "/app/{rest:path}",
}
TEMPLATES = resources.templates() / "dashboard"


def test_every_route_is_at_the_door_or_a_users_own_or_names_its_permission(tmp_path) -> None:  # type: ignore[no-untyped-def]
    service = Service.build(Settings(data_dir=str(tmp_path)))
    paths = {cast("Route", route).path for route in dashboard.routes(service)}
    service.store.close()
    screens = {f"/app/t/{{tenant}}{screen.path}" for screen in SCREENS}
    assert paths == DOOR | screens | {"/app/account", "/app/account/second"}
    assert all(isinstance(screen.may, May) for screen in SCREENS)
    assert len({screen.path for screen in SCREENS}) == len(SCREENS)


def test_the_menu_leads_to_screens_by_the_permissions_that_they_ask_for() -> None:
    asked = {screen.path: screen.may for screen in SCREENS}
    for item in (item for _, items in MENU for item in items):
        assert asked[item.path] is item.may, item.path


def test_an_owner_may_everything_and_a_viewer_sees_nobody() -> None:
    assert ALLOWED[UserRole.OWNER] == frozenset(May)
    assert set(ALLOWED) == set(UserRole)
    named = {May.SEE_EMAILS, May.SEE_PEOPLE, May.SEE_WHO, May.SEE_SUPPRESSIONS, May.SEE_BOUNCES, May.SEE_AUDIT}
    assert not ALLOWED[UserRole.VIEWER] & named
    assert not any(name.startswith(("edit_", "run_", "steer_")) for name in ALLOWED[UserRole.VIEWER])
    for alone in (May.EDIT_USERS, May.EDIT_KEYS, May.SEE_AUDIT, May.EDIT_SETTINGS):
        assert [role for role in UserRole if may(role, alone)] == [UserRole.OWNER]


def test_every_language_says_the_same_with_the_same_names() -> None:
    english = WORDS["en"]
    for language, words in WORDS.items():
        assert words.keys() == english.keys(), language
        for key, sentence in words.items():
            assert _names(sentence) == _names(english[key]), (language, key)


def test_no_key_stands_in_two_files() -> None:
    keys = [key for path in sorted((TEMPLATES / "words").glob("*.toml")) for key in _keys(path.read_text("utf-8"))]
    assert len(keys) == len(set(keys)), sorted({key for key in keys if keys.count(key) > 1})


def test_every_act_and_every_word_of_a_template_is_in_words() -> None:
    assert [act for act in audit.Act if f"act_{act.replace('.', '_')}" not in WORDS["en"]] == []
    for path in sorted(TEMPLATES.glob("*.html")):
        said = re.findall(r'say\("([a-z0-9_]+)"[,)]', path.read_text("utf-8"))
        assert [key for key in said if key not in WORDS["en"]] == [], path.name


def test_templates_hold_no_script_no_style_and_nothing_from_elsewhere() -> None:
    for path in sorted(TEMPLATES.glob("*.html")):
        text = path.read_text("utf-8")
        assert not re.search(r"<script|\sstyle=|\son[a-z]+=|https?://|\|\s*safe", text), path.name
        for form in re.findall(r'<form[^>]*method="post".*?</form>', text, re.DOTALL):
            assert "csrf_field()" in form, path.name


def _names(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def _keys(text: str) -> list[str]:
    return re.findall(r"^([a-z0-9_]+) =", text.partition("\n[uk]")[0], re.MULTILINE)
