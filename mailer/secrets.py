"""Keys: from the settings, else made up at the first start and kept in the data folder."""

import os
import secrets
from contextlib import suppress
from enum import StrEnum
from itertools import count
from pathlib import Path

from mailer.errors import ConfigurationError
from mailer.sealing import Seals
from mailer.settings import Settings
from suppression.address import Fingerprints
from suppression.keys import KeyRingError, parse_ring
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
    _write(fresh, f"k1:{secrets.token_hex(32)}\n")
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


class RingName(StrEnum):
    """The two rings: the file in the data folder that keeps each, where its setting is empty."""

    SECRET_KEYS = "secret-keys"
    SUPPRESSION_KEY = "suppression-key"

    @property
    def setting(self) -> str:
        """Return the setting that holds the ring."""
        return "MAILER_" + self.name


def ring_text(settings: Settings, name: RingName) -> str:
    """Return a ring as its setting holds it, or as it is kept in the data folder."""
    return _set(settings, name) or _kept(settings, name)


def is_kept(settings: Settings, name: RingName) -> bool:
    """Return whether a ring lies in the data folder, where a command may rewrite it."""
    return not _set(settings, name)


def rewrite(settings: Settings, name: RingName, ring: str) -> Path:
    """Put another ring in the place of a kept one, whole or not at all, and return where it lies."""
    parse_ring(ring)
    folder = data_folder(settings)
    path = folder / name
    fresh = folder / f".{name}-{secrets.token_hex(8)}"
    try:
        _write(fresh, ring + "\n")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _sync(folder)
    return path


def save(path: Path, ring: str) -> None:
    """Write a backup of a ring that only its owner can read; raises `FileExistsError` where there is a file already."""
    _write(path, ring + "\n")


def with_new(ring: str, *, first: bool) -> str:
    """Return a ring with one more key, made up now, in front or behind."""
    known = parse_ring(ring)
    number = next(number for number in count(1) if f"k{number}" not in known)
    fresh = f"k{number}:{secrets.token_hex(32)}"
    return f"{fresh},{ring}" if first else f"{ring},{fresh}"


def without(ring: str, key_id: str) -> str:
    """Return a ring without one of its keys."""
    return ",".join(item for item in map(str.strip, ring.split(",")) if item.partition(":")[0] != key_id)


def fronted(ring: str, key_id: str) -> str:
    """Return a ring with this key as its first."""
    items = [item.strip() for item in ring.split(",")]
    return ",".join(sorted(items, key=lambda item: item.partition(":")[0] != key_id))


def _set(settings: Settings, name: RingName) -> str:
    return settings.secret_keys if name is RingName.SECRET_KEYS else settings.suppression_key


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def token_ring(settings: Settings) -> Ring:
    """Return the ring that signs links."""
    try:
        return Ring(settings.secret_keys or _kept(settings, "secret-keys"))
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SECRET_KEYS: {error}") from error


def seals(settings: Settings, purpose: str = "dkim") -> Seals:
    """Return what seals private keys at rest, or the secrets of webhooks."""
    try:
        return Seals(settings.secret_keys or _kept(settings, "secret-keys"), purpose)
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SECRET_KEYS: {error}") from error


def fingerprints(settings: Settings) -> Fingerprints:
    """Return the ring that fingerprints addresses."""
    try:
        return Fingerprints(settings.suppression_key or _kept(settings, "suppression-key"))
    except KeyRingError as error:
        raise ConfigurationError(f"MAILER_SUPPRESSION_KEY: {error}") from error
