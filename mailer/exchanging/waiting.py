"""Lists that somebody uploaded to look at first: kept until they are brought in, for a day at most."""

import zlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import ColumnElement
from sqlmodel import Session, SQLModel, col, delete, select

from mailer import ids
from mailer.errors import NotFound
from mailer.models import ListUpload

#: How large a list may be that waits; larger ones go in as a stream.
MOST = 5 * 1024 * 1024
_KEPT = timedelta(days=1)
_upload = SQLModel.metadata.tables[str(ListUpload.__tablename__)]


class Waiting(NamedTuple):
    """A list, and how it is read: the words of whoever uploaded it, as `options_of` takes them."""

    form: str
    reason: str
    scope: str
    topics: Sequence[str]
    #: The list, compressed: before a transaction begins, for a megabyte takes a while.
    packed: bytes

    @property
    def data(self) -> bytes:
        """Return the list as it was uploaded."""
        return zlib.decompress(self.packed)


def pack(data: bytes) -> bytes:
    """Return a list as it waits."""
    return zlib.compress(data)


def keep(session: Session, tenant_id: int, user_id: str, waiting: Waiting, now: datetime) -> str:
    """Keep a list for whoever uploaded it and return its id; one that they uploaded before is forgotten."""
    session.execute(delete(ListUpload).where(*_of(tenant_id, user_id)))
    options: dict[str, object] = {name: value for name, value in waiting._asdict().items() if name != "packed"}
    row = ListUpload(
        id=ids.new("lu", now),
        tenant_id=tenant_id,
        user_id=user_id,
        options={**options, "topics": list(waiting.topics)},
        data=waiting.packed,
        created_at=now,
    )
    session.add(row)
    session.flush()
    return row.id


def find(session: Session, tenant_id: int, user_id: str, upload_id: str) -> Waiting:
    """Return a list that waits; raises `NotFound` where it was brought in, or waited too long."""
    row = session.exec(select(ListUpload).where(*_of(tenant_id, user_id), col(ListUpload.id) == upload_id)).first()
    if row is None:
        raise NotFound("this list waits no longer: choose the file again")
    topics = row.options["topics"]
    return Waiting(
        str(row.options["form"]),
        str(row.options["reason"]),
        str(row.options["scope"]),
        [str(each) for each in topics] if isinstance(topics, list) else [],
        row.data,
    )


def drop(session: Session, tenant_id: int, user_id: str) -> None:
    """Forget what a user uploaded."""
    session.execute(delete(ListUpload).where(*_of(tenant_id, user_id)))


def forget(session: Session, now: datetime) -> None:
    """Forget what has waited for a day."""
    session.execute(_upload.delete().where(_upload.c.created_at < now - _KEPT))


def _of(tenant_id: int, user_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return col(ListUpload.tenant_id) == tenant_id, col(ListUpload.user_id) == user_id
