"""A mailbox behind IMAP: mail that is not seen yet is read, and marked only after what it means is committed."""

import imaplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from imap_tools import AND, BaseMailBox, MailBox, MailBoxUnencrypted
from imap_tools.consts import MailMessageFlags
from imap_tools.errors import ImapToolsError

from mailer.errors import ConfigurationError
from mailer.feedback.inbound.mailroom import KEPT

_PORTS = {"imaps": 993, "imap": 143}
#: Seconds that each step may take.
_PATIENCE = 60.0
#: How many mails one look takes; the next look takes the next ones.
_TOGETHER = 500


class Unreachable(OSError):
    """The mailbox cannot be used now; the text holds no address and no password."""


@dataclass(slots=True)
class Imap:
    """A box that is a folder of an IMAP account."""

    host: str
    port: int
    user: str
    folder: str
    #: Encrypted from the first byte, by STARTTLS, or not at all.
    encryption: str
    password: str = field(repr=False)
    _open: BaseMailBox | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, password: str) -> Self:
        """Read `imaps://user@host:993/FOLDER`, or raise `ConfigurationError`.

        `imap://` goes over to TLS (STARTTLS) unless `?starttls=off` says that the way is trusted.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigurationError("--imap has a port that is no number from 1 to 65535") from None
        if parts.scheme not in _PORTS or not parts.hostname or not parts.username or parts.fragment:
            raise ConfigurationError("--imap must be imaps://user@host/FOLDER or imap://user@host/FOLDER")
        if parts.password is not None:
            raise ConfigurationError(
                "--imap holds a password, which everybody on this machine could read: set MAILER_IMAP_PASSWORD instead"
            )
        if not password:
            raise ConfigurationError("set MAILER_IMAP_PASSWORD to the password of the mailbox")
        if parts.query not in ("", "starttls=off") or (parts.query and parts.scheme == "imaps"):
            raise ConfigurationError("--imap knows no other option than ?starttls=off, and that behind imap:// only")
        clear = "off" if parts.query else "starttls"
        return cls(
            host=parts.hostname,
            port=port or _PORTS[parts.scheme],
            user=unquote(parts.username),
            folder=unquote(parts.path.strip("/")) or "INBOX",
            encryption="tls" if parts.scheme == "imaps" else clear,
            password=password,
        )

    def waiting(self) -> Sequence[str]:
        """Return the numbers (UIDs) of mails that are not seen, the oldest first; connects."""
        try:
            self._open = self._connected()
            self._sign_in(self._open)
            return self._open.uids(AND(seen=False))[:_TOGETHER]
        except (ImapToolsError, imaplib.IMAP4.error, OSError) as error:
            raise Unreachable(0, self._why(error)) from None

    def read(self, name: str) -> bytes | None:
        """Return the beginning of a mail without marking it; None where it is gone."""
        try:
            _, found = self._mailbox.client.uid("FETCH", name, f"(BODY.PEEK[]<0.{KEPT}>)")
        except (imaplib.IMAP4.error, OSError) as error:
            raise Unreachable(0, self._why(error)) from None
        return next((bytes(each[1]) for each in found if isinstance(each, tuple)), None)

    def settle(self, name: str, *, known: bool) -> None:
        """Mark a mail as seen, and with a flag too where it is none of ours."""
        flags = [MailMessageFlags.SEEN] if known else [MailMessageFlags.SEEN, MailMessageFlags.FLAGGED]
        try:
            self._mailbox.flag(name, flags, value=True)
        except (ImapToolsError, imaplib.IMAP4.error, OSError) as error:
            raise Unreachable(0, self._why(error)) from None

    def close(self) -> None:
        """Say goodbye."""
        mailbox, self._open = self._open, None
        if mailbox is not None:
            try:
                mailbox.logout()
            except (ImapToolsError, imaplib.IMAP4.error, OSError):
                # The server has gone already: what was done is done.
                mailbox.client.shutdown()

    @property
    def _mailbox(self) -> BaseMailBox:
        if self._open is None:
            raise RuntimeError("it is not connected")
        return self._open

    def _connected(self) -> BaseMailBox:
        if self.encryption == "tls":
            context = ssl.create_default_context()
            return MailBox(self.host, self.port, timeout=_PATIENCE, ssl_context=context)
        return MailBoxUnencrypted(self.host, self.port, timeout=_PATIENCE)

    def _sign_in(self, mailbox: BaseMailBox) -> None:
        if self.encryption == "starttls":
            # Not the library's own way, which leaves the connection open where the server knows no TLS.
            mailbox.client.starttls(ssl.create_default_context())
        mailbox.login(self.user, self.password, initial_folder=self.folder)

    def _why(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLError):
            return f"{self.host}: encryption failed"
        if isinstance(error, OSError):
            return f"{self.host}: it cannot be reached"
        if "TLS" in str(error):
            return f"{self.host}: it offers no STARTTLS; add ?starttls=off if you trust the way to it"
        return f"{self.host}: it refused our user, password or folder"
