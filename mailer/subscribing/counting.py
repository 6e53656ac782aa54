"""Whoever asks for a mail at the same moment waits until the one before is counted."""

import hashlib
from collections.abc import Iterable

from sqlalchemy import text
from sqlmodel import Session

from mailer import database

#: An advisory lock's class; the second number is a hash of what is counted.
_COUNTING = 7203


def one_at_a_time(session: Session, counted: Iterable[bytes]) -> None:
    """Hold the locks of what is counted until the transaction ends; SQLite has one writer anyway."""
    if not database.on_postgresql(session):
        return
    # In one order, so that two requests never wait for each other.
    for number in sorted(
        int.from_bytes(hashlib.blake2b(each, digest_size=4).digest(), signed=True) for each in counted
    ):
        session.execute(text(f"SELECT pg_advisory_xact_lock({_COUNTING}, {number})"))
