"""Keys are made up once, kept, and the same for whoever asks at the same moment."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from mailer import secrets
from mailer.errors import ConfigurationError
from mailer.settings import Settings
from suppression.token import Purpose


def test_keys_are_made_up_at_the_first_start_and_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"))
    token = secrets.token_ring(settings).sign(Purpose.VIEW, b"payload")
    assert secrets.token_ring(settings).verify(Purpose.VIEW, token) == b"payload"
    assert secrets.fingerprints(settings).primary_id == secrets.fingerprints(settings).primary_id


def test_nobody_else_may_read_them(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path / "data"))
    secrets.token_ring(settings)
    secrets.fingerprints(settings)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").iterdir()}
    assert modes == {"secret-keys": 0o600, "suppression-key": 0o600}
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_settings_come_before_what_is_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=str(tmp_path), secret_keys="k9:" + "z" * 32, suppression_key="s9:" + "z" * 32)
    assert secrets.token_ring(settings).primary_id == "k9"
    assert secrets.fingerprints(settings).primary_id == "s9"
    assert not list(tmp_path.iterdir())


def test_a_malformed_ring_is_a_sentence_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^MAILER_SECRET_KEYS: "):
        secrets.token_ring(Settings(data_dir=str(tmp_path), secret_keys="short"))
    with pytest.raises(ConfigurationError, match=r"^MAILER_SUPPRESSION_KEY: "):
        secrets.fingerprints(Settings(data_dir=str(tmp_path), suppression_key="short"))


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match="is a file"):
        secrets.data_folder(Settings(data_dir=str(tmp_path / "data")))


def _sign(folder: str, start: object, answers: object) -> None:
    start.wait()  # type: ignore[attr-defined]
    try:
        answers.put(secrets.token_ring(Settings(data_dir=folder)).sign(Purpose.VIEW, b"x"))  # type: ignore[attr-defined]
    except ConfigurationError as error:
        answers.put(f"failed: {error}")  # type: ignore[attr-defined]


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        start, answers = context.Event(), context.Queue()
        folder = str(tmp_path / str(attempt))
        processes = [context.Process(target=_sign, args=(folder, start, answers)) for _ in range(8)]
        for process in processes:
            process.start()
        start.set()
        tokens = {answers.get(timeout=20) for _ in processes}
        for process in processes:
            process.join()
        assert len(tokens) == 1, tokens
        assert not next(iter(tokens)).startswith("failed")
