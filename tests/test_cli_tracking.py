"""`mailer tracking` and `mailer user`: hits judged and counted again, networks, who opens nothing, who signs in."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlmodel import Session, select

from mailer import people
from mailer.counters import ALL, Tally
from mailer.feedback.tracking.recording import record
from mailer.feedback.tracking.sightings import Class, Sighting, Trace, Verdict
from mailer.links import Hit
from mailer.models import AuditEntry
from mailer.people import LastOpen
from tests.test_cli import Quick
from tests.test_cli_operating import inside, quick

__all__ = ["quick"]

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:144.0) Gecko/20100101 Firefox/144.0"
APPLE = "172.224.226.0/27,US,US-CA,San Jose,\n2a02:26f7:c9c8:4000::/64,US,US-CA,San Jose,\n"
ZOE = "zoe@ringwise.example"


def loaded(quick: Quick, *verdicts: Verdict) -> None:
    """Send a mail that is measured by person, and have its picture loaded as rules of an earlier day saw it."""
    quick.run("tenant", "set", "default", "--promotional-opens", "individual", "--consent", "not_refused")
    words = ("--stream", "promotional", "--topic", "newsletter", "--to", "ann@example.org")
    email_id = str(quick.json("send", *words, "--subject", "News", "--html", "<p>News.</p>")["id"])
    now, hit, trace = datetime.now(UTC), Hit(email_id, None, b""), Trace("GET", FIREFOX, "office")
    some = [Sighting(hit, verdict, now + timedelta(minutes=n), trace) for n, verdict in enumerate(verdicts, 10)]
    inside(quick, lambda session: record(session, some, now))


def test_hits_are_judged_again_by_the_rules_and_lists_of_today(quick: Quick, tmp_path: Path) -> None:
    loaded(quick, Verdict(Class.UNKNOWN, "none"), Verdict(Class.HUMAN, "browser"))
    assert quick.json("tracking", "reclassify") == {"hits": 2, "changed": 1}
    assert quick.run("tracking", "reclassify").stdout == (
        "judged again: 2 hits, of which 0 are of another class or rule now\n"
    )
    listed = tmp_path / "networks"
    listed.write_text("machine,office,203.0.113.7\n")
    quick.env["MAILER_NETWORKS"] = str(listed)
    assert quick.json("tracking", "reclassify", "--since", "2026-01-01") == {"hits": 2, "changed": 2}
    assert quick.json("tracking", "reclassify", "--since", "2999-01-01") == {"hits": 0, "changed": 0}
    assert "--since" in quick.run("tracking", "reclassify", "--since", "yesterday", code=2).stderr


def test_sums_are_counted_again_from_the_stored_hits(quick: Quick) -> None:
    loaded(quick, Verdict(Class.HUMAN, "browser"))
    today = datetime.now(UTC).date()

    def spoil(session: Session) -> None:
        tally = Tally()
        tally.add(1, today, "promotional", "opens:human", [ALL], 5)
        tally.write(session)

    inside(quick, spoil)
    days = ("--since", str(today), "--until", str(today))
    assert quick.json("tracking", "rebuild")["sums_changed"] == {str(today): 1}
    assert quick.json("tracking", "rebuild", *days) == {"from": str(today), "to": str(today), "sums_changed": {}}
    assert quick.run("tracking", "rebuild", *days).stdout.endswith(" 0 sums were put right\n")
    wrong = quick.run("tracking", "rebuild", "--since", "2026-02-02", "--until", "2026-02-01", code=2)
    assert "--since: must not be after --until" in wrong.stderr


def test_a_published_list_takes_the_place_of_its_rule_alone(quick: Quick, tmp_path: Path) -> None:
    published = tmp_path / "egress.csv"
    published.write_text(APPLE)
    words = ("tracking", "networks", str(published), "--rule", "apple-relay", "--of", "open")
    assert "MAILER_NETWORKS" in quick.run(*words, code=2).stderr
    listed = tmp_path / "networks"
    listed.write_text("machine,apple-relay,192.0.2.0/24,open\nhuman,office,203.0.113.7\n")
    quick.env["MAILER_NETWORKS"] = str(listed)
    assert "2 networks of apple-relay stand in" in quick.run(*words).stdout
    assert set(listed.read_text().split()) == {
        "human,office,203.0.113.7",
        "machine,apple-relay,172.224.226.0/27,open",
        "machine,apple-relay,2a02:26f7:c9c8:4000::/64,open",
    }
    before = listed.read_bytes()
    published.write_text("nothing of the kind\n")
    assert "is no list of networks" in quick.run(*words, code=2).stderr
    published.unlink()
    assert "cannot be read" in quick.run(*words, code=2).stderr
    assert listed.read_bytes() == before


def test_who_has_not_opened_for_long_is_listed(quick: Quick) -> None:
    quick.run("tenant", "list")
    days = {b"a" * 16: ("ann@example.org", date(2026, 1, 5)), b"b" * 16: ("bob@example.org", date(2026, 6, 7))}
    opens = {fingerprint: LastOpen(*each) for fingerprint, each in days.items()}
    inside(quick, lambda session: people.keep_last_opens(session, 1, opens, datetime.now(UTC)))
    assert quick.run("tracking", "quiet", "--before", "2026-06-07").stdout == "ann@example.org,2026-01-05\n"
    assert len(quick.run("tracking", "quiet", "--before", "2026-06-08").stdout.splitlines()) == 2
    assert quick.run("tracking", "quiet", "--before", "2026-01-05").stdout == ""
    nobody = quick.run("tracking", "quiet", "--before", "2026-01-05", "--tenant", "nobody", code=1)
    assert "there is no tenant nobody" in nobody.stderr


def test_a_user_is_listed_disabled_and_enabled_and_the_log_tells_it(quick: Quick) -> None:
    made = quick.run(
        "user", "create", ZOE, "--role", "owner", "--name", "Zoe Hart", "--url", "https://mail.example.org"
    )
    assert made.stdout.startswith("https://mail.example.org/app/password/")
    assert quick.run("user", "create", "sam@ringwise.example", "--role", "owner").stdout
    (zoe,) = [each for each in json.loads(quick.run("user", "list", "--json").stdout)["data"] if each["email"] == ZOE]
    assert (zoe["name"], zoe["roles"], zoe["password"], zoe["disabled_at"]) == (
        "Zoe Hart",
        {"default": "owner"},
        False,
        None,
    )
    assert "default: owner" in quick.run("user", "list").stdout
    assert quick.run("user", "disable", ZOE).stdout == f"{ZOE} is disabled\n"
    (zoe,) = [each for each in json.loads(quick.run("user", "list", "--json").stdout)["data"] if each["email"] == ZOE]
    assert zoe["disabled_at"] is not None
    assert quick.run("user", "enable", ZOE).stdout == f"{ZOE} may sign in again\n"
    for word in ("disable", "enable"):
        assert "there is no user nobody@example.org" in quick.run("user", word, "nobody@example.org", code=1).stderr
    acts = inside(
        quick, lambda session: [each.act for each in session.exec(select(AuditEntry).order_by(AuditEntry.id))]
    )
    assert acts[-2:] == ["user.disabled", "user.enabled"]
