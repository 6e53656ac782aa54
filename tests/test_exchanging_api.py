"""Suppression lists over HTTP and on the command line."""

import hashlib
import io
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from mailer.database import Database
from mailer.web.api import shapes
from tests import commands
from tests.test_api_world import Api, Json, data, paths, rows, world
from tests.test_cli import Quick

PATH = "/v1/suppressions/import"
LIST = b"email,reason\nann@example.org,complaint\nnobody,complaint\nbob@example.org,hard_bounce\n"
CSV = "text/csv"


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Api]:
    async with world(database, scopes=("suppressions",)) as api:
        yield api


@pytest.fixture
async def small(sqlite: Database) -> AsyncIterator[Api]:
    async with world(sqlite, scopes=("suppressions",)) as api:
        yield api


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quick:
    return Quick(tmp_path, monkeypatch, capsys)


async def test_a_list_comes_in_and_goes_out(api: Api) -> None:
    preview = await api.post(f"{PATH}?dry_run=true", LIST, content_type=CSV)
    assert shapes.ImportedView.model_validate(data(preview)).dry_run
    assert rows(await api.get("/v1/suppressions")) == []
    told = data(await api.post(PATH, LIST, content_type=CSV))
    assert (told["new"], told["refused"]) == (2, 1)
    assert told["lines"] == [{"line": 3, "reason": "the address has no @"}]
    exported = await api.get("/v1/suppressions/export")
    assert exported.headers["content-type"] == "text/csv; charset=utf-8"
    assert exported.headers["cache-control"] == "no-store"
    assert exported.text.count("example.org") == 2
    lines = (await api.get("/v1/suppressions/export?format=ndjson&reason=complaint")).text.splitlines()
    assert [json.loads(line)["email"] for line in lines] == ["ann@example.org"]
    checked = data(await api.get("/v1/suppressions/check?email=bob@example.org&stream=transactional"))
    assert checked["allowed"] is False


async def test_every_refused_line_is_told_to_who_asks_for_lines(small: Api) -> None:
    listed = b"email,reason\n" + b"nobody,complaint\n" * 5000 + b"ann@example.org,complaint\n"
    response = await small.post(PATH, listed, content_type=CSV, accept="application/x-ndjson")
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert len(lines) == 5001
    assert lines[4999] == {"line": 5001, "reason": "the address has no @"}
    assert (lines[5000]["new"], lines[5000]["refused"]) == (1, 5000)
    short = data(await small.post(PATH, listed, content_type=CSV))
    assert len(cast("list[Json]", short["lines"])) == 100


async def test_a_group_of_another_system_is_a_topic_of_ours(small: Api) -> None:
    listed = b"email,group_id,group_name,created_at\nann@example.org,14,Weekly,1736277945\nbob@example.org,15,Sales,1\n"
    told = data(await small.post(f"{PATH}?format=sendgrid-groups&topics=14=newsletter", listed, content_type=CSV))
    assert told["kinds"] == {"unsubscribe topic:newsletter": 1, "unsubscribe stream:promotional": 1}
    assert told["widened"] == {"Sales": 1}
    since = {row["email"]: row["created_at"] for row in rows(await small.get("/v1/suppressions"))}
    assert since["ann@example.org"] == "2025-01-07T19:25:45Z"


async def test_an_import_with_its_digest_may_be_resumed(small: Api) -> None:
    digest = hashlib.sha256(LIST).hexdigest()
    assert data(await small.post(f"{PATH}?digest={digest}&resume=true", LIST, content_type=CSV))["new"] == 2
    wrong = await small.post(f"{PATH}?digest={'0' * 64}&resume=true", LIST, content_type=CSV)
    assert (wrong.status_code, paths(wrong)) == (422, ["digest"])


@pytest.mark.parametrize(
    ("query", "body", "kind", "where"),
    [
        ("", b"name\nAnn\n", CSV, "list"),
        ("", b"", CSV, "list"),
        ("?format=sendgrid-bounces", LIST, CSV, "list"),
        ("?format=nobody", LIST, CSV, "format"),
        ("?reason=tired", LIST, CSV, "reason"),
        ("?scope=everything", LIST, CSV, "scope"),
        ("?topics=14=nothing", LIST, CSV, "topic"),
        ("?digest=abc", LIST, CSV, "digest"),
        ("?other=1", LIST, CSV, "other"),
        ("", LIST, "multipart/form-data", "Content-Type"),
        ("", b"[]", "application/json", "Content-Type"),
    ],
)
async def test_what_is_wrong_is_named(small: Api, query: str, body: bytes, kind: str, where: str) -> None:
    response = await small.post(PATH + query, body, content_type=kind)
    assert (response.status_code, paths(response)) == (422, [where])
    assert rows(await small.get("/v1/suppressions")) == []


async def test_only_the_scope_and_the_tenant_see_a_list(small: Api) -> None:
    await small.post(PATH, LIST, content_type=CSV)
    reader = await small.with_key("read")
    assert (await reader.get("/v1/suppressions/export")).status_code == 403
    assert (await reader.post(PATH, LIST, content_type=CSV)).status_code == 403
    other = await small.of_tenant("other")
    assert (await other.get("/v1/suppressions/export")).text.count("example.org") == 0
    assert data(await other.post(PATH, LIST, content_type=CSV))["new"] == 2


# --- the command line


def test_a_list_from_the_command_line(quick: Quick) -> None:
    listed, out = quick.folder / "list.csv", quick.folder / "rejects.csv"
    listed.write_bytes(LIST)
    preview = quick.run("suppression", "import", str(listed), "--dry-run", "--rejects", str(out), code=1)
    assert preview.stdout.startswith("2 new, 0 standing, 0 nothing, 1 refused (nothing was written)\n")
    assert "line 3: the address has no @" in preview.stderr
    assert out.read_text() == "line,reason\n3,the address has no @\n"
    assert quick.json("suppression", "list")["data"] == []
    assert "1 complaint stream:promotional" in quick.run("suppression", "import", str(listed), code=1).stdout
    carried = quick.run("suppression", "export").stdout
    assert carried.startswith("email,reason,scope,created_at,")
    quick.run("suppression", "export", str(out), "--format", "ndjson", "--reason", "hard_bounce")
    assert json.loads(out.read_text())["email"] == "bob@example.org"
    assert quick.json("suppression", "import", str(out))["standing"] == 1
    why = quick.json("suppression", "why", "bob@example.org", "--stream", "transactional")
    assert cast("Json", why["entry"])["origin"] == "import"


def test_a_list_from_stdin_and_groups_without_a_topic(quick: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = b"email,group_id,group_name,created_at\nann@example.org,14,Weekly,1736277945\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    done = quick.run("suppression", "import", "-", "--from", "sendgrid-groups")
    assert "group Weekly: 1 left the whole promotional stream; --topic 'Weekly=KEY'" in done.stderr
    assert "needs a file" in quick.run("suppression", "import", "-", "--resume", code=2).stderr
    assert "cannot use none.csv" in quick.run("suppression", "import", "none.csv", code=1).stderr
    assert "sendgrid-bounces" in quick.run("suppression", "import", "x.csv", "--from", "nobody", code=2).stderr


def test_an_import_that_is_killed_goes_on_where_it_stopped(quick: Quick) -> None:
    """kill -9 at any moment: what was committed stays, and with --resume the rest is added, each line once."""
    listed = quick.folder / "long.csv"
    with listed.open("w") as file:
        file.write("email,reason\n")
        file.writelines(f"p{place}@example.org,complaint\n" for place in range(20_000))
    quick.run("migrate")
    process = commands.start("suppression", "import", str(listed), env=quick.env)
    ends = time.monotonic() + 30
    while len(cast("list[Json]", quick.json("suppression", "list")["data"])) == 0 and time.monotonic() < ends:
        time.sleep(0.05)
    process.kill()
    assert process.wait(20) == -signal.SIGKILL
    resumed = quick.json("suppression", "import", str(listed), "--resume")
    assert (resumed["new"], resumed["standing"], resumed["refused"]) == (20_000, 0, 0)
    assert cast("int", resumed["resumed_at"]) > 0
    carried = quick.run("suppression", "export").stdout
    assert carried.count("\n") == 20_001
