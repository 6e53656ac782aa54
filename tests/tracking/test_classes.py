"""Who is behind a request: real user agents, each with the class and the rule that is expected."""

import pytest

from mailer.feedback.tracking.classes import RULES, classify
from mailer.feedback.tracking.judging import BURSTS
from mailer.feedback.tracking.sightings import Class, Trace

KIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS, MAC = "Mozilla/5.0 (Windows NT 10.0; Win64; x64)", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X)"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
PREFETCH = f"{WINDOWS} {KIT} Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"

H, P, M, U = Class.HUMAN, Class.PROXY, Class.MACHINE, Class.UNKNOWN
AGENTS = [
    # Browsers.
    (FIREFOX, H, "browser"),
    (f"{WINDOWS} {KIT} Chrome/142.0.0.0 Safari/537.36", H, "browser"),
    (f"{WINDOWS} {KIT} Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", H, "browser"),
    (f"{WINDOWS} {KIT} Chrome/141.0.0.0 Safari/537.36 OPR/125.0.0.0", H, "browser"),
    (f"{MAC} {WEBKIT} Version/18.5 Safari/605.1.15", H, "browser"),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0", H, "browser"),
    ("Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", H, "browser"),
    (f"{IPHONE} {WEBKIT} Version/18.5 Mobile/15E148 Safari/604.1", H, "browser"),
    (f"{IPHONE} {WEBKIT} CriOS/142.0.0.0 Mobile/15E148 Safari/604.1", H, "browser"),
    (f"Mozilla/5.0 (Linux; Android 15; Pixel 9) {KIT} Chrome/142.0.0.0 Mobile Safari/537.36", H, "browser"),
    (f"Mozilla/5.0 (Linux; Android 14; SM-S921B) {KIT} SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile", H, "browser"),
    ("Mozilla/5.0 (Android 15; Mobile; rv:144.0) Gecko/144.0 Firefox/144.0", H, "browser"),
    (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {KIT} Chrome/142.0.0.0 Safari/537.36", H, "browser"),
    ("Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18", H, "browser"),
    # Mail programs.
    (f"{MAC} {WEBKIT}", H, "browser"),
    (f"{IPHONE} {WEBKIT} Mobile/15E148", H, "browser"),
    (FIREFOX.replace("Firefox", "Thunderbird"), H, "mail-program"),
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Thunderbird/128.5.0", H, "mail-program"),
    ("Mozilla/4.0 (compatible; ms-office; MSOffice 16)", H, "mail-program"),
    ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Win64; x64; Trident/7.0; MSOffice 16)", H, "mail-program"),
    ("Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17928; Pro)", H, "mail-program"),
    ("Microsoft Office/15.0 (Windows NT 6.1; Microsoft Outlook 15.0.4420; Pro)", H, "mail-program"),
    ("Outlook-iOS/723.4027091.prod.iphone (4.28.0)", H, "mail-program"),
    ("Outlook-Android/2.0", H, "mail-program"),
    (f"Mozilla/5.0 (Linux; Android 14; SM-A546B; wv) {KIT} Version/4.0 Chrome/142.0.0.0 Mobile", H, "browser"),
    # Providers' proxies, which fetch when the person looks.
    (
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        P,
        "google-image-proxy",
    ),
    ("Mozilla/5.0 (via ggpht.com GoogleImageProxy)", P, "google-image-proxy"),
    ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", P, "yahoo-mail-proxy"),
    # Prefetches, which nobody has looked at.
    (PREFETCH, M, "gmail-prefetch"),
    ("Mozilla/5.0", M, "apple-mail-privacy"),
    ("Mozilla/5.0 ", M, "apple-mail-privacy"),
    ("", M, "empty-agent"),
    ("   ", M, "empty-agent"),
    # Scanners.
    ("Microsoft Office Existence Discovery", M, "scanner"),
    ("BarracudaCentral/1.0", M, "scanner"),
    ("Barracuda Sentinel (EE)", M, "scanner"),
    ("Mozilla/5.0 (compatible; Mimecast URL scanner)", M, "scanner"),
    ("Mozilla/5.0 (Windows NT 6.1) Proofpoint URL Defense", M, "scanner"),
    ("Cloudmark/1.0", M, "scanner"),
    ("Symantec-MessageLabs", M, "scanner"),
    ("Mozilla/5.0 (compatible; urlscan.io)", M, "scanner"),
    (f"Mozilla/5.0 (X11; Linux x86_64) {KIT} HeadlessChrome/142.0.0.0 Safari/537.36", M, "headless-browser"),
    (
        "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/538.1 (KHTML, like Gecko) PhantomJS/2.1.1",
        M,
        "headless-browser",
    ),
    # Programs.
    ("curl/8.5.0", M, "http-library"),
    ("Wget/1.21.4", M, "http-library"),
    ("python-requests/2.31.0", M, "http-library"),
    ("python-httpx2/2.16.2", M, "http-library"),
    ("Python-urllib/3.11", M, "http-library"),
    ("Python/3.11 aiohttp/3.9.1", M, "http-library"),
    ("Go-http-client/1.1", M, "http-library"),
    ("Java/17.0.1", M, "http-library"),
    ("Apache-HttpClient/4.5.14 (Java/17.0.9)", M, "http-library"),
    ("libwww-perl/6.67", M, "http-library"),
    ("axios/1.6.2", M, "http-library"),
    ("node-fetch/1.0 (+https://github.com/bitinn/node-fetch)", M, "http-library"),
    ("GuzzleHttp/7", M, "http-library"),
    ("Scrapy/2.11.0 (+https://scrapy.org)", M, "http-library"),
    ("PostmanRuntime/7.36.0", M, "http-library"),
    ("Ruby", M, "http-library"),
    ("okhttp/4.12.0", U, "none"),
    # Crawlers and previews.
    ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", M, "crawler"),
    ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", M, "crawler"),
    (f"{WINDOWS} {KIT} Chrome/103.0.5060.134 Safari/537.36 BingPreview/1.0b", M, "crawler"),
    ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", M, "crawler"),
    ("Slackbot 1.0 (+https://api.slack.com/robots)", M, "crawler"),
    ("facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)", M, "crawler"),
    ("TelegramBot (like TwitterBot)", M, "crawler"),
    ("Twitterbot/1.0", M, "crawler"),
    ("LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)", M, "crawler"),
    ("Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com", M, "crawler"),
    # R6.7: "bot", "java" and the like inside other words say nothing.
    ("Mozilla/5.0 (Linux; Android 11; CUBOT X30) AppleWebKit/537.36 Chrome/120.0 Mobile", H, "browser"),
    (f"Mozilla/5.0 (Linux; Android 13; Robotic Phone) {KIT} Chrome/120.0 Mobile", H, "browser"),
    ("MyJavaMail reader", U, "none"),
    ("Forgotten Mail/2", U, "none"),
    ("Gotham/2.0", U, "none"),
    ("Lotus-Notes/6.0; Windows-NT", U, "none"),
]


@pytest.mark.parametrize(("agent", "kind", "rule"), AGENTS, ids=range(len(AGENTS)))
def test_r6_6_a_user_agent_has_a_class_and_the_rule_that_says_so(agent: str, kind: Class, rule: str) -> None:
    assert classify(Trace("GET", agent), {}) == (kind, rule)


def test_the_table_is_long_enough_to_mean_something() -> None:
    assert len({agent for agent, _, _ in AGENTS}) >= 60
    assert {rule for _, _, rule in AGENTS} == {rule.id for rule in RULES} | {"none"}


@pytest.mark.parametrize(("method", "rule"), [("HEAD", "head"), ("POST", "method"), ("OPTIONS", "method")])
def test_only_get_can_be_a_human(method: str, rule: str) -> None:
    assert classify(Trace(method, FIREFOX), {}) == (Class.MACHINE, rule)


def test_rules_have_ids_of_their_own() -> None:
    ids = [*(rule.id for rule in RULES), *(burst.id for burst in BURSTS), "hidden-link", "at-once", "head", "method"]
    assert len(set(ids)) == len(ids)


@pytest.mark.timeout(10)
def test_a_hostile_agent_costs_nothing() -> None:
    for piece in ("Mozilla/5.0 (", "(", "Gecko ", "a" * 3, ") "):
        classify(Trace("GET", "Mozilla/5.0 (" + piece * 60_000), {})
