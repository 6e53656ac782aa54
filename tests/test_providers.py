"""The table of mailbox providers."""

import pytest

from mailer.providers import DOMAINS, PROVIDERS, provider_of


@pytest.mark.parametrize(
    ("domain", "provider"),
    [
        ("gmail.com", "gmail"),
        ("googlemail.com", "gmail"),
        ("outlook.com", "microsoft"),
        ("hotmail.co.uk", "microsoft"),
        ("live.nl", "microsoft"),
        ("msn.com", "microsoft"),
        ("yahoo.co.jp", "yahoo"),
        ("ymail.com", "yahoo"),
        ("aol.com", "yahoo"),
        ("icloud.com", "apple"),
        ("privaterelay.appleid.com", "apple"),
        ("ours.example", "other"),
        ("notgmail.com", "other"),
        ("gmail.com.ours.example", "other"),
        ("live.ours.example", "other"),
        ("yahoo.ours.example", "other"),
    ],
)
def test_the_domain_names_the_provider(domain: str, provider: str) -> None:
    assert provider_of(domain) == provider


def test_every_domain_is_spelled_as_in_an_envelope_and_belongs_to_a_known_group() -> None:
    assert all(domain == domain.lower() and " " not in domain for domain in DOMAINS)
    assert {*DOMAINS.values(), "other"} == set(PROVIDERS)
