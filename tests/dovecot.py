"""An IMAP server of our own: Dovecot, the Debian package `dovecot-imapd`."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from imaplib import IMAP4
from pathlib import Path

from tests.servers import free_port, missing

USER, PASSWORD = "bounces", "secret-of-the-test"
_PATIENCE = 20.0
_CONFIGURATION = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
default_internal_user = {internal}
default_login_user = {login}
default_internal_group = {group}
first_valid_uid = 1
mail_uid = {owner}
mail_gid = {group}
mail_location = maildir:{folder}/mail
passdb {{
  driver = static
  args = user={user} password={password}
}}
userdb {{
  driver = static
  args = uid={owner} gid={group} home={folder}/mail
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
  chroot =
}}
service anvil {{
  chroot =
}}
"""


@dataclass(frozen=True)
class Dovecot:
    """A running server with one mailbox."""

    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Return its address as `--imap` takes it."""
        return f"imap://{USER}@127.0.0.1:{self.port}/INBOX?starttls=off"

    def connect(self) -> IMAP4:
        """Return a session in the mailbox, as a mail program would have."""
        client = IMAP4("127.0.0.1", self.port)
        client.login(USER, PASSWORD)
        client.select("INBOX")
        return client

    def put(self, *mails: bytes) -> None:
        """Add mails that nobody has seen."""
        client = self.connect()
        for mail in mails:
            assert client.append("INBOX", "", None, mail)[0] == "OK"
        client.logout()

    def flags(self) -> list[set[str]]:
        """Return the flags of each mail, in order."""
        client = self.connect()
        _, found = client.fetch("1:*", "(FLAGS)")
        client.logout()
        lines = [each.decode() for each in found if isinstance(each, bytes)]
        return [set(line.partition("FLAGS (")[2].partition(")")[0].split()) for line in lines]


@contextmanager
def dovecot() -> Iterator[Dovecot]:
    """Start a server, and stop it."""
    binary = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin")
    if binary is None:
        missing("Dovecot (dovecot-imapd)")
        raise AssertionError
    own = pwd.getpwuid(os.geteuid()).pw_name
    root = os.geteuid() == 0
    # Dovecot never touches mail as root.
    owner, internal, login = ("mail", "dovecot", "dovenull") if root else (own, own, own)
    group = "mail" if root else str(os.getegid())
    with tempfile.TemporaryDirectory(prefix="mailer-dovecot-") as name:
        folder, port = Path(name), free_port()
        folder.chmod(0o755)
        (folder / "mail").mkdir()
        if root:
            shutil.chown(folder / "mail", owner, group)
        names = {"owner": owner, "internal": internal, "login": login, "group": group}
        text = _CONFIGURATION.format(folder=folder, port=port, user=USER, password=PASSWORD, **names)
        (folder / "dovecot.conf").write_text(text)
        process = subprocess.Popen(
            [binary, "-F", "-c", folder / "dovecot.conf"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            server = Dovecot(port, folder)
            _wait(server, process)
            yield server
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _wait(server: Dovecot, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with suppress(OSError, IMAP4.abort):
            server.connect().logout()
            return
        time.sleep(0.05)
    log = server.folder / "log"
    raise AssertionError(log.read_text() if log.exists() else "the server does not listen")
