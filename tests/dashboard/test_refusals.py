"""What is refused on the real pages of the dashboard: a sentence in the reader's language, nothing of it in another."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import pytest

from mailer.status import Status
from mailer.users import accounts
from tests.dashboard import mails
from tests.dashboard.house import OWNER, PASSWORD, VIEWER, Browser, House

DRAFT: Mapping[str, object] = {"name": "Spring", "subject": "Spring", "text": "It is here.", "topic": "newsletter"}
BODY: Mapping[str, object] = {
    "stream": "promotional",
    "topic": "promotions",
    "urgency": "bulk",
    "written_by": "machine",
    "default_locale": "en",
    "variables": "{}",
    "subject_en": "Spring",
    "text_en": "It is here.",
}
TYPES = "string, text, url, email, integer, number, boolean, money, date, datetime, list, object"
REASONS = "unsubscribe, complaint, hard_bounce, invalid, soft_bounce, snooze, manual"
SCOPES = "admin, campaigns, people, read, send:promotional, send:transactional, suppressions, webhooks"
ZONE = {"zone": "Europe/Kyiv"}


@dataclass(frozen=True)
class Case:
    """A form that is sent as it may not be, and what its page says, each line of the summary by itself."""

    name: str
    path: str
    fields: Mapping[str, object]
    english: tuple[str, ...]
    ukrainian: tuple[str, ...]
    status: int = 422
    #: Sent as a file behind the fields.
    file: bytes | None = None
    who: str = OWNER
    #: What makes `{here}` of the path.
    before: Callable[[House, Browser], Awaitable[str]] | None = None


async def _campaign(_house: House, browser: Browser) -> str:
    await browser.get("@/campaigns/new")
    made = await browser.post("@/campaigns/new", DRAFT, **ZONE)
    return re.sub(r"^/app/t/default|\?.*$", "", made.headers["location"])


async def _sent(house: House, _browser: Browser) -> str:
    mail = await mails.become(house, await mails.accepted(house), Status.SENT)
    return f"/emails/{mail.id}"


async def _myself(house: House, _browser: Browser) -> str:
    user = await house.service.database.read(lambda session: accounts.known(session, OWNER))
    return f"/users/{user.id}"


CASES = (
    Case(
        "campaign-without-topic",
        "@/campaigns/new",
        {**DRAFT, **ZONE, "topic": ""},
        ("Topic: is required: a campaign belongs to a topic.",),
        ("Тема: виберіть тему: кожна кампанія належить до якоїсь теми.",),
    ),
    Case(
        "campaign-without-anything",
        "@/campaigns/new",
        {**DRAFT, **ZONE, "name": " ", "from": "ann@elsewhere.example"},
        ("Name: must be one line of text.",),
        ("Назва: має бути один непорожній рядок тексту.",),
    ),
    Case(
        "campaign-from-elsewhere",
        "@/campaigns/new",
        {**DRAFT, **ZONE, "from": "ann@elsewhere.example"},
        ("From: is not one of the tenant's addresses.",),
        ("Від кого: такої адреси у відправника немає.",),
    ),
    Case(
        "campaign-bad-day",
        "@/campaigns/new",
        {**DRAFT, **ZONE, "expires_at": "2026-13-40T99:00"},
        ("End: must be a day and a time such as 2027-03-01T09:30.",),
        ("Кінець: потрібні день і час, наприклад 2027-03-01T09:30.",),
    ),
    Case(
        "campaign-hour-that-is-not",
        "@/campaigns/new",
        {**DRAFT, **ZONE, "expires_at": "2027-03-28T03:30"},
        ("End: does not exist in Europe/Kyiv: the clocks go forward in that hour.",),
        ("Кінець: такого часу в поясі Europe/Kyiv не було: тієї години переводять годинники вперед.",),
    ),
    Case(
        "campaign-tags",
        "@/campaigns/new",
        {**DRAFT, **ZONE, "tags": "spring"},
        ("Tags: must be written name=value, one a line.",),
        ("Позначки: пишіть як назва=значення, по одній у рядку.",),
    ),
    Case(
        "campaign-utm",
        "@/campaigns/new",
        {**DRAFT, **ZONE, "utm.source": "x" * 101},
        ("UTM (source): string should have at most 100 characters.",),
        ("UTM (source): щонайбільше 100 знаків.",),
    ),
    Case(
        "campaign-not-running",
        "@{here}",
        {"do": "pause"},
        ("The campaign is draft and cannot be paused.",),
        ("Кампанія ще чернетка, тому призупинити її не можна.",),
        status=409,
        before=_campaign,
    ),
    Case(
        "campaign-test-to-nobody",
        "@{here}",
        {"do": "test", "to": "ann"},
        ("Send it to (1): the address has no @.",),
        ("Надіслати на (1): в адресі немає @.",),
        before=_campaign,
    ),
    Case(
        "recipients-without-addresses",
        "@{here}/recipients",
        {},
        ("List: the first line must be a header with the addresses' column: name one of its columns email.",),
        ("Список: перший рядок має бути заголовком зі стовпцем адрес: назвіть один зі стовпців email.",),
        file=b"Name\nAnn\n",
        before=_campaign,
    ),
    Case(
        "recipients-strange-column",
        "@{here}/recipients",
        {},
        ("List: the column 'ort' is no variable of the template: rename or remove it.",),
        ("Список: стовпця «ort» немає серед змінних шаблону: перейменуйте або приберіть його.",),
        file=b"email,Ort\nann@example.org,Kyiv\n",
        before=_campaign,
    ),
    Case(
        "recipients-bad-lines",
        "@{here}/recipients",
        {},
        (
            *("The address has no @.", "The domain has no dot.", "Has 2 fields, the header has 1."),
            "Is not UTF-8 (byte 0xe4): save the file as UTF-8.",
        ),
        (
            *("В адресі немає @.", "У домені немає крапки.", "Полів у рядку: 2, а в заголовку: 1."),
            "Рядок не в UTF-8 (байт 0xe4): збережіть файл в UTF-8.",
        ),
        status=200,
        file=b"email\nann\nann@example\na@example.org,b\n\xe4@example.org\nann@example.org\n",
        before=_campaign,
    ),
    Case(
        "template-does-not-compile",
        "@/new-template",
        {**BODY, "name": "spring", "text_en": "Hello\n{{ name"},
        ("Text in English: body.txt, line 2: unexpected end of template, expected 'end of print statement'.",),
        ("Текст англійською: body.txt, рядок 2: шаблон несподівано закінчився, мало бути кінець виразу «}}».",),
    ),
    Case(
        "template-unknown-name",
        "@/new-template",
        {**BODY, "name": "spring", "text_pl": "Hello\n{{ nme }}", "subject_pl": "Wiosna"},
        ("Plain text (pl): body.txt, line 2: 'nme' is undefined.",),
        ("Простий текст (pl): body.txt, рядок 2: змінну nme не визначено.",),
    ),
    Case(
        "template-variables",
        "@/new-template",
        {**BODY, "name": "Spring sale", "variables": "{"},
        ("Variables: are not JSON: line 1.",),
        ("Змінні: це не JSON: помилка в рядку 1.",),
    ),
    Case(
        "template-name",
        "@/new-template",
        {**BODY, "name": "Spring sale", "subject_en": ""},
        (
            "Subject in English: is required.",
            "Template: must be 1 to 80 lower-case letters, digits and hyphens.",
        ),
        (
            "Тема листа англійською: потрібно заповнити.",
            "Шаблон: потрібно від 1 до 80 малих латинських літер, цифр і дефісів.",
        ),
    ),
    Case(
        "template-variable-type",
        "@/new-template",
        {**BODY, "name": "spring", "variables": '{"city": {"type": "town"}}'},
        (f"Variables: The variable city needs a type: one of {TYPES}.",),
        (f"Змінні: Змінній city потрібен тип, один із цих: {TYPES}.",),
    ),
    Case(
        "topic-key",
        "@/topics",
        {"key": "Big News", "stream": "promotional", "opt_out": "allowed", "default": "opt_in"},
        ("Key: must be 1 to 40 lower-case letters, digits and hyphens.",),
        ("Ключ: потрібно від 1 до 40 малих латинських літер, цифр і дефісів.",),
    ),
    Case(
        "topic-is-there",
        "@/topics",
        {"key": "newsletter", "stream": "promotional", "name_en": "News"},
        ("There is a topic newsletter already.",),
        ("Тема «newsletter» уже є.",),
        status=409,
    ),
    Case(
        "suppression-address",
        "@/suppressions/add",
        {"note": "she wrote", "email": "ann@example..org", "reason": "manual", "scope": "all"},
        ("E-mail address: the domain has an empty label.",),
        ("Електронна адреса: у домені зайва крапка.",),
    ),
    Case(
        "suppression-day",
        "@/suppressions/add",
        {"note": "she wrote", "email": "ann@example.org", "reason": "manual", "scope": "all", "until": "2027-03-01"},
        ("Until: an entry with the reason manual does not end by time.",),
        ("До: заборона з причиною «внесено вручну» не закінчується з часом: лишіть день порожнім.",),
    ),
    Case(
        "list-packed",
        "@/suppressions/import",
        {"form": "list", "reason": "manual"},
        ("List: the list is packed: unpack it and send what is inside (of a workbook, its CSV).",),
        ("Список: список запаковано: розпакуйте його й дайте те, що всередині (з робочої книги — CSV).",),
        file=b"PK\x03\x04....",
    ),
    Case(
        "list-bad-lines",
        "@/suppressions/import",
        {"form": "list", "reason": ""},
        (
            f"The reason is none that is known here: {REASONS}.",
            "The part before the @ holds two dots in a row.",
        ),
        (
            f"Такої причини тут не знають; є ось які: {REASONS}.",
            "У частині перед @ дві крапки поспіль.",
        ),
        status=200,
        file=b"email,reason\nann@example.org,tired\na..b@example.org,manual\n",
    ),
    Case(
        "list-topic",
        "@/suppressions/import",
        {"form": "list", "reason": "manual", "topic": "7=nothing"},
        ("Groups of the other system, and their topics here: there is no topic nothing.",),
        ("Групи іншої системи та їхні теми тут: теми «nothing» немає.",),
        file=b"email\nann@example.org\n",
    ),
    Case(
        "webhook-address",
        "@/webhooks",
        {"url": "http://hooks.example.org", "which": "all"},
        ("Address: the address must begin with https://.",),
        ("Адреса: адреса має починатися з https://.",),
    ),
    Case(
        "webhook-secret",
        "@/webhooks",
        {"url": "https://1.1.1.1/hook", "which": "all", "secret": "abc"},
        ("Secret: must be whsec_ and the base64 of 24 to 64 random bytes; leave it out to have one made.",),
        ("Секрет: потрібен whsec_ і base64 від 24 до 64 випадкових байтів; лишіть порожнім, і секрет буде створено.",),
    ),
    Case(
        "key-without-scope",
        "@/keys",
        {"do": "create", "name": "shop"},
        (f"Scopes: a key needs at least one: {SCOPES}.",),
        ("Повноваження: ключеві потрібен хоча б один дозвіл.",),
    ),
    Case(
        "user-is-there",
        "@/users",
        {"email": VIEWER, "role": "viewer"},
        ("E-mail address: is a member already: change the role there.",),
        ("Електронна адреса: ця людина вже є учасником: роль змініть там.",),
    ),
    Case(
        "last-owner",
        "@{here}",
        {"do": "role", "role": "viewer"},
        ("This is the last owner: make somebody else an owner first.",),
        ("Це останній власник: спершу зробіть власником когось іншого.",),
        status=409,
        before=_myself,
    ),
    Case(
        "stream-without-reason",
        "@/streams",
        {"stream": "promotional", "whose": "own", "do": "pause", "reason": ""},
        ("Reason: must have 1 to 500 characters: whoever looks reads why.",),
        ("Причина: напишіть причину, до 500 знаків: її прочитає кожен, хто сюди гляне.",),
    ),
    Case(
        "person-nobody",
        "@/people",
        {"who": "ann@"},
        ("Whom do you look for? The address has nothing after the @.",),
        ("Кого шукаєте? В адресі нічого немає після @.",),
    ),
    Case(
        "email-too-late",
        "@{here}",
        {"do": "cancel", "note_email": "she asked"},
        ("Too late: the email is sent.",),
        ("Запізно: лист уже надісланий.",),
        status=409,
        before=_sent,
    ),
    Case(
        "account-wrong-password",
        "/account",
        {"do": "password", "current": "wrong", "password": PASSWORD, "again": PASSWORD},
        ("Present password: This is not your present password.",),
        ("Теперішній пароль: Це не ваш теперішній пароль.",),
    ),
    Case(
        "account-wrong-code",
        "/account/second",
        {"do": "confirm", "code": "000000"},
        ("Code: This code is wrong, over, or was used already. Wait for the next one.",),
        ("Код: Цей код хибний, застарів або вже використаний. Дочекайтеся наступного.",),
    ),
    Case(
        "role",
        "@/streams",
        {"stream": "promotional", "whose": "own", "do": "pause", "reason": "why not"},
        ("The role viewer may not do this.",),
        ("Роль «глядач» цього не дозволяє.",),
        status=403,
        who=VIEWER,
    ),
    Case(
        "too-large",
        "@/keys",
        {"do": "create", "name": "x" * 70_000},
        ("The form is larger than 64 KB.",),
        ("Форма більша за 64 КБ.",),
        status=413,
    ),
    Case(
        "stale",
        "@/keys",
        {"do": "create", "name": "shop", "csrf": "of-another"},
        ("It was opened before you signed in, or not by you. Nothing was done. Open the page again and repeat it.",),
        ("Її відкрито до вашого входу або не вами. Нічого не зроблено. Відкрийте сторінку знову й повторіть.",),
        status=403,
    ),
)


async def refuse(house: House, browser: Browser, case: Case) -> None:
    """Do what a case tells of; its page is the browser's last."""
    here = await case.before(house, browser) if case.before is not None else ""
    path = case.path.replace("{here}", here)
    await browser.get(path)
    if case.file is None:
        await browser.post(path, case.fields)
        return
    browser.last = await browser.client.post(
        browser._path(path),
        data={"csrf": browser.csrf(), **case.fields},
        files={"file": ("list.csv", case.file, "text/csv")},
        headers={"Sec-Fetch-Site": "same-origin"},
    )


def said(browser: Browser) -> list[str]:
    """Return the refusals on the page: of its form, of its lines, of the page itself where it failed."""
    places = (
        *('div[role="alert"] li', "main.card .hint", "td[data-label=Why]", "td[data-label=Чому]", "td.number + td"),
        "p.lead",
    )
    found = ([" ".join(node.text().split()) for node in browser.page.css(place)] for place in places)
    return next(filter(None, found), [])


@pytest.mark.parametrize("language", ["en", "uk"])
async def test_each_page_tells_in_its_language_what_was_refused(house: House, language: str) -> None:
    await mails.ready(house)
    wrong: dict[str, object] = {}
    for who in (OWNER, VIEWER):
        async with house.browser(**{"Accept-Language": language}) as browser:
            await browser.sign_in(who)
            for case in (case for case in CASES if case.who == who):
                await refuse(house, browser, case)
                assert browser.last is not None
                wanted = case.english if language == "en" else case.ukrainian
                if (found := (browser.last.status_code, tuple(said(browser)))) != (case.status, wanted):
                    wrong[case.name] = found
    assert wrong == {}


async def test_an_address_that_leads_nowhere_is_a_page_in_the_users_own_language(house: House) -> None:
    async with house.browser(**{"Accept-Language": "en"}) as browser:
        await browser.sign_in(OWNER)
        await browser.get("/account")
        await browser.post("/account", do="profile", name="", locale="uk")
        for path in ("/nothing", "@/nothing", "@/campaigns/ca_0", "/t/elsewhere/keys"):
            assert (await browser.get(path)).status_code == 404
            assert "Тут нічого немає" in browser.text, path


async def test_an_address_that_leads_nowhere_is_a_page_for_whoever_is_not_signed_in(house: House) -> None:
    async with house.browser(**{"Accept-Language": "uk"}) as browser:
        assert (await browser.get("/nothing")).status_code == 404
        assert "Тут нічого немає" in browser.text
        assert (await browser.post("/nothing")).status_code == 404


async def test_who_tries_too_often_waits_and_is_told_so(house: House) -> None:
    async with house.browser(**{"Accept-Language": "uk"}) as browser:
        for _ in range(5):
            await browser.sign_in(OWNER, "a wrong password")
            assert "Ця адреса й пароль не пасують одне до одного." in browser.text
        await browser.sign_in(OWNER)
        assert "Забагато спроб. Зачекайте 1 хв і спробуйте ще раз." in browser.text
