"""The servers that take our mail, as the settings name them: the way to each, and how much it may be given."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from types import MappingProxyType
from typing import Literal, NamedTuple, cast, get_args
from urllib.parse import SplitResult, unquote, urlsplit

from mailer.errors import ConfigurationError
from mailer.providers import PROVIDERS

Starttls = Literal["required", "opportunistic", "off"]
Auth = Literal["plain", "login", "cram-md5", "xoauth2"]
Notify = Literal["failure", "success"]
Provider = Literal["ses", "sendgrid", "mailgun", "postmark"]

#: Nobody assigned a port to LMTP: RFC 2033 forbids 25, Dovecot and Cyrus listen on 24.
_PORTS = {"smtp": 587, "smtps": 465, "lmtp": 24}
_SHAPES = "inbox:, smtp://host:port, smtps://host:port, lmtp://host:port or lmtp:///path/to/socket"


class GroupLimits(NamedTuple):
    """What one group of receivers may be given through a relay; None: no limit."""

    per_second: float | None = None
    connections: int | None = None
    per_day: int | None = None


#: Amazon SES sets its own Message-ID and Date and adds a Feedback-ID; Postmark sets its own Message-ID.
_REWRITTEN = {
    "ses": frozenset({"message-id", "date", "feedback-id"}),
    "postmark": frozenset({"message-id"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One server that takes our mail; a limit that is None does not exist."""

    scheme: str
    host: str = ""
    port: int = 0
    #: Path of the UNIX socket of an LMTP server on this machine.
    socket: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    #: How to sign in; None: the best way that both sides know.
    auth: Auth | None = None
    #: Prints the OAuth2 access token that is sent instead of a password.
    token_command: str = field(default="", repr=False)
    starttls: Starttls = "required"
    verify: bool = True
    connections: int = 16
    #: Mails a second.
    per_second: float | None = None
    #: Mails on one connection (R4.7: receivers want a new one now and then).
    per_connection: int | None = 100
    per_day: int | None = None
    #: Its share of the stream's mail; 0: a spare, used while every other relay is away.
    weight: int = 1
    #: Whose rewriting of headers and whose events are to be expected.
    provider: Provider | None = None
    #: Whether we sign what goes through it.
    dkim: bool = True
    #: Which reports are asked for where it offers DSN (RFC 3461): of failures and delays, or of successes too.
    notify: Notify = "failure"
    #: Seconds that it may think after the final dot (RFC 5321 section 4.5.3.2.6: at least 600).
    timeout: float = 600.0
    groups: Mapping[str, GroupLimits] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    @property
    def captures(self) -> bool:
        """Return whether this is the built-in inbox, which sends nothing."""
        return self.scheme == "inbox"

    @property
    def rewritten(self) -> frozenset[str]:
        """Return the headers, in lower case, that its provider changes: a signature must not cover them."""
        return _REWRITTEN.get(self.provider or "", frozenset())

    @property
    def name(self) -> str:
        """Return what logs and pages may show: no user, no password."""
        if self.captures:
            return "inbox"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{self.socket or f'{host}:{self.port}'}"


def parse_relays(text: str, setting: str) -> tuple[Relay, ...]:
    """Return the relays of a setting, separated by spaces, as they are written; the inbox where there is none."""
    words = text.split() or ["inbox:"]
    relays = tuple(
        parse_relay(word, setting if len(words) == 1 else f"{setting} (relay {place})")
        for place, word in enumerate(words, 1)
    )
    if len(relays) > 1 and any(relay.captures for relay in relays):
        raise ConfigurationError(f"{setting}: inbox: captures everything, so it cannot stand beside other relays")
    names = [relay.name for relay in relays]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"{setting} names {twice[0]} twice: give it one address with a higher weight")
    return relays


def parse_relay(text: str, setting: str) -> Relay:
    """Return the relay that an address such as ``smtp://user:pw@host:587?starttls=off`` names."""
    if text == "inbox:":
        return Relay(scheme="inbox", connections=8, per_connection=None)
    parts, port = _address(text, setting)
    options = _Options(setting, parts.query)
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    auth = options.choice("auth", get_args(Auth))
    token_command = options.text("token_command")
    _check_signing_in(setting, username, password, auth, token_command)
    relay = Relay(
        scheme=parts.scheme,
        host=parts.hostname or "",
        port=port,
        socket="" if parts.hostname else unquote(parts.path),
        username=username,
        password=password,
        auth=cast("Auth | None", auth or ("xoauth2" if token_command else None)),
        token_command=token_command,
        starttls=_starttls(options, parts, signs_in=bool(username)),
        verify=options.choice("verify", ("yes", "no")) != "no",
        connections=options.whole("connections", 1, 500) or 16,
        per_second=options.number("per_second", 0.001, 100_000),
        per_connection=options.limit("per_connection", 100),
        per_day=options.limit("per_day", None),
        weight=1 if (weight := options.whole("weight", 0, 1000)) is None else weight,
        provider=cast("Provider | None", options.choice("provider", get_args(Provider))),
        dkim=options.choice("dkim", ("yes", "no")) != "no",
        notify=cast("Notify", options.choice("notify", get_args(Notify)) or "failure"),
        timeout=options.number("timeout", 1, 3600) or 600.0,
        groups=_groups(options),
    )
    options.check_all_read()
    return relay


def _address(text: str, setting: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ConfigurationError(f"{setting} must be an address such as smtp://host:587") from error
    on_socket = parts.scheme == "lmtp" and not parts.netloc and parts.path.startswith("/") and len(parts.path) > 1
    if parts.scheme not in _PORTS or not (parts.hostname or on_socket):
        raise ConfigurationError(f"{setting} must be {_SHAPES}")
    if parts.fragment or (not on_socket and parts.path not in ("", "/")):
        raise ConfigurationError(
            f"{setting} has a path: write / as %2F, # as %23 and ? as %3F in the user name and the password"
        )
    try:
        return parts, parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise ConfigurationError(f"{setting} has a port that is no number from 1 to 65535") from error


def _check_signing_in(setting: str, username: str, password: str, auth: str | None, token_command: str) -> None:
    if not username and (password or auth or token_command):
        raise ConfigurationError(f"{setting} needs a user name before the host: smtp://user:password@host")
    if (token_command and auth not in (None, "xoauth2")) or (auth == "xoauth2" and not token_command):
        raise ConfigurationError(
            f"{setting}: token_command, which prints the access token, and auth=xoauth2 go together"
        )
    try:
        words = shlex.split(token_command)
    except ValueError as error:
        raise ConfigurationError(f"{setting}: token_command has a quote that is not closed") from error
    if token_command and not words:
        raise ConfigurationError(f"{setting}: token_command must be a command that prints the access token")


def _starttls(options: "_Options", parts: SplitResult, *, signs_in: bool) -> Starttls:
    """Return the policy; LMTP is a machine's or a cluster's own business, so it is in the clear unless told."""
    chosen = options.choice("starttls", get_args(Starttls))
    if parts.scheme != "lmtp":
        return cast("Starttls", chosen or "required")
    if not parts.hostname and chosen not in (None, "off"):
        raise options.wrong("starttls", "off: a socket of this machine needs no encryption")
    if signs_in and chosen is None and parts.hostname and not _is_loopback(parts.hostname):
        raise options.wrong("starttls", "set, required or off, because a password goes over the network")
    return cast("Starttls", chosen or "off")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _groups(options: "_Options") -> Mapping[str, GroupLimits]:
    limits = {
        group: GroupLimits(
            options.number(f"{group}.per_second", 0.001, 100_000),
            options.whole(f"{group}.connections", 1, 500),
            options.limit(f"{group}.per_day", None),
        )
        for group in PROVIDERS
    }
    return MappingProxyType({group: limit for group, limit in limits.items() if limit != GroupLimits()})


class _Options:
    """What follows the question mark; every option is read once, and what nobody read is unknown."""

    def __init__(self, setting: str, query: str) -> None:
        self._setting = setting
        self._left: dict[str, str] = {}
        for pair in filter(None, query.split("&")):
            name, _, value = pair.partition("=")
            if name in self._left:
                raise self.wrong(name, "given once")
            # Not `parse_qsl`, which takes a plus sign for a space.
            self._left[name] = unquote(value)

    def wrong(self, name: str, must_be: str) -> ConfigurationError:
        return ConfigurationError(f"{self._setting}: {name} must be {must_be}")

    def text(self, name: str) -> str:
        return self._left.pop(name, "")

    def choice(self, name: str, allowed: Sequence[str]) -> str | None:
        value = self._left.pop(name, None)
        if value is not None and value not in allowed:
            raise self.wrong(name, f"one of {', '.join(allowed)}")
        return value

    def whole(self, name: str, lowest: int, highest: int) -> int | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not re.fullmatch(r"[0-9]{1,12}", value) or not lowest <= int(value) <= highest:
            raise self.wrong(name, f"a whole number from {lowest} to {highest}")
        return int(value)

    def limit(self, name: str, default: int | None) -> int | None:
        """Return a number of mails; an empty one means none."""
        if self._left.get(name) == "":
            del self._left[name]
            return None
        return self.whole(name, 1, 1_000_000_000) or default

    def number(self, name: str, lowest: float, highest: float) -> float | None:
        value = self._left.pop(name, "")
        if not value:
            return None
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", value) or not lowest <= float(value) <= highest:
            raise self.wrong(name, f"a number from {lowest:g} to {highest:g}")
        return float(value)

    def check_all_read(self) -> None:
        if self._left:
            raise ConfigurationError(f"{self._setting} has unknown options: {', '.join(sorted(self._left))}")
