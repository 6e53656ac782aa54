"""Keys: from the settings, else made up at the first start and kept in the data folder."""

import os
import secrets
from pathlib import Path

from mailer.errors import ConfigurationError
from mailer.settings import Settings
from suppression.address import Fingerprints
from suppression.keys import KeyRingError
from suppression.token import Ring


def data_folder(settings: Settings) -> Path:
    """Return the data folder, made if need be; raises `ConfigurationError` where it cannot be used."""
    folder = settings.folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"MAILER_DATA_DIR: the folder {folder} cannot be written ({error.strerror}): "
            "choose another one, or mend its rights"
        ) from error
    return folder


def _kept(settings: Settings, name: str) -> str:
    """Return a ring kept in the data folder; the first process to ask makes it up."""
    path = data_folder(settings) / name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text().strip()
    with os.fdopen(descriptor, "w") as file:
        ring = f"k1:{secrets.token_hex(32)}"
        file.write(ring + "\n")
        file.flush()
        os.fsync(file.fileno())
    return ring


def token_ring(settings: Settings) -> Ring:
    """Return the ring that signs links."""
    try:
        return Ring(settings.secret_keys or _kept(settings, "secret-keys"))
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SECRET_KEYS: {error}") from error


def fingerprints(settings: Settings) -> Fingerprints:
    """Return the ring that fingerprints addresses."""
    try:
        return Fingerprints(settings.suppression_key or _kept(settings, "suppression-key"))
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SUPPRESSION_KEY: {error}") from error
