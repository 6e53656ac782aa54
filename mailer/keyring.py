"""DKIM keys: made, activated, retired; and which of them sign a mail."""

import logging
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from sqlmodel import Session, SQLModel, col, select

from mailer import database, secrets, tenancy
from mailer.compose.dkim import PrivateKey, Signer
from mailer.errors import ConfigurationError, Conflict, Invalid, MailerError, NotFound, Problem
from mailer.models import DkimAlgorithm, DkimKey, Tenant
from mailer.published import Verdict
from mailer.sealing import SealBroken, Seals
from mailer.settings import Settings
from suppression import address
from suppression.rules import Stream

logger = logging.getLogger(__name__)

_RSA_BITS = 2048
_SELECTOR = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
#: What a record may say while its key signs; without an answer an earlier one counts.
_TRUSTED = frozenset({Verdict.MATCHES, Verdict.UNANSWERED})


class NotPublished(Conflict):
    """A key may not sign yet: the DNS does not hold its record."""


@dataclass(slots=True)
class Usable:
    """The keys with which a tenant signs now, the first choice first."""

    #: Each with the stream that it is for; None for both.
    keys: Sequence[tuple[Stream | None, Signer]]
    _chosen: dict[tuple[Stream, str], Sequence[Signer]] = field(default_factory=dict)

    def signers(self, stream: Stream, from_domain: str) -> Sequence[Signer]:
        """Return who signs mail of this stream and From domain (in A-labels): at most one an algorithm.

        A key counts where its domain is that of the From or above it (RFC 9989: aligned); the stream's own keys come
        before those of both, then the closer domain, then the later activated.
        """
        wanted = (stream, from_domain)
        if wanted not in self._chosen:
            fitting = [
                (own, signer) for own, signer in self.keys if own in {None, stream} and aligned(signer, from_domain)
            ]
            fitting.sort(key=lambda each: (each[0] is None, -len(each[1].domain)))
            best: dict[str, Signer] = {}
            for _, signer in fitting:
                best.setdefault(signer.algorithm, signer)
            self._chosen[wanted] = tuple(best.values())
        return self._chosen[wanted]


class Keyring:
    """The keys that a process can use: those kept sealed in the database, and the key file of tenant `default`."""

    def __init__(self, seals: Seals, file: Signer | None = None) -> None:
        """Take what opens the sealed keys, and the signer of the key file."""
        self._seals, self.file = seals, file
        self._opened: dict[bytes, Signer] = {}
        self._broken: set[int] = set()

    @classmethod
    def build(cls, settings: Settings) -> Self:
        """Return the ring of these settings; raises `ConfigurationError` where the key file cannot be used."""
        return cls(secrets.seals(settings), _file_signer(settings))

    def doubt(self, check: Callable[[Signer], Verdict]) -> Verdict | None:
        """Ask what the DNS says of the key file, and sign with it no more where that is another key (R8.5).

        It may take seconds and holds no session. None: there is no key file.
        """
        if self.file is None:
            return None
        verdict = check(self.file)
        if verdict not in _TRUSTED:
            logger.warning("MAILER_DKIM_KEY_FILE does not sign: %s", unpublished(self.file, verdict))
            self.file = None
        elif verdict is Verdict.UNANSWERED:
            logger.warning("the DNS did not say whether %s is published; it signs all the same", self.file.name)
        return verdict

    def signer(self, key: DkimKey) -> Signer:
        """Return what signs with a kept key, or raise `SealBroken`."""
        if key.private_key not in self._opened:
            plain = self._seals.open(key.private_key, _place(key.tenant_id, key.domain, key.selector))
            # The seal vouches for it, and the checks of a loaded RSA key cost as much as a hundred signatures.
            loaded = load_der_private_key(plain, None, unsafe_skip_rsa_key_validation=True)
            self._opened[key.private_key] = Signer(key.domain, key.selector, _usable(loaded))
        return self._opened[key.private_key]

    def reseal(self, session: Session) -> int:
        """Seal every kept key with the first key of the ring; return how many were sealed with another one."""
        changed = 0
        for row in session.exec(select(DkimKey).order_by(col(DkimKey.id)).with_for_update()):
            if Seals.key_of(row.private_key) != self._seals.primary_id:
                place = _place(row.tenant_id, row.domain, row.selector)
                row.private_key = self._seals.seal(self._seals.open(row.private_key, place), place)
                session.add(row)
                changed += 1
        session.flush()
        return changed

    def usable(self, session: Session, tenant_id: int) -> Usable:
        """Return the keys with which a tenant signs now; one that does not open is left out with a warning."""
        mine = select(DkimKey).where(DkimKey.tenant_id == tenant_id, col(DkimKey.retired_at).is_(None))
        active = mine.where(col(DkimKey.active_at).is_not(None))
        rows = session.exec(active.order_by(col(DkimKey.active_at).desc(), col(DkimKey.id).desc())).all()
        found: list[tuple[Stream | None, Signer]] = []
        for row in rows:
            try:
                found.append((row.stream, self.signer(row)))
            except SealBroken as error:
                if row.id is not None and row.id not in self._broken:
                    self._broken.add(row.id)
                    logger.warning("a key does not sign: %s", error)
        if self.file is not None and session.get_one(Tenant, tenant_id).key == tenancy.DEFAULT:
            found.append((None, self.file))
        return Usable(found)

    def add(
        self,
        session: Session,
        tenant_id: int,
        domain: str,
        pair: PrivateKey,
        *,
        selector: str | None = None,
        stream: Stream | None = None,
        now: datetime,
    ) -> DkimKey:
        """Keep a pair for a domain; it signs nothing before `activate`. Without a selector, one is made of the day."""
        name = _domain(domain)
        algorithm = DkimAlgorithm.RSA if isinstance(pair, RSAPrivateKey) else DkimAlgorithm.ED25519
        if selector is not None and not _SELECTOR.fullmatch(selector):
            raise Invalid(Problem("selector", "must be 1 to 63 lower-case letters, digits and hyphens"))
        chosen = selector or _free_selector(session, name, stream, algorithm, now)
        try:
            Signer(name, chosen, pair)
        except ValueError as error:
            raise Invalid(Problem("key", str(error))) from None
        plain = pair.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        row = DkimKey(
            tenant_id=tenant_id,
            stream=stream,
            domain=name,
            selector=chosen,
            algorithm=algorithm,
            private_key=self._seals.seal(plain, _place(tenant_id, name, chosen)),
            created_at=now,
        )
        statement = database.insert(session, SQLModel.metadata.tables["dkim_key"]).values(
            row.model_dump(exclude={"id"})
        )
        statement = statement.on_conflict_do_nothing(index_elements=["domain", "selector"])
        made = session.execute(statement.returning(SQLModel.metadata.tables["dkim_key"].c.id)).scalar_one_or_none()
        if made is None:
            raise Conflict(f"{name} has a key {chosen} already: a selector is used once, choose another one")
        return session.get_one(DkimKey, made)


def generate(algorithm: DkimAlgorithm) -> PrivateKey:
    """Return a fresh pair: RSA-2048, which takes a tenth of a second, or ed25519."""
    if algorithm is DkimAlgorithm.RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    return Ed25519PrivateKey.generate()


def keys(session: Session, tenant_id: int) -> Sequence[DkimKey]:
    """Return a tenant's keys, the oldest first."""
    return session.exec(select(DkimKey).where(DkimKey.tenant_id == tenant_id).order_by(col(DkimKey.id))).all()


def find(session: Session, tenant_id: int, domain: str, selector: str) -> DkimKey:
    """Return one key of a tenant, or raise `NotFound`."""
    named = select(DkimKey).where(DkimKey.tenant_id == tenant_id, DkimKey.domain == _domain(domain))
    found = session.exec(named.where(DkimKey.selector == selector)).one_or_none()
    if found is None:
        raise NotFound(f"there is no key {selector} of {domain}")
    return found


def activate(session: Session, key: DkimKey, signer: Signer, verdict: Verdict | None, now: datetime) -> DkimKey:
    """Let a key sign, of whose record the DNS said this; None where the operator vouches for it.

    Raises `NotPublished` where the record is not there as it must be, `Conflict` where the key is retired.
    """
    if key.retired_at is not None:
        raise Conflict(f"{signer.name} is retired: make a new key with another selector")
    if verdict not in {Verdict.MATCHES, None}:
        raise NotPublished(unpublished(signer, verdict))
    if key.active_at is None:
        key.active_at = now
        session.add(key)
        session.flush()
    return key


def retire(session: Session, key: DkimKey, now: datetime) -> DkimKey:
    """End a key: workers sign with it no more within seconds."""
    if key.retired_at is None:
        key.retired_at = now
        session.add(key)
        session.flush()
    return key


_WHY = {
    Verdict.MISSING: "there is no TXT record",
    Verdict.DIFFERS: "the TXT record holds another key, or there are several",
    Verdict.REVOKED: "the TXT record has an empty p=, which revokes the key,",
    Verdict.UNANSWERED: "no DNS server answered for the TXT record",
}


def unpublished(signer: Signer, verdict: Verdict | None) -> str:
    """Return why the DNS does not let a key sign, and what to publish."""
    why = _WHY.get(verdict) if verdict is not None else None
    return f"{why or 'nothing is known of the TXT record'} at {signer.name}; publish there: {signer.record}"


def aligned(signer: Signer, from_domain: str) -> bool:
    """Return whether a signature counts for a From domain: its own, or one above it."""
    return f".{from_domain.lower()}".endswith(f".{signer.domain}")


def _file_signer(settings: Settings) -> Signer | None:
    if not settings.dkim_key_file:
        return None
    try:
        data = Path(settings.dkim_key_file).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"MAILER_DKIM_KEY_FILE cannot be read: {error.strerror}") from error
    try:
        key = _usable(load_pem_private_key(data, None))
    except (ValueError, TypeError, UnsupportedAlgorithm, MailerError):
        raise ConfigurationError(
            "MAILER_DKIM_KEY_FILE must hold one private key as PEM, RSA or ed25519, without a password"
        ) from None
    try:
        signer = Signer(_domain(settings.dkim_domain), settings.dkim_selector, key)
    except ValueError as error:
        raise ConfigurationError(f"MAILER_DKIM_DOMAIN, MAILER_DKIM_SELECTOR or MAILER_DKIM_KEY_FILE: {error}") from None
    domains = _from_domains(settings)
    if domains and not any(aligned(signer, domain) for domain in domains):
        raise ConfigurationError(
            f"MAILER_DKIM_DOMAIN must be the domain of MAILER_FROM ({', '.join(domains)}) or one above it,"
            f" not {signer.domain}: receivers would not count the signature"
        )
    return signer


def _from_domains(settings: Settings) -> Sequence[str]:
    domains: set[str] = set()
    for stream in Stream:
        # One that is set and malformed is named where it is stored.
        with suppress(Invalid):
            if sender := settings.sender(stream):
                domains.add(tenancy.parse_from(sender).address.rpartition("@")[2])
    return sorted(domains)


def _usable(key: object) -> PrivateKey:
    if isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        return key
    raise MailerError("DKIM signs with RSA or ed25519 keys only")


def _domain(text: str) -> str:
    """Return a domain in A-labels, or raise `Invalid`."""
    try:
        return address.parse(f"postmaster@{text}").envelope.rpartition("@")[2]
    except address.AddressError:
        raise Invalid(Problem("domain", f"{text!r} is not a domain such as example.org")) from None


def _place(tenant_id: int, domain: str, selector: str) -> str:
    return f"the DKIM key {selector}._domainkey.{domain} of tenant {tenant_id}"


def _free_selector(
    session: Session, domain: str, stream: Stream | None, algorithm: DkimAlgorithm, now: datetime
) -> str:
    kind = "e" if algorithm is DkimAlgorithm.ED25519 else ""
    first = f"{stream[0] if stream else 'm'}{now:%Y%m%d}{kind}"
    taken = set(session.exec(select(DkimKey.selector).where(DkimKey.domain == domain)))
    return (
        first
        if first not in taken
        else next(name for number in range(2, len(taken) + 3) if (name := f"{first}-{number}") not in taken)
    )
