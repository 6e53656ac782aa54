"""Who loaded a picture: real user agents, each with the class and the rule that is expected."""

import pytest

from mailer.feedback.tracking.classes import RULES, classify
from mailer.feedback.tracking.sightings import Class, Trace

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
APPLE_MAIL = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
PREFETCH = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
)
OUTLOOK = "Mozilla/4.0 (compatible; ms-office; MSOffice 16)"


@pytest.mark.parametrize(
    ("agent", "expected", "rule"),
    [
        (FIREFOX, Class.HUMAN, "browser"),
        (APPLE_MAIL, Class.HUMAN, "browser"),
        (OUTLOOK, Class.HUMAN, "mail-program"),
        (FIREFOX.replace("Firefox", "Thunderbird"), Class.HUMAN, "mail-program"),
        (GMAIL, Class.PROXY, "google-image-proxy"),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", Class.PROXY, "yahoo-mail-proxy"),
        (PREFETCH, Class.MACHINE, "gmail-prefetch"),
        ("Mozilla/5.0", Class.MACHINE, "apple-mail-privacy"),
        ("", Class.MACHINE, "empty-agent"),
        ("Microsoft Office Existence Discovery", Class.MACHINE, "scanner"),
        ("BarracudaCentral/1.0", Class.MACHINE, "scanner"),
        ("Mozilla/5.0 (X11) AppleWebKit/537.36 HeadlessChrome/120.0 Safari/537.36", Class.MACHINE, "headless-browser"),
        ("python-requests/2.31.0", Class.MACHINE, "http-library"),
        ("python-httpx2/2.16.2", Class.MACHINE, "http-library"),
        ("curl/8.5.0", Class.MACHINE, "http-library"),
        ("Java/17.0.1", Class.MACHINE, "http-library"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Class.MACHINE, "crawler"),
        # R6.7: "bot", "java" and the like inside other words say nothing.
        ("Mozilla/5.0 (Linux; Android 11; CUBOT X30) AppleWebKit/537.36 Chrome/120.0 Mobile", Class.HUMAN, "browser"),
        ("MyJavaMail reader", Class.UNKNOWN, "none"),
        ("okhttp/4.9", Class.UNKNOWN, "none"),
    ],
)
def test_r6_6_a_user_agent_has_a_class_and_the_rule_that_says_so(agent: str, expected: Class, rule: str) -> None:
    assert classify(Trace("GET", agent), {}) == (expected, rule)


def test_head_is_never_a_human() -> None:
    assert classify(Trace("HEAD", FIREFOX), {}) == (Class.MACHINE, "head")


def test_rules_have_ids_of_their_own() -> None:
    assert len({rule.id for rule in RULES}) == len(RULES)


@pytest.mark.timeout(10)
def test_a_hostile_agent_costs_nothing() -> None:
    for piece in ("Mozilla/5.0 (", "(", "Gecko ", "a" * 3, ") "):
        classify(Trace("GET", "Mozilla/5.0 (" + piece * 60_000), {})
