"""`mailer webhook`: every subcommand, on both engines, and what it says to bad input."""

import base64
import json
from collections.abc import Mapping

import pytest

from tests.test_cli import Quick
from tests.test_cli_operating import quick

__all__ = ["quick"]

URL = "http://127.0.0.1:9/hook"
OWN = "whsec_" + base64.b64encode(b"s" * 32).decode()
FUTURE = "2099-01-01T00:00:00Z"


@pytest.fixture
def hooked(quick: Quick) -> Quick:
    """A command line from which messages may go to this machine."""
    quick.env["MAILER_OUTSIDE_LOOPBACK"] = "yes"
    return quick


def listed(quick: Quick) -> list[dict[str, object]]:
    found = json.loads(quick.run("webhook", "list", "--json").stdout)["data"]
    assert isinstance(found, list)
    return found


def shown(quick: Quick, webhook: str, *words: str) -> Mapping[str, object]:
    return quick.json("webhook", "show", webhook, *words)


def messages(quick: Quick, webhook: str, *words: str) -> list[tuple[object, object]]:
    log = shown(quick, webhook, *words)["deliveries"]
    assert isinstance(log, list)
    return [(each["id"], each["type"]) for each in log]


def test_an_endpoint_is_made_listed_shown_switched_off_and_on_and_deleted(hooked: Quick) -> None:
    made = hooked.run("webhook", "create", URL, "--event", "email.bounced", "--description", "Billing")
    secret, webhook = made.stdout.strip(), made.stderr.strip()
    assert (secret[:6], webhook[:3]) == ("whsec_", "we_")
    (found,) = listed(hooked)
    assert (found["id"], found["url"], found["events"]) == (webhook, URL, ["email.bounced"])
    assert (found["description"], found["enabled"]) == ("Billing", True)
    plain = hooked.run("webhook", "list").stdout
    assert webhook[:10] in plain
    assert secret not in plain
    assert shown(hooked, webhook)["deliveries"] == []
    assert webhook in hooked.run("webhook", "show", webhook).stdout
    assert hooked.run("webhook", "disable", webhook).stdout.strip() == f"{webhook} is disabled"
    assert listed(hooked)[0]["enabled"] is False
    assert hooked.json("webhook", "enable", webhook)["enabled"] is True
    assert hooked.json("webhook", "delete", webhook) == {"id": webhook, "deleted": True}
    assert listed(hooked) == []


def test_a_test_message_waits_until_it_is_delivered_and_nothing_that_waits_is_replayed(hooked: Quick) -> None:
    webhook = str(hooked.json("webhook", "create", URL)["id"])
    first = hooked.run("webhook", "test", webhook).stdout.strip()
    second = str(hooked.json("webhook", "test", webhook)["id"])
    assert messages(hooked, webhook) == [(second, "webhook.test"), (first, "webhook.test")]
    assert messages(hooked, webhook, "--limit", "1") == [(second, "webhook.test")]
    assert len(messages(hooked, webhook, "--state", "waiting")) == 2
    assert messages(hooked, webhook, "--state", "failed") == []
    again = hooked.json("webhook", "replay", webhook, "--since", "2020-01-01T00:00:00Z", "--missed")
    assert again == {"replayed": 0}
    said = hooked.run("webhook", "replay", webhook, "--id", first).stdout
    assert said.strip() == "1 messages are sent again"


def test_what_happened_while_an_endpoint_was_disabled_is_replayed(hooked: Quick) -> None:
    webhook = str(hooked.json("webhook", "create", URL, "--event", "email.queued")["id"])
    hooked.run("webhook", "disable", webhook)
    words = ("--stream", "transactional", "--to", "ann@example.org", "--subject", "Hello", "--text", "It works.")
    email = hooked.json("send", *words)["id"]
    assert messages(hooked, webhook) == []
    hooked.run("webhook", "enable", webhook)
    window = ("--since", "2020-01-01T00:00:00Z", "--until", FUTURE)
    assert hooked.json("webhook", "replay", webhook, *window, "--missed") == {"replayed": 1}
    assert messages(hooked, webhook) == [(f"{email}_queued", "email.queued")]


def test_a_secret_is_rotated_to_a_fresh_one_or_to_ones_own(hooked: Quick) -> None:
    made = hooked.json("webhook", "create", URL, "--secret", OWN)
    webhook = str(made["id"])
    assert made["secret"] == OWN
    fresh = hooked.run("webhook", "rotate", webhook).stdout.strip()
    assert fresh.startswith("whsec_")
    assert fresh != OWN
    assert hooked.json("webhook", "rotate", webhook, "--secret", OWN)["secret"] == OWN


def test_an_endpoint_that_is_not_there_or_is_anothers_is_not_found(hooked: Quick) -> None:
    webhook = str(hooked.json("webhook", "create", URL)["id"])
    hooked.run("tenant", "create", "acme", "--from", "hello@acme.example")
    for command in ("show", "test", "rotate", "enable", "disable", "delete"):
        for words in (("we_nothing", "--tenant", "default"), (webhook, "--tenant", "acme")):
            assert "there is no such endpoint" in hooked.run("webhook", command, *words, code=1).stderr
        assert "say which one: acme, default" in hooked.run("webhook", command, webhook, code=2).stderr
    theirs = hooked.json("webhook", "list", "--tenant", "acme")["data"]
    ours = hooked.json("webhook", "list", "--tenant", "default")["data"]
    assert (theirs, [each["id"] for each in ours]) == ([], [webhook])  # type: ignore[attr-defined]


#: What is asked, and a piece of what is told; W is an endpoint that is there.
_BAD = (
    (("create", "ftp://hooks.example.org"), "https://"),
    (("create", "http://hooks.example.org"), "https://"),
    (("create", "https://user:word@hooks.example.org"), "user name"),
    (("create", "https://10.0.0.1/hook"), "not public"),
    (("create", URL, "--event", "email.lost"), "choose from"),
    (("create", URL, "--secret", "whsec_short"), "whsec_"),
    (("create", URL, "--description", "two\nlines"), "description"),
    (("rotate", "W", "--secret", "word"), "whsec_"),
    (("replay", "W"), "give either id, or since"),
    (("replay", "W", "--id", "ev_1", "--since", FUTURE), "give either id, or since"),
    (("replay", "W", "--id", "ev_nothing"), "no such message"),
    (("replay", "W", "--since", "yesterday"), "since"),
    (("replay", "W", "--since", FUTURE, "--until", "2020-01-01T00:00:00Z"), "must be after since"),
)


def test_bad_input_is_told_in_a_sentence_and_changes_nothing(hooked: Quick) -> None:
    webhook = str(hooked.json("webhook", "create", URL)["id"])
    before = listed(hooked)
    for words, told in _BAD:
        named = [webhook if word == "W" else word for word in words]
        # What names a message that is not there is well said: it only fails.
        code = 1 if "ev_nothing" in words else 2
        assert told in hooked.run("webhook", *named, code=code).stderr, words
    for option in (("--limit", "0"), ("--limit", "201"), ("--state", "lost")):
        assert option[0] in hooked.run("webhook", "show", webhook, *option, code=2).stderr
    assert listed(hooked) == before
    hooked.run("webhook", "disable", webhook)
    assert "enable it first" in hooked.run("webhook", "test", webhook, code=1).stderr
