"""The environment, read once: every setting of the service."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import NamedTuple, Self

from mailer.errors import ConfigurationError
from mailer.relays import Relay, parse_relays
from suppression.rules import Stream

_LONGEST = 3650 * 86400
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str, setting: str) -> timedelta:
    """Return the length that a text such as ``90``, ``15m`` or ``3d`` names; a bare number means seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found:
        raise ConfigurationError(f"{setting} must be a length of time such as 30s, 5m, 2h or 3d, not {text!r}")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST:
        raise ConfigurationError(f"{setting} must be at most 3650d")
    return timedelta(seconds=seconds)


class Limits(NamedTuple):
    """From which share on somebody is warned, and mail is paused; both above 0 and at most 1."""

    warn: float
    pause: float


def parse_limits(text: str, setting: str) -> Limits | None:
    """Return the two shares that a text such as ``0.1%,0.3%`` names; None for ``off``."""
    if text.strip() == "off":
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)%\s*,\s*(\d+(?:\.\d+)?)%", text.strip())
    limits = Limits(float(found[1]) / 100, float(found[2]) / 100) if found else None
    if limits is None or not 0 < limits.warn <= limits.pause <= 1:
        raise ConfigurationError(f"{setting} must be two shares, to warn and to pause, such as 0.1%,0.3%, or off")
    return limits


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
    #: Relays of the transactional stream: `inbox:` (captured, not sent) or `smtp://user:password@host:587 …`.
    transactional_relay: str = field(default="", repr=False)
    #: Relays of the promotional stream.
    promotional_relay: str = field(default="", repr=False)
    #: Waits between tries; the last one repeats.
    retry_after: str = "1m,5m,15m,30m,1h,2h,4h"
    #: Complaints of the delivered mail from which on somebody is warned, and a campaign or tenant is paused; `off`.
    complaint_limits: str = "0.1%,0.3%"
    #: The same of addresses that do not exist, of the mail that was tried.
    bounce_limits: str = "2%,5%"
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
    #: Where `mailer inbound` listens: `0.0.0.0:25` for SMTP, `lmtp://127.0.0.1:2424` behind a mail server of yours.
    inbound_listen: str = "127.0.0.1:2525"
    #: Domains whose DKIM signature makes a complaint believed that shows no token of ours, separated by commas.
    complaint_signers: str = "arf.mail.yahoo.com"
    #: Password of the mailbox that `mailer inbound --imap` empties.
    imap_password: str = field(default="", repr=False)
    #: Networks of proxies whose X-Forwarded-For is believed, separated by commas.
    trusted_proxies: str = ""
    #: File of networks that say who loads a picture or follows a link; `mailer tracking networks` fills it.
    networks: str = ""
    #: Ports of webhooks and other servers outside that we may connect to, beside 443 and 8443, separated by commas.
    outside_ports: str = ""
    #: `yes`: webhooks may go to this machine too, by http as well. For development and tests.
    outside_loopback: str = "no"
    #: ARNs of the topics of Amazon SNS that bring Amazon SES's events, separated by commas.
    ses_topics: str = ""
    #: Verification keys of SendGrid's Signed Event Webhook, separated by commas.
    sendgrid_public_key: str = ""
    #: Mailgun's HTTP webhook signing keys, separated by commas.
    mailgun_signing_key: str = field(default="", repr=False)
    #: The secret at the end of the address that Postmark calls, or the password that it signs in with.
    postmark_secret: str = field(default="", repr=False)
    #: Secrets `whsec_…` of programs that tell bounces at `/v1/inbound/generic`, separated by commas.
    inbound_secret: str = field(default="", repr=False)
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
            self.relays(stream)
        if bool(self.transactional_relay) != bool(self.promotional_relay):
            raise ConfigurationError(
                "set both MAILER_TRANSACTIONAL_RELAY and MAILER_PROMOTIONAL_RELAY, or neither (then mail is captured)"
            )
        _ = (self.retries, self.give_up, self.inbound_address, self.proxies, self.more_ports, self.to_loopback)
        _ = (self.complaints, self.bounces)
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
    def complaints(self) -> Limits | None:
        """Return from which share of complaints on mail is paused."""
        return parse_limits(self.complaint_limits, "MAILER_COMPLAINT_LIMITS")

    @property
    def bounces(self) -> Limits | None:
        """Return from which share of addresses that do not exist on mail is paused."""
        return parse_limits(self.bounce_limits, "MAILER_BOUNCE_LIMITS")

    @property
    def inbound_address(self) -> tuple[str, int]:
        """Return the host and port on which opt-outs by mail are received."""
        found = re.fullmatch(r"(?:(?:smtp|lmtp)://)?\[?([^\[\]/]+)\]?:(\d{1,5})", self.inbound_listen)
        if not found or int(found[2]) > 65535:
            raise ConfigurationError(
                "MAILER_INBOUND_LISTEN must be an address and a port, such as 0.0.0.0:25 or lmtp://127.0.0.1:2424"
            )
        return found[1], int(found[2])

    @property
    def inbound_lmtp(self) -> bool:
        """Return whether opt-outs by mail come by LMTP, from a mail server of the operator's."""
        return self.inbound_listen.startswith("lmtp://")

    @property
    def signers(self) -> tuple[str, ...]:
        """Return the domains whose signed complaints are believed, in lower case."""
        return tuple(each.strip().lower() for each in self.complaint_signers.split(",") if each.strip())

    @property
    def proxies(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return the networks of proxies whose word is believed."""
        return _networks(self.trusted_proxies)

    @property
    def more_ports(self) -> frozenset[int]:
        """Return the ports outside that the operator allowed."""
        texts = [each.strip() for each in self.outside_ports.split(",") if each.strip()]
        if not all(re.fullmatch(r"[1-9]\d{0,4}", each) and int(each) < 65536 for each in texts):
            raise ConfigurationError("MAILER_OUTSIDE_PORTS must be ports from 1 to 65535, separated by commas")
        return frozenset(map(int, texts))

    @property
    def to_loopback(self) -> bool:
        """Return whether webhooks may go to this machine."""
        if self.outside_loopback not in ("yes", "no"):
            raise ConfigurationError("MAILER_OUTSIDE_LOOPBACK must be yes or no")
        return self.outside_loopback == "yes"

    def relays(self, stream: Stream) -> tuple[Relay, ...]:
        """Return the relays of a stream as they are written; the inbox alone where none is set."""
        text = self.transactional_relay if stream is Stream.TRANSACTIONAL else self.promotional_relay
        return parse_relays(text, f"MAILER_{stream.upper()}_RELAY")

    def captures(self, stream: Stream) -> bool:
        """Return whether a stream's mail stays in the inbox."""
        return self.relays(stream)[0].captures

    def base_url(self, stream: Stream) -> str:
        """Return the public address of a stream's links, without a slash at its end; empty where none is set."""
        own = self.transactional_public_url if stream is Stream.TRANSACTIONAL else self.promotional_public_url
        return (own or self.public_url).rstrip("/")

    def sender(self, stream: Stream) -> str:
        """Return the From of tenant `default` for a stream; empty where none is set."""
        own = self.transactional_from if stream is Stream.TRANSACTIONAL else self.promotional_from
        return own or self.from_


@lru_cache(maxsize=8)
def _networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(each.strip(), strict=False) for each in text.split(",") if each.strip())
    except ValueError:
        raise ConfigurationError(
            "MAILER_TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8, separated by commas"
        ) from None


def _check_url(text: str, setting: str) -> None:
    if text and not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[\w./-]*)?", text):
        raise ConfigurationError(f"{setting} must be an address such as https://mail.example.org")
