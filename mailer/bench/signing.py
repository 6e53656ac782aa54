"""The keys of a benchmark that signs, made anew for each run."""

import stat
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_DOMAIN = "ringwise.example"
_SELECTOR = "bench"
_RSA_BITS = 2048


class Dkim(StrEnum):
    """With which kind of key mail is signed."""

    OFF = "off"
    RSA = "rsa"
    ED25519 = "ed25519"


def settings(dkim: Dkim, folder: Path) -> Mapping[str, str]:
    """Return the settings that make the workers sign, with a key kept in the folder; none where nothing is signed."""
    if dkim is Dkim.OFF:
        return {}
    key = rsa.generate_private_key(65537, _RSA_BITS) if dkim is Dkim.RSA else ed25519.Ed25519PrivateKey.generate()
    path = folder / "dkim.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    return {"MAILER_DKIM_DOMAIN": _DOMAIN, "MAILER_DKIM_SELECTOR": _SELECTOR, "MAILER_DKIM_KEY_FILE": str(path)}
