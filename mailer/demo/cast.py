"""Who is in the sample company's past: its readers, what their mail programs say of themselves, its campaigns. Pure."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from mailer.demo.samples import Person

#: Where readers are, and how many. No mailbox of the big providers may begin like ours do: Gmail, Yahoo and Apple
#: allow no hyphen in a name, so that none of these people can be anybody.
_HOMES: Mapping[str, int] = MappingProxyType(
    {
        "gmail.com": 66,
        "outlook.com": 32,
        "icloud.com": 28,
        "yahoo.com": 18,
        "northwind.example": 16,
        "meridian.example": 15,
        "balticfreight.example": 13,
        "halden.example": 12,
    }
)
_FIRST = (
    *("Anna", "Jonas", "Marta", "Erik", "Clara", "Tomas", "Ida", "Viktor", "Nina", "Leon", "Sofia", "Pavel"),
    *("Lucia", "Oskar", "Emma", "Andrij", "Greta", "Milan", "Olena", "David", "Rita", "Anton", "Julia", "Simon"),
)
_LAST = (
    *("Kovac", "Lindt", "Moreau", "Berger", "Novak", "Hansen", "Petrenko", "Rossi", "Vogel", "Dubois", "Larsen"),
    *("Bondar", "Keller", "Santos", "Wolf", "Marin", "Fischer", "Nielsen", "Haas"),
)
#: Where a scanner presses every link, the opt-out too.
SCANNED = "meridian.example"


def readers() -> list[Person]:
    """Return all of them, the same at every call, and those of one home not in a row."""
    found = []
    for place, home in enumerate(home for home, number in _HOMES.items() for _ in range(number)):
        first, last = _FIRST[place % len(_FIRST)], _LAST[place % len(_LAST)]
        found.append(Person(f"sample-{first}-{last}@{home}".lower(), f"{first} {last}"))
    return sorted(found, key=lambda each: each.name)


_IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5"
    " Mobile/15E148 Safari/604.1"
)
_CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0 Safari/537.36"
_FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_OUTLOOK = "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0.17328; ms-office)"
_THUNDERBIRD = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Thunderbird/128.12.0"
_GOOGLE = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
_YAHOO = "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html"
_SAFELINKS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) SafeLinks/1.0"
_BARRACUDA = "Mozilla/5.0 (compatible; BarracudaCentral)"
BROWSERS = (_CHROME, _FIREFOX, _IPHONE)


class Habit(NamedTuple):
    """What becomes of a mail at a provider: shares of the mails, and who loads their pictures."""

    #: Whose picture is loaded for a reader.
    opens: float
    agents: Sequence[str]
    #: Who of those follows a link.
    clicks: float
    #: Whose picture a machine loads, and whether it follows every link as well.
    machines: float = 0.0
    machine: str = ""
    sweeps: bool = False


HABITS: Mapping[str, Habit] = MappingProxyType(
    {
        "gmail": Habit(0.41, (_GOOGLE,), 0.2),
        # Mail Privacy Protection loads everything ahead: who reads is seen by clicks only.
        "apple": Habit(0.2, (_IPHONE,), 0.45, 0.9, "Mozilla/5.0"),
        "microsoft": Habit(0.34, (_OUTLOOK, _CHROME), 0.22, 0.2, _SAFELINKS, True),
        "yahoo": Habit(0.32, (_YAHOO,), 0.15),
        "other": Habit(0.38, (_THUNDERBIRD, _OUTLOOK, _FIREFOX, "CorpMail/3.1"), 0.2, 0.12, _BARRACUDA, True),
    }
)


class Plan(NamedTuple):
    """A campaign of the past: what, to how many, when it is sent, how it ends."""

    name: str
    template: str
    #: How many of the readers, from which one on.
    readers: tuple[int, int]
    #: How many days before today, and at which time of the day; negative days are to come.
    day: int
    time: timedelta
    #: `done`, `paused` or `cancelled` after so many mails, `scheduled`, `draft`.
    end: str = "done"
    after: int = 1000
    opens: str = "individual"
    #: Why it was paused.
    note: str = ""


OFFER = "autumn-offer"
PLANS: Sequence[Plan] = (
    Plan("Newsletter: the call nobody wants", "newsletter", (0, 200), 6, timedelta(hours=9)),
    Plan("Product updates: calls move with you", "product-update", (0, 160), 4, timedelta(hours=10, minutes=30)),
    Plan("Survey: what slows you down?", "survey", (60, 150), 3, timedelta(hours=14), opens="aggregate"),
    Plan("Autumn offer, first try", OFFER, (20, 140), 2, timedelta(hours=11), end="cancelled", after=55),
    Plan("Workshop: your first hundred calls", "event-invitation", (0, 130), 1, timedelta(hours=9, minutes=30)),
    Plan(
        *("Autumn offer", OFFER, (0, 120), 0, timedelta(0), "paused", 45, "individual"),
        note="waits for the new price list",
    ),
    Plan("Newsletter: two languages, one queue", "newsletter", (0, 200), -1, timedelta(hours=9), end="scheduled"),
    Plan("Survey: how was the workshop?", "survey", (0, 40), 0, timedelta(0), end="draft"),
)

#: A template of the company's own, in two versions.
OFFERS: Sequence[Mapping[str, object]] = tuple(
    {
        "name": OFFER,
        "stream": "promotional",
        "topic": "promotions",
        "urgency": "bulk",
        "description": "The autumn offer of the sample company.",
        "variables": {"name": {"type": "string", "example": "Ann"}},
        "parts": {
            "en": {
                "subject": subject,
                "html": '{% extends "_base/layout.html" %}{% block content %}<h1>'
                + subject
                + "</h1><p>Hi {{ name }},</p>"
                '<p>Until the end of November. <a href="https://ringwise.example/offers/autumn">See the offer</a> or'
                ' <a href="https://ringwise.example/plans">compare plans</a>.</p>{% endblock %}',
            }
        },
    }
    for subject in ("A fifth off the Team plan", "A quarter off the yearly Team plan")
)
