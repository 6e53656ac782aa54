"""The keys of a benchmark that signs, made anew for each run."""

from enum import StrEnum

from sqlmodel import Session

from mailer import keyring
from mailer.keyring import Keyring
from mailer.models import DkimAlgorithm
from mailer.service import Service


class Dkim(StrEnum):
    """With which kind of key mail is signed."""

    OFF = "off"
    RSA = "rsa"
    ED25519 = "ed25519"


_ALGORITHMS = {Dkim.RSA: DkimAlgorithm.RSA, Dkim.ED25519: DkimAlgorithm.ED25519}


async def make_key(service: Service, tenant_id: int, dkim: Dkim, domain: str) -> None:
    """Keep a key that signs the tenant's mail from now on; nobody asks the DNS for it."""
    if dkim is Dkim.OFF:
        return
    pair = keyring.generate(_ALGORITHMS[dkim])

    def verb(session: Session) -> None:
        ring: Keyring = service.keyring
        row = ring.add(session, tenant_id, domain, pair, selector="bench", now=service.now())
        keyring.activate(session, row, ring.signer(row), None, service.now())

    await service.database.run(verb)
