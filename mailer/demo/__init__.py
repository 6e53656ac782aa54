"""The sample company: settings of its own, its people, its mail, the play they are in, and a week of their past."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from mailer.demo.history import live
from mailer.demo.playing import PATIENCE, Outcome, play, unsettled, way_in
from mailer.demo.samples import FROM, POSTAL_ADDRESS
from mailer.settings import Settings

__all__ = ["PATIENCE", "Outcome", "live", "play", "settings", "unsettled", "way_in"]

_FOLDER = "demo"
_READ = "MAILER_DATA_DIR"


def settings(environ: Mapping[str, str]) -> Settings:
    """Return the demo's settings: a folder of its own and the inbox, whatever else the environment says.

    A setting that nobody knows is refused here too, since it is a slip of the pen.
    """
    ignored = {f"MAILER_{field.name.rstrip('_').upper()}" for field in fields(Settings)} - {_READ}
    ignored |= {"DATABASE_URL", "REDIS_URL"}
    given = Settings.read({name: value for name, value in environ.items() if name not in ignored})
    return Settings(data_dir=str(Path(given.data_dir) / _FOLDER), from_=FROM, postal_address=POSTAL_ADDRESS)
