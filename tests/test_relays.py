"""Relays as the operator writes them: what is wrong with one is said in one sentence, without its password."""

from typing import Any

import pytest

from mailer.errors import ConfigurationError
from mailer.relays import GroupLimits, Relay, parse_relay, parse_relays

SHAPES = "X must be inbox:, smtp://host:port, smtps://host:port, lmtp://host:port or lmtp:///path/to/socket"
TOGETHER = "X: token_command, which prints the access token, and auth=xoauth2 go together"
PATH = "X has a path: write / as %2F, # as %23 and ? as %3F in the user name and the password"


def test_a_relay_is_an_address_with_options() -> None:
    relay = parse_relay("smtp://us%40er:p%2Fw+x%20y@r.example:2525?starttls=off&verify=no&connections=3", "X")
    assert (relay.scheme, relay.host, relay.port) == ("smtp", "r.example", 2525)
    assert (relay.username, relay.password) == ("us@er", "p/w+x y")
    assert (relay.starttls, relay.verify, relay.connections) == ("off", False, 3)


def test_a_relay_is_encrypted_verified_and_not_limited_unless_told_otherwise() -> None:
    assert parse_relay("smtp://r.example", "X") == Relay(
        scheme="smtp",
        host="r.example",
        port=587,
        starttls="required",
        verify=True,
        connections=16,
        per_second=None,
        per_connection=100,
        per_day=None,
        weight=1,
        provider=None,
        dkim=True,
        timeout=600,
    )
    assert parse_relay("smtps://r.example", "X").port == 465
    assert parse_relay("lmtp://r.example", "X").port == 24


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ("starttls=opportunistic", "starttls", "opportunistic"),
        ("per_second=0.5", "per_second", 0.5),
        ("per_second=200", "per_second", 200.0),
        ("per_second=", "per_second", None),
        ("per_connection=5", "per_connection", 5),
        ("per_connection=", "per_connection", None),
        ("per_day=50000", "per_day", 50000),
        ("per_day=", "per_day", None),
        ("weight=0", "weight", 0),
        ("weight=3", "weight", 3),
        ("provider=ses", "provider", "ses"),
        ("provider=postmark", "provider", "postmark"),
        ("dkim=no", "dkim", False),
        ("dkim=yes", "dkim", True),
        ("auth=cram-md5", "auth", "cram-md5"),
        ("timeout=61", "timeout", 61.0),
        ("token_command=get-token%20--for%20%22ann%20b%22%20+x", "token_command", 'get-token --for "ann b" +x'),
        ("token_command=get-token", "auth", "xoauth2"),
    ],
)
def test_an_option_is_a_typed_field(options: str, field: str, value: Any) -> None:
    found = getattr(parse_relay(f"smtp://ann:secret@r.example?{options}", "X"), field)
    assert (found, type(found)) == (value, type(value))


def test_groups_of_receivers_have_limits_of_their_own() -> None:
    relay = parse_relay("smtp://r.example?gmail.per_second=20&gmail.connections=5&other.per_day=1000", "X")
    assert relay.groups == {"gmail": GroupLimits(20.0, 5, None), "other": GroupLimits(None, None, 1000)}
    assert parse_relay("smtp://r.example", "X").groups == {}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("smtp://ann:secret@r.example", "smtp://r.example:587"),
        ("smtps://[2001:db8::1]:465", "smtps://[2001:db8::1]:465"),
        ("lmtp://127.0.0.1:24", "lmtp://127.0.0.1:24"),
        ("lmtp:///run/dovecot/lmtp?connections=2", "lmtp:///run/dovecot/lmtp"),
        ("inbox:", "inbox"),
    ],
)
def test_the_name_of_a_relay_is_its_address_without_user_and_password(text: str, name: str) -> None:
    assert parse_relay(text, "X").name == name


def test_the_repr_of_a_relay_shows_neither_password_nor_command() -> None:
    assert "secret" not in repr(parse_relay("smtp://ann:secret@r.example", "X"))
    assert "secret" not in repr(parse_relay("smtp://ann@r.example?token_command=print%20secret", "X"))


def test_lmtp_is_in_the_clear_unless_told() -> None:
    assert parse_relay("lmtp:///run/lmtp", "X").starttls == "off"
    assert parse_relay("lmtp:///run/lmtp", "X").socket == "/run/lmtp"
    assert parse_relay("lmtp://r.example", "X").starttls == "off"
    assert parse_relay("lmtp://r.example?starttls=required", "X").starttls == "required"
    assert parse_relay("lmtp://ann:secret@127.0.0.1", "X").starttls == "off"
    assert parse_relay("lmtp://ann:secret@[::1]", "X").starttls == "off"
    assert parse_relay("lmtp://ann:secret@localhost", "X").starttls == "off"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("relay.example:25", SHAPES),
        ("smtp://", SHAPES),
        ("ftp://r.example", SHAPES),
        ("lmtp:", SHAPES),
        ("lmtp:///", SHAPES),
        ("smtp:///run/smtp", SHAPES),
        ("inbox:?connections=3", SHAPES),
        ("smtp://[::1", "X must be an address such as smtp://host:587"),
        ("smtp://r.example:99999", "X has a port that is no number from 1 to 65535"),
        ("smtp://r.example:x", "X has a port that is no number from 1 to 65535"),
        ("smtp://r.example/mail", PATH),
        ("smtp://ann@r.example/#secret", PATH),
        ("smtp://r.example?starttls=maybe", "X: starttls must be one of required, opportunistic, off"),
        ("smtp://r.example?starttls=", "X: starttls must be one of required, opportunistic, off"),
        ("lmtp:///run/lmtp?starttls=required", "X: starttls must be off: a socket of this machine needs no encryption"),
        (
            "lmtp://ann:secret@r.example",
            "X: starttls must be set, required or off, because a password goes over the network",
        ),
        ("smtp://r.example?verify=1", "X: verify must be one of yes, no"),
        ("smtp://r.example?dkim=on", "X: dkim must be one of yes, no"),
        ("smtp://r.example?connections=0", "X: connections must be a whole number from 1 to 500"),
        ("smtp://r.example?connections=many", "X: connections must be a whole number from 1 to 500"),
        ("smtp://r.example?connections=²", "X: connections must be a whole number from 1 to 500"),
        ("smtp://r.example?per_connection=0", "X: per_connection must be a whole number from 1 to 1000000000"),
        ("smtp://r.example?per_day=1e6", "X: per_day must be a whole number from 1 to 1000000000"),
        ("smtp://r.example?per_second=0", "X: per_second must be a number from 0.001 to 100000"),
        ("smtp://r.example?per_second=nan", "X: per_second must be a number from 0.001 to 100000"),
        ("smtp://r.example?per_second=-1", "X: per_second must be a number from 0.001 to 100000"),
        ("smtp://r.example?weight=-1", "X: weight must be a whole number from 0 to 1000"),
        ("smtp://r.example?weight=1.5", "X: weight must be a whole number from 0 to 1000"),
        ("smtp://r.example?timeout=0", "X: timeout must be a number from 1 to 3600"),
        ("smtp://r.example?provider=acme", "X: provider must be one of ses, sendgrid, mailgun, postmark"),
        ("smtp://r.example?apple.connections=x", "X: apple.connections must be a whole number from 1 to 500"),
        ("smtp://r.example?yahoo.per_second=x", "X: yahoo.per_second must be a number from 0.001 to 100000"),
        ("smtp://r.example?microsoft.per_day=0", "X: microsoft.per_day must be a whole number from 1 to 1000000000"),
        ("smtp://r.example?tls=yes&colour=blue", "X has unknown options: colour, tls"),
        ("smtp://r.example?aol.per_day=5", "X has unknown options: aol.per_day"),
        ("smtp://r.example?weight=1&weight=2", "X: weight must be given once"),
        ("smtp://ann:secret@r.example?auth=ntlm", "X: auth must be one of plain, login, cram-md5, xoauth2"),
        ("smtp://ann@r.example?auth=xoauth2", TOGETHER),
        ("smtp://ann@r.example?auth=plain&token_command=x", TOGETHER),
        ("smtp://ann@r.example?token_command=%20", "X: token_command must be a command that prints the access token"),
        ("smtp://ann@r.example?token_command=a%20%22b", "X: token_command has a quote that is not closed"),
        ("smtp://:secret@r.example", "X needs a user name before the host: smtp://user:password@host"),
        ("smtp://r.example?auth=plain", "X needs a user name before the host: smtp://user:password@host"),
        ("inbox: smtp://r.example", "X: inbox: captures everything, so it cannot stand beside other relays"),
        ("inbox: inbox:", "X: inbox: captures everything, so it cannot stand beside other relays"),
        (
            "smtp://ann:a@r.example smtp://bob:b@r.example:587?weight=2",
            "X names smtp://r.example:587 twice: give it one address with a higher weight",
        ),
        ("smtp://a.example smtp://b.example?weight=x", "X (relay 2): weight must be a whole number from 0 to 1000"),
    ],
)
def test_what_is_wrong_with_a_relay_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_relays(text, "X")
    assert str(caught.value) == sentence


def test_nothing_is_the_inbox_and_several_keep_their_order() -> None:
    assert [relay.name for relay in parse_relays("", "X")] == ["inbox"]
    names = [relay.name for relay in parse_relays(" smtp://b.example\tsmtps://b.example\n lmtp://a.example ", "X")]
    assert names == ["smtp://b.example:587", "smtps://b.example:465", "lmtp://a.example:24"]


def test_a_relay_can_be_a_key() -> None:
    text = "smtp://r.example?gmail.per_day=5"
    assert {parse_relay(text, "X"): 1}[parse_relay(text, "X")] == 1
