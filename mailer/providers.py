"""Who receives for a domain: the big mailbox providers, whose limits hold for all their domains together.

Known from what the providers publish and what their users are given. A domain that is missing counts as `other`, which
costs nothing but a shared limit; a company's own domain is `other` too, since DNS is not asked.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

#: Each group, and the one for everybody else.
PROVIDERS = ("gmail", "microsoft", "yahoo", "apple", "other")

#: Provider -> brand -> what may stand after the brand.
_DOMAINS: Mapping[str, Mapping[str, str]] = {
    "gmail": {"gmail": "com", "googlemail": "com"},
    "microsoft": {
        "outlook": (
            "com at be cl co co.id co.il co.nz co.th com.ar com.au com.br com.es com.gr com.hr com.pe com.pt com.py"
            " com.tr com.ua com.vn cz de dk ec es fr hu id ie in it jp kr lv mx my ph pt ro sa sg si sk uy"
        ),
        "hotmail": (
            "com ac at be bg bo ca ch cl co co.id co.il co.jp co.kr co.nz co.th co.uk co.ve co.za com.ar com.au com.bo"
            " com.br com.hk com.mx com.tr com.tw com.vn cz de dk ee es fi fr gr hk hu ie in it jp la lt lu lv ly mn mw"
            " my net.fj nl no ph pt rs se sg sh sk ua vu"
        ),
        "live": (
            "com at be ca ch cl cn co.in co.it co.kr co.uk co.za com.ar com.au com.mx com.my com.pe com.ph com.pk"
            " com.pt com.sg com.ve cz de dk fi fr hk hu ie in it jp nl no ph pl ru se"
        ),
        "livemail": "tw",
        "msn": "com cn nl",
        "passport": "com",
        "webtv": "net",
        "windowslive": "com es",
    },
    "yahoo": {
        "yahoo": (
            "com ae at ba be bg ca ch cl cn co.hu co.id co.il co.in co.jp co.kr co.nz co.th co.uk co.za com.ar com.au"
            " com.br com.cn com.co com.hk com.hr com.mx com.my com.pe com.ph com.sg com.tr com.tw com.ua com.ve com.vn"
            " cz de dk ee es fi fr gr hr hu ie in it jp lt lv ne.jp nl no pl pt ro rs ru se si sk tw"
        ),
        "ymail": "com ne.jp",
        "rocketmail": "com",
        "myyahoo": "com",
        "y7mail": "com",
        "yahooxtra": "co.nz",
        # One house since 2017, and one rule book: senders.yahooinc.com speaks for both.
        "aol": "com at be ch cl co.nz co.uk com.ar com.au com.br com.co com.mx com.tr com.ve cz de dk es fi fr hk in it"
        " jp nl pl se tw",
        "aim": "com",
        "netscape": "net com",
        "compuserve": "com",
        "cs": "com",
        "love": "com",
        "games": "com",
        "wow": "com",
        "verizon": "net",
    },
    "apple": {"icloud": "com", "me": "com", "mac": "com", "privaterelay.appleid": "com"},
}


def _written_out() -> Iterator[tuple[str, str]]:
    for provider, brands in _DOMAINS.items():
        for brand, endings in brands.items():
            for ending in endings.split():
                yield f"{brand}.{ending}", provider


#: Every domain that belongs to a group.
DOMAINS: Mapping[str, str] = MappingProxyType(dict(_written_out()))


def provider_of(domain: str) -> str:
    """Return the group of receivers that a domain (lower case, as in an envelope) belongs to."""
    return DOMAINS.get(domain, "other")
