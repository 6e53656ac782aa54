"""Keys: from the settings, else made up at the first start and kept in the data folder."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from mailer.errors import ConfigurationError
from mailer.sealing import Seals
from mailer.settings import Settings
from suppression.address import Fingerprints
from suppression.keys import KeyRingError
from suppression.token import Ring


def data_folder(settings: Settings) -> Path:
    """Return the data folder, made if need be; raises `ConfigurationError` where it cannot be used."""
    folder = settings.folder
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"MAILER_DATA_DIR: {folder} is a file: name a folder")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{secrets.token_hex(8)}"
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
    folder = data_folder(settings)
    path = folder / name
    if path.exists():
        return path.read_text().strip()
    fresh = folder / f".{name}-{secrets.token_hex(8)}"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"k1:{secrets.token_hex(32)}\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link appears whole or not at all: nobody reads half a key, neither now nor after a crash.
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    _sync(folder)
    return path.read_text().strip()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def token_ring(settings: Settings) -> Ring:
    """Return the ring that signs links."""
    try:
        return Ring(settings.secret_keys or _kept(settings, "secret-keys"))
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SECRET_KEYS: {error}") from error


def seals(settings: Settings) -> Seals:
    """Return what seals private keys at rest."""
    try:
        return Seals(settings.secret_keys or _kept(settings, "secret-keys"), "dkim")
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SECRET_KEYS: {error}") from error


def fingerprints(settings: Settings) -> Fingerprints:
    """Return the ring that fingerprints addresses."""
    try:
        return Fingerprints(settings.suppression_key or _kept(settings, "suppression-key"))
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SUPPRESSION_KEY: {error}") from error
