"""A message in words: what an event says, and the email that it is about, as they stand when it is sent.

An address is looked up then, and kept in no message: who was erased meanwhile is not named any more.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Row, select
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.models import Email, Event

_event, _email = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Event, Email))
_ABOUT = ("id", "address", "stream", "topic", "template", "campaign_id", "tags", "metadata")


class Due(NamedTuple):
    """A message that was claimed."""

    number: int
    message_id: str
    kind: str
    email_id: str | None
    at: datetime
    tries: int


class Parcel(NamedTuple):
    """A message ready to be sent."""

    due: Due
    body: bytes


def put_into_words(session: Session, messages: Sequence[Due]) -> list[Parcel]:
    """Return each message with its body; what it is about is looked up in two statements, however many they are."""
    told = _rows(session, _event, ("id", "data"), {each.message_id for each in messages})
    emails = _rows(session, _email, _ABOUT, {each.email_id for each in messages if each.email_id})
    parcels = []
    for each in messages:
        event = told.get(each.message_id)
        data = {**_about(emails.get(each.email_id or "")), **((event.data if event else None) or {})}
        if each.email_id is not None:
            data["email_id"] = each.email_id
        body = {"type": each.kind, "timestamp": each.at, "data": data}
        parcels.append(Parcel(each, orjson.dumps(body, option=orjson.OPT_UTC_Z)))
    return parcels


def _rows(session: Session, table: Any, columns: Iterable[str], wanted: set[str]) -> Mapping[str, Row[Any]]:
    if not wanted:
        return {}
    statement = select(*(table.c[name] for name in columns))
    found = session.execute(statement.where(database.among(session, table.c.id, sorted(wanted))))
    return {row.id: row for row in found}


def _about(email: Row[Any] | None) -> dict[str, object]:
    if email is None:
        return {}
    return {
        "to": email.address,
        "stream": email.stream,
        "topic": email.topic,
        "template": email.template,
        "campaign_id": email.campaign_id,
        "tags": email.tags or {},
        "metadata": email.metadata or {},
    }
