"""Whose hits may be written down, asked when they are written: every mode and the person's choice (spec section 9)."""

from collections.abc import Collection, Iterable
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, func, or_, select
from sqlmodel import Session, SQLModel

from mailer import database, people
from mailer.feedback.tracking import counting
from mailer.feedback.tracking.counting import About
from mailer.models import ConsentRule, Email, Opens, Tenant
from suppression.rules import Stream

_email, _tenant = (SQLModel.metadata.tables[str(model.__tablename__)] for model in (Email, Tenant))
#: What measures a hit, by whether a link was followed: the column of a mail, and behind the stream's name of a tenant.
_MEASURE = {False: "opens", True: "opens"}
_ALLOWED = [_tenant.c[f"{stream}_{measure}"] for stream in Stream for measure in sorted(set(_MEASURE.values()))]
_OF_MAIL = [
    _email.c[name]
    for name in (
        *("id", "tenant_id", "stream", "created_at", "provider", "topic", "template", "campaign_id", "tags"),
        *("address", "fingerprint", *sorted(set(_MEASURE.values()))),
    )
]
#: When the relay took it; while no answer is known, when it was asked to.
_SENT = func.coalesce(_email.c.sent_at, _email.c.intent_at, type_=_email.c.sent_at.type).label("handed_at")


class Mail(NamedTuple):
    """A mail whose hits may be tied to its person."""

    id: str
    about: About
    fingerprint: bytes
    address: str
    sent_at: datetime | None
    #: Whether loads of its picture may be, by False, and clicks, by True.
    measured: frozenset[bool]
    #: Nothing but the day of the person's last open may be kept.
    last_open_only: bool

    @property
    def sent_on(self) -> date:
        """Return the day on which it was sent."""
        return self.sent_at.date() if self.sent_at else self.about.day


def permitted(session: Session, wanted: Collection[str]) -> dict[str, Mail]:
    """Return the mails whose hits may be tied to their person.

    They are measured individually by everybody's leave (the mail's own mode, and what its tenant says today), they are
    not erased, and the person said yes, or has not said no, as the tenant's rule wants it.
    """
    if not wanted:
        return {}
    individually = [_email.c[measure] == Opens.INDIVIDUAL for measure in set(_MEASURE.values())]
    statement = (
        select(*_OF_MAIL, _SENT, _tenant.c.consent, _tenant.c.last_open_only, *_ALLOWED)
        .join(_tenant, _tenant.c.id == _email.c.tenant_id)
        .where(
            database.among(session, _email.c.id, sorted(wanted)),
            or_(*individually),
            _email.c.address.is_not(None),
            _email.c.fingerprint.is_not(None),
        )
    )
    found = [(row, measured) for row in session.execute(statement) if (measured := _measured(row))]
    people_of: dict[int, set[bytes]] = {}
    for row, _ in found:
        people_of.setdefault(row.tenant_id, set()).add(row.fingerprint)
    said = {tenant: people.tracking_choices(session, tenant, who) for tenant, who in people_of.items()}
    return {
        row.id: Mail(*(row.id, _about(row), row.fingerprint, row.address, row.handed_at), measured, row.last_open_only)
        for row, measured in found
        if _may_measure(row.consent, said[row.tenant_id].get(row.fingerprint))
    }


def known(session: Session, wanted: Collection[str]) -> dict[str, tuple[About, datetime | None]]:
    """Return what mails count in, and when they were sent, whatever may be written down of them today."""
    statement = select(*_OF_MAIL, _SENT).where(database.among(session, _email.c.id, sorted(wanted)))
    return {row.id: (_about(row), row.handed_at) for row in session.execute(statement)}


def counted(session: Session, wanted: Iterable[tuple[int, Stream, bool]]) -> set[tuple[int, Stream, bool]]:
    """Return in which of these streams of tenants loads (False) and clicks (True) are still counted at all."""
    asked = set(wanted)
    if not asked:
        return set()
    statement = select(_tenant.c.id, *_ALLOWED).where(_tenant.c.id.in_({tenant for tenant, _, _ in asked}))
    tenants = {row.id: row for row in session.execute(statement)}
    return {
        each for each in asked if each[0] in tenants and _allowed(tenants[each[0]], each[1], each[2]) is not Opens.OFF
    }


def _measured(row: Row[Any]) -> frozenset[bool]:
    both = {
        clicked: (row._mapping[measure], _allowed(row, row.stream, clicked)) for clicked, measure in _MEASURE.items()
    }
    return frozenset(clicked for clicked, modes in both.items() if set(modes) == {Opens.INDIVIDUAL})


def _allowed(row: Row[Any], stream: Stream, clicked: bool) -> Opens:
    return Opens(row._mapping[f"{stream}_{_MEASURE[clicked]}"])


def _about(row: Row[Any]) -> About:
    return counting.about(
        *(row.tenant_id, row.created_at.date(), row.stream),
        tags=row.tags,
        topic=row.topic,
        template=row.template,
        campaign=row.campaign_id,
        provider=row.provider,
    )


def _may_measure(rule: ConsentRule, choice: bool | None) -> bool:
    return choice is True if rule is ConsentRule.REQUIRED else choice is not False
