"""`mailer inbound` with a maildir or a mailbox: emptied once, or a sentence that says what is wrong."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailer.service import Service
from mailer.settings import Settings
from suppression.rules import Stream
from suppression.token import OptOut
from tests.dovecot import PASSWORD, Dovecot, dovecot
from tests.test_cli import Shell

DOMAIN = "b.example.org"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def imap() -> Iterator[Dovecot]:
    with dovecot() as server:
        yield server


def opt_out(shell: Shell) -> bytes:
    """Return a mail that opts somebody out, as a catch-all mailbox keeps it."""
    settings = Settings(data_dir=str(shell.folder / "data"), return_path_domain=DOMAIN)
    links = Service.build(settings).links
    mailto = str(links.ways_out(OptOut(1, b"f" * 16, Stream.PROMOTIONAL)).mailto).removeprefix("mailto:")
    return f"Delivered-To: {mailto}\r\nFrom: ann@example.org\r\nSubject: \r\n\r\n".encode()


def test_a_maildir_and_a_mailbox_are_emptied_once(shell: Shell, imap: Dovecot) -> None:
    for name in ("new", "cur", "tmp"):
        (shell.folder / "box" / name).mkdir(parents=True)
    raw = opt_out(shell)
    (shell.folder / "box" / "new" / "1.x").write_bytes(raw)
    (shell.folder / "box" / "new" / "2.x").write_bytes(b"Subject: offer\r\n\r\n")
    imap.put(raw)
    told = "taken: {}, for no address of ours: {}, left for later: 0"
    words = ("inbound", "--once", "--maildir", str(shell.folder / "box"))
    assert told.format(1, 1) in shell.run(*words, MAILER_RETURN_PATH_DOMAIN=DOMAIN).stderr
    words = ("inbound", "--once", "--imap", imap.url)
    done = shell.run(*words, MAILER_RETURN_PATH_DOMAIN=DOMAIN, MAILER_IMAP_PASSWORD=PASSWORD)
    assert told.format(1, 0) in done.stderr
    assert imap.flags() == [{"\\Seen"}]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "set MAILER_RETURN_PATH_DOMAIN"),
        (["--once"], "--once goes with"),
        (["--maildir", "x", "--imap", "y"], "choose one of"),
        (["--maildir", "/nowhere"], "is no maildir"),
        (["--imap", "imaps://b@mail.example.org"], "set MAILER_IMAP_PASSWORD"),
    ],
    ids=["no domain", "once alone", "two boxes", "no maildir", "no password"],
)
def test_what_is_wrong_is_said_in_a_sentence(shell: Shell, words: list[str], sentence: str) -> None:
    assert sentence in shell.run("inbound", *words, code=2).stderr
