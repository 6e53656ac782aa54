"""`mailer campaign compare` and `who`, as scripts and people meet them."""

import csv
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import update
from sqlmodel import Session, SQLModel, select

from mailer.counters import Tally, dimensions
from mailer.models import Email
from mailer.status import Status
from tests.campaigns.test_cli import made
from tests.test_api_world import Json
from tests.test_cli import Quick
from tests.test_cli_operating import inside

_email = SQLModel.metadata.tables["email"]


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quick:
    return Quick(tmp_path, monkeypatch, capsys)


def lived(quick: Quick, *found: tuple[str, int, int]) -> None:
    """Have emails of campaigns be sent and bounce; the numbers are those of each campaign."""

    def verb(session: Session) -> None:
        tally, today = Tally(), datetime.now(UTC).date()
        for campaign, sent, bounced in found:
            mine = [email.id for email in session.exec(select(Email).where(Email.campaign_id == campaign))][:bounced]
            moved = update(_email).where(_email.c.id.in_(mine))
            session.execute(moved.values(status=Status.BOUNCED, settled_at=datetime(2027, 3, 1, tzinfo=UTC)))
            dims = dimensions(tags=None, topic="newsletter", template=None, campaign=campaign)
            for metric, number in (("sent", sent - bounced), ("bounced", bounced)):
                tally.add(1, today, "promotional", metric, dims, number)
        tally.write(session)

    inside(quick, verb)


def test_two_campaigns_are_compared_and_who_did_what_is_told(quick: Quick) -> None:
    campaigns = [made(quick, "--opens", "aggregate") for _ in range(2)]
    people = quick.folder / "people.csv"
    people.write_text("email,name\n" + "".join(f"p{n:03}@example.org,=p{n}\n" for n in range(40)))
    for campaign in campaigns:
        quick.run("campaign", "add", campaign, str(people))
    lived(quick, (campaigns[0], 40, 5), (campaigns[1], 40, 20))
    told = quick.json("campaign", "compare", *campaigns)
    assert (told["first"], told["second"]) == tuple(campaigns)
    (bounces,) = [each for each in cast("list[Json]", told["rates"]) if each["name"] == "bounce_rate"]
    assert (bounces["first"], bounces["second"], bounces["difference"]) == (0.125, 0.5, 0.375)
    assert cast("float", bounces["chance"]) < 0.001
    shown = quick.run("campaign", "compare", *campaigns).stdout
    assert "the second is higher: by " in shown
    assert "12.50%" in shown
    assert "one is called different here by chance" in shown
    sheet = list(csv.reader(io.StringIO(quick.run("campaign", "compare", *campaigns, "--csv").stdout)))
    assert sheet[0] == ["rate", "first", "second", "difference", "from", "to", "chance", "words"]
    assert "no such campaign" in quick.run("campaign", "compare", campaigns[0], "ca_no", code=1).stderr
    words = ("campaign", "who", campaigns[1], "--did", "bounced")
    whole = cast("list[Json]", quick.json(*words)["data"])
    assert len({each["to"] for each in whole}) == 20
    pages, after = list[Json](), tuple[str, ...]()
    for _ in range(3):
        page = quick.json(*words, "--limit", "8", *after)
        pages += cast("list[Json]", page["data"])
        after = ("--after", str(page["after"]))
    assert (pages, page["has_more"]) == (whole, False)
    first = quick.run(*words, "--limit", "8")
    assert f"there are more: --after {whole[7]['email_id']}" in first.stderr
    assert str(whole[7]["to"]) in first.stdout
    rows = list(csv.reader(io.StringIO(quick.run(*words, "--csv").stdout)))
    assert rows[0] == ["email_id", "to", "name", "provider", "at", "times", "undone_at"]
    assert [row[1] for row in rows[1:]] == [each["to"] for each in whole]
    assert {row[2][:3] for row in rows[1:]} == {"'=p"}, "no spreadsheet runs a name"
    for form in ((), ("--json",), ("--csv",)):
        refused = quick.run("campaign", "who", campaigns[1], "--did", "opened", *form, code=1)
        assert "measured as aggregate" in refused.stderr
    assert "--did" in quick.run("campaign", "who", campaigns[1], code=2).stderr
