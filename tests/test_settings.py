"""The environment: what is wrong with it is said in one sentence, and stops the start."""

from datetime import timedelta
from pathlib import Path

import pytest

from mailer.errors import ConfigurationError
from mailer.settings import Settings, parse_duration
from suppression.rules import Stream

T, P = Stream.TRANSACTIONAL, Stream.PROMOTIONAL
BOTH = {"MAILER_TRANSACTIONAL_RELAY": "inbox:", "MAILER_PROMOTIONAL_RELAY": "inbox:"}


def test_no_settings_at_all_capture_everything_in_sqlite_beside_us() -> None:
    settings = Settings.read({"PATH": "/bin", "HOME": "/root"})
    assert settings.folder == Path("mailer-data")
    assert not settings.on_postgresql
    assert all(settings.captures(stream) for stream in Stream)
    assert (settings.base_url(T), settings.sender(T)) == ("", "")


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({"MAILER_COLOUR": "blue"}, "unknown settings: MAILER_COLOUR; README lists the known ones"),
        ({"MAILER_B": "1", "MAILER_A": "1"}, "unknown settings: MAILER_A, MAILER_B; README lists the known ones"),
        (
            {"MAILER_TRANSACTIONAL_RELAY": "inbox:"},
            "set both MAILER_TRANSACTIONAL_RELAY and MAILER_PROMOTIONAL_RELAY, or neither (then mail is captured)",
        ),
        (
            {"MAILER_PROMOTIONAL_RELAY": "smtp://relay.example"},
            "set both MAILER_TRANSACTIONAL_RELAY and MAILER_PROMOTIONAL_RELAY, or neither (then mail is captured)",
        ),
        (
            {**BOTH, "MAILER_PROMOTIONAL_RELAY": "smtp://a.example smtp://b.example?tls=yes"},
            "MAILER_PROMOTIONAL_RELAY (relay 2) has unknown options: tls",
        ),
        (
            {"MAILER_REDIS_URL": "redis://r.example"},
            "MAILER_REDIS_URL needs PostgreSQL: set MAILER_DATABASE_URL, or remove it",
        ),
        (
            {"MAILER_DKIM_DOMAIN": "x.example", "MAILER_DKIM_SELECTOR": "s1"},
            "set all of MAILER_DKIM_DOMAIN, MAILER_DKIM_SELECTOR and MAILER_DKIM_KEY_FILE, or none of them",
        ),
        (
            {"MAILER_REDIS_URL": "r.example", "MAILER_DATABASE_URL": "postgres://d.example/m"},
            "MAILER_REDIS_URL must begin with redis://, rediss:// or unix://",
        ),
        (
            {"MAILER_DATABASE_URL": "mysql://d.example/m"},
            "MAILER_DATABASE_URL must begin with postgresql://, postgres:// or sqlite:///",
        ),
        (
            {"DATABASE_URL": "mysql://d.example/m"},
            "MAILER_DATABASE_URL must begin with postgresql://, postgres:// or sqlite:///",
        ),
        (
            {"MAILER_PUBLIC_URL": "mail.example"},
            "MAILER_PUBLIC_URL must be an address such as https://mail.example.org",
        ),
        (
            {"MAILER_PROMOTIONAL_PUBLIC_URL": "ftp://mail.example"},
            "MAILER_PROMOTIONAL_PUBLIC_URL must be an address such as https://mail.example.org",
        ),
        (
            {"MAILER_TRUSTED_PROXIES": "10.0.0.0/8, proxy.example"},
            "MAILER_TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8, separated by commas",
        ),
        (
            {"MAILER_RETRY_AFTER": "soon"},
            "MAILER_RETRY_AFTER must be a length of time such as 30s, 5m, 2h or 3d, not 'soon'",
        ),
        (
            {"MAILER_RETRY_AFTER": "1m,0s"},
            "MAILER_RETRY_AFTER must be lengths of time above zero, such as 1m,5m,15m",
        ),
        ({"MAILER_RETRY_AFTER": ","}, "MAILER_RETRY_AFTER must be lengths of time above zero, such as 1m,5m,15m"),
        (
            {"MAILER_GIVE_UP_AFTER": "-3d"},
            "MAILER_GIVE_UP_AFTER must be a length of time such as 30s, 5m, 2h or 3d, not '-3d'",
        ),
    ],
)
def test_a_bad_value_is_one_sentence(environ: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.read(environ)
    assert str(caught.value) == sentence


def test_a_stream_may_have_several_relays() -> None:
    settings = Settings.read({**BOTH, "MAILER_PROMOTIONAL_RELAY": " smtp://a.example  smtps://b.example?weight=0 "})
    assert [relay.name for relay in settings.relays(P)] == ["smtp://a.example:587", "smtps://b.example:465"]
    assert [relay.name for relay in settings.relays(T)] == ["inbox"]
    assert (settings.captures(T), settings.captures(P)) == (True, False)


def test_the_repr_of_the_settings_shows_no_secrets() -> None:
    relay = "smtp://ann:still@r.example"
    keys = {"MAILER_SECRET_KEYS": "k1:hush", "MAILER_SUPPRESSION_KEY": "k1:quiet"}
    relays = {"MAILER_TRANSACTIONAL_RELAY": relay, "MAILER_PROMOTIONAL_RELAY": relay}
    shown = repr(Settings.read({**keys, **relays}))
    assert not any(secret in shown for secret in ("hush", "quiet", "still"))


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90", timedelta(seconds=90)),
        ("30s", timedelta(seconds=30)),
        ("1.5m", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        (" 3d ", timedelta(days=3)),
    ],
)
def test_a_length_of_time_may_name_its_unit(text: str, length: timedelta) -> None:
    assert parse_duration(text, "X") == length


def test_the_platforms_addresses_are_taken_where_ours_are_not_set() -> None:
    settings = Settings.read({"DATABASE_URL": "postgres://d.example/m", "REDIS_URL": "redis://r.example"})
    assert settings.on_postgresql
    assert settings.redis_url == "redis://r.example"
    ours = Settings.read({"DATABASE_URL": "postgres://d.example/m", "MAILER_DATABASE_URL": "sqlite:////tmp/x.db"})
    assert not ours.on_postgresql


def test_a_stream_may_have_its_own_sender_and_public_address() -> None:
    settings = Settings.read(
        {
            "MAILER_FROM": "us@x.example",
            "MAILER_PROMOTIONAL_FROM": "news@x.example",
            "MAILER_PUBLIC_URL": "https://x.example/",
            "MAILER_PROMOTIONAL_PUBLIC_URL": "https://news.x.example/mail/",
        }
    )
    assert (settings.sender(T), settings.sender(P)) == ("us@x.example", "news@x.example")
    assert (settings.base_url(T), settings.base_url(P)) == ("https://x.example", "https://news.x.example/mail")


@pytest.mark.parametrize("relay", ["smtp://[::1", "smtp://h:99999", "ftp://h", "smtp://"])
def test_a_relay_that_is_no_address_is_a_sentence(relay: str) -> None:
    with pytest.raises(ConfigurationError, match="MAILER_TRANSACTIONAL_RELAY"):
        Settings.read({"MAILER_TRANSACTIONAL_RELAY": relay, "MAILER_PROMOTIONAL_RELAY": "inbox:"})


def test_a_length_of_time_has_a_bound() -> None:
    with pytest.raises(ConfigurationError, match="MAILER_GIVE_UP_AFTER must be at most 3650d"):
        Settings.read({"MAILER_GIVE_UP_AFTER": "99999999999d"})


def test_ports_outside_and_loopback_are_checked() -> None:
    settings = Settings.read({"MAILER_OUTSIDE_PORTS": "9443, 444", "MAILER_OUTSIDE_LOOPBACK": "yes"})
    assert (settings.more_ports, settings.to_loopback) == (frozenset({9443, 444}), True)
    assert (Settings().more_ports, Settings().to_loopback) == (frozenset(), False)
    for name, value in (("PORTS", "0"), ("PORTS", "443;444"), ("PORTS", "70000"), ("LOOPBACK", "true")):
        with pytest.raises(ConfigurationError, match=f"MAILER_OUTSIDE_{name} must be"):
            Settings.read({f"MAILER_OUTSIDE_{name}": value})
