"""The environment, read once: every setting of the service."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote, urlsplit

from mailer.errors import ConfigurationError
from suppression.rules import Stream

_LONGEST = 3650 * 86400
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One server that takes our mail."""

    scheme: str
    host: str = ""
    port: int = 0
    username: str = ""
    password: str = field(default="", repr=False)
    starttls: str = "required"
    verify: bool = True
    connections: int = 16

    @property
    def captures(self) -> bool:
        """Return whether this is the built-in inbox, which sends nothing."""
        return self.scheme == "inbox"

    @property
    def name(self) -> str:
        """Return what logs and pages may show: no user, no password."""
        return "inbox" if self.captures else f"{self.scheme}://{self.host}:{self.port}"


_PORTS = {"smtp": 587, "smtps": 465}
_CHOICES = {"starttls": ("required", "opportunistic", "off"), "verify": ("yes", "no")}


def parse_relay(text: str, setting: str) -> Relay:
    """Return the relay that an address such as ``smtp://user:pw@host:587?starttls=off`` names."""
    if text == "inbox:":
        return Relay(scheme="inbox", connections=8)
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ConfigurationError(f"{setting} must be an address such as smtp://host:587") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ConfigurationError(f"{setting} must be inbox: or smtp://host:port or smtps://host:port")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise ConfigurationError(f"{setting} has a port that is no number from 1 to 65535") from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, allowed in _CHOICES.items():
        if options.get(name, allowed[0]) not in allowed:
            raise ConfigurationError(f"{setting}: {name} must be one of {', '.join(allowed)}")
    connections = options.get("connections", "16")
    if not connections.isdigit() or not 1 <= int(connections) <= 500:
        raise ConfigurationError(f"{setting}: connections must be a whole number from 1 to 500")
    if unknown := options.keys() - {"starttls", "verify", "connections"}:
        raise ConfigurationError(f"{setting} has unknown options: {', '.join(sorted(unknown))}")
    return Relay(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        starttls=options.get("starttls", "required"),
        verify=options.get("verify", "yes") == "yes",
        connections=int(connections),
    )


def parse_duration(text: str, setting: str) -> timedelta:
    """Return the length that a text such as ``90``, ``15m`` or ``3d`` names; a bare number means seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found:
        raise ConfigurationError(f"{setting} must be a length of time such as 30s, 5m, 2h or 3d, not {text!r}")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST:
        raise ConfigurationError(f"{setting} must be at most 3650d")
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator decided; empty means that we choose."""

    #: Folder of the SQLite file, the keys made up at the first start, and the inbox.
    data_dir: str = "./mailer-data"
    #: Where emails wait. Empty: SQLite in the data folder. `postgres://` serves many workers.
    database_url: str = ""
    #: Empty: workers run inside the web process. Set: dramatiq workers share this Redis.
    redis_url: str = ""
    #: The address of this service as recipients reach it, `https://mail.example.org`.
    public_url: str = ""
    #: From of tenant `default`: `Ringwise <hello@ringwise.example>`.
    from_: str = ""
    #: Postal address in promotional mail of tenant `default`.
    postal_address: str = ""
    #: From of the transactional stream, where it differs.
    transactional_from: str = ""
    #: From of the promotional stream, where it differs.
    promotional_from: str = ""
    #: Public address of links in transactional mail, where it differs.
    transactional_public_url: str = ""
    #: Public address of links in promotional mail, where it differs.
    promotional_public_url: str = ""
    #: Relay of the transactional stream: `inbox:` (captured, not sent) or `smtp://user:password@host:587`.
    transactional_relay: str = ""
    #: Relay of the promotional stream.
    promotional_relay: str = ""
    #: Waits between tries; the last one repeats.
    retry_after: str = "1m,5m,15m,30m,1h,2h,4h"
    #: How long an email is tried before it counts as bounced.
    give_up_after: str = "3d"
    #: Ring `id:secret,…` that signs links and seals DKIM keys; the first signs, all verify.
    #: Empty: made up and kept in the data folder.
    secret_keys: str = field(default="", repr=False)
    #: Ring that fingerprints addresses. Losing it loses every opt-out: keep a copy.
    suppression_key: str = field(default="", repr=False)
    #: Domain that signs the mail of tenant `default`; the next two belong to it.
    dkim_domain: str = ""
    #: Where its public key stands: `<selector>._domainkey.<domain>`.
    dkim_selector: str = ""
    #: Its private key as PEM, RSA or ed25519.
    dkim_key_file: str = ""
    #: Domain of return paths and mailto opt-outs; empty: MAIL FROM is the From address.
    return_path_domain: str = ""
    #: Address and port on which `mailer inbound` listens, as `0.0.0.0:25`.
    inbound_listen: str = "127.0.0.1:2525"
    #: Networks of proxies whose X-Forwarded-For is believed, separated by commas.
    trusted_proxies: str = ""
    #: Staging: only these addresses get mail (`*@ours.example`, separated by commas); everything else is captured.
    only_to: str = ""

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """Return the settings of an environment; an unknown or malformed one raises `ConfigurationError`."""
        known = {f"MAILER_{f.name.rstrip('_').upper()}": f.name for f in fields(cls)}
        named = {name for name in environ if name.startswith("MAILER_") and not name.startswith("MAILER_TEST_")}
        if unknown := named - known.keys():
            raise ConfigurationError(f"unknown settings: {', '.join(sorted(unknown))}; README lists the known ones")
        values = {known[name]: environ[name].strip() for name in named}
        for ours, theirs in (("database_url", "DATABASE_URL"), ("redis_url", "REDIS_URL")):
            values.setdefault(ours, environ.get(theirs, ""))
        settings = cls(**{name: value for name, value in values.items() if value})
        settings.check()
        return settings

    def check(self) -> None:
        """Raise `ConfigurationError` for the first thing that cannot work."""
        for stream in Stream:
            self.relay(stream)
        if bool(self.transactional_relay) != bool(self.promotional_relay):
            raise ConfigurationError(
                "set both MAILER_TRANSACTIONAL_RELAY and MAILER_PROMOTIONAL_RELAY, or neither (then mail is captured)"
            )
        _ = (self.retries, self.give_up, self.inbound_address)
        if self.redis_url and not self.on_postgresql:
            raise ConfigurationError("MAILER_REDIS_URL needs PostgreSQL: set MAILER_DATABASE_URL, or remove it")
        if self.redis_url and not self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            raise ConfigurationError("MAILER_REDIS_URL must begin with redis://, rediss:// or unix://")
        if len({bool(self.dkim_domain), bool(self.dkim_selector), bool(self.dkim_key_file)}) > 1:
            raise ConfigurationError(
                "set all of MAILER_DKIM_DOMAIN, MAILER_DKIM_SELECTOR and MAILER_DKIM_KEY_FILE, or none of them"
            )
        for name in ("public_url", "transactional_public_url", "promotional_public_url"):
            _check_url(getattr(self, name), f"MAILER_{name.upper()}")
        if self.database_url and not self.on_postgresql and not self.database_url.startswith("sqlite:///"):
            raise ConfigurationError("MAILER_DATABASE_URL must begin with postgresql://, postgres:// or sqlite:///")

    @property
    def folder(self) -> Path:
        """Return the data folder."""
        return Path(self.data_dir)

    @property
    def on_postgresql(self) -> bool:
        """Return whether emails wait in PostgreSQL."""
        return self.database_url.startswith(("postgresql://", "postgres://"))

    @property
    def retries(self) -> tuple[timedelta, ...]:
        """Return the waits between tries, the last of which repeats."""
        waits = [parse_duration(text, "MAILER_RETRY_AFTER") for text in self.retry_after.split(",") if text.strip()]
        if not waits or any(not wait for wait in waits):
            raise ConfigurationError("MAILER_RETRY_AFTER must be lengths of time above zero, such as 1m,5m,15m")
        return tuple(waits)

    @property
    def give_up(self) -> timedelta:
        """Return how long an email is tried."""
        return parse_duration(self.give_up_after, "MAILER_GIVE_UP_AFTER")

    @property
    def inbound_address(self) -> tuple[str, int]:
        """Return the host and port on which opt-outs by mail are received."""
        host, _, port = self.inbound_listen.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ConfigurationError("MAILER_INBOUND_LISTEN must be an address and a port, such as 0.0.0.0:25")
        return host, int(port)

    def relay(self, stream: Stream) -> Relay:
        """Return the relay of a stream; the inbox where none is set."""
        text = self.transactional_relay if stream is Stream.TRANSACTIONAL else self.promotional_relay
        return parse_relay(text or "inbox:", f"MAILER_{stream.upper()}_RELAY")

    def base_url(self, stream: Stream) -> str:
        """Return the public address of a stream's links, without a slash at its end; empty where none is set."""
        own = self.transactional_public_url if stream is Stream.TRANSACTIONAL else self.promotional_public_url
        return (own or self.public_url).rstrip("/")

    def sender(self, stream: Stream) -> str:
        """Return the From of tenant `default` for a stream; empty where none is set."""
        own = self.transactional_from if stream is Stream.TRANSACTIONAL else self.promotional_from
        return own or self.from_


def _check_url(text: str, setting: str) -> None:
    if text and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[\w./-]*)?", text):
        raise ConfigurationError(f"{setting} must be an address such as https://mail.example.org")
