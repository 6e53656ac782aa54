"""Which fingerprints are one person's: one address by several keys, a former and the present address."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice, permutations
from typing import NamedTuple

from sqlalchemy import ColumnElement, SQLColumnExpression, any_, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlmodel import SQLModel

from suppression.entries.table import Kin, KinKind

#: Mailboxes a query; SQLite bounds the number of variables.
CHUNK = 2000

_kin = SQLModel.metadata.tables["suppression_kin"]


class _Tie(NamedTuple):
    own_key_id: str
    other: bytes
    key_id: str
    kind: KinKind


def among(column: ColumnElement[bytes] | SQLColumnExpression[bytes], *, arrays: bool) -> ColumnElement[bool]:
    """Return "the fingerprint is one of `prints`", on PostgreSQL one text whatever their number."""
    if arrays:
        return column == any_(bindparam("prints", type_=ARRAY(_kin.c.fingerprint.type)))
    return column.in_(bindparam("prints", expanding=True))


# Built once: building a statement costs more than running it.
_TIES = tuple(
    select(_kin.c.fingerprint, _kin.c.key_id, _kin.c.other, _kin.c.other_key_id, _kin.c.kind).where(
        _kin.c.tenant_id == bindparam("tenant"), among(_kin.c.fingerprint, arrays=arrays)
    )
    for arrays in (False, True)
)


def family(session: Session, tenant_id: int, prints: Sequence[bytes], *, mailbox: bool = False) -> tuple[bytes, ...]:
    """Return these fingerprints and all others of the same person; with `mailbox`, of the same address only."""
    found = families(session, tenant_id, prints, mailbox=mailbox)
    return tuple(dict.fromkeys((*prints, *(one for members in found.values() for one in members))))


def families(
    session: Session, tenant_id: int, prints: Sequence[bytes], *, mailbox: bool = False
) -> dict[bytes, tuple[bytes, ...]]:
    """Return for each of these fingerprints itself and all others of the same person or, with `mailbox`, address."""
    ties = _ties(session, tenant_id, prints)
    return {
        one: (one, *(tie.other for tie in ties.get(one, ()) if not mailbox or tie.kind is KinKind.KEY))
        for one in prints
    }


def keys_of(session: Session, tenant_id: int, prints: Sequence[bytes]) -> dict[bytes, str]:
    """Return which keys made these fingerprints; one of which no kin is known is left out."""
    return {one: ties[0].own_key_id for one, ties in _ties(session, tenant_id, prints).items()}


def relate(
    session: Session, tenant_id: int, groups: Iterable[Mapping[bytes, str]], kind: KinKind, now: datetime
) -> int:
    """Keep that the fingerprints of each group (fingerprint -> key id) are one person's; return how many ties are new.

    Whoever is kin of one becomes kin of all, so that a single step finds everybody however often keys were replaced.
    """
    made = 0
    remaining = (group for group in groups if len(group) > 1)
    while chunk := list(islice(remaining, CHUNK // 4)):
        made += _relate(session, tenant_id, chunk, kind, now)
    return made


def _relate(
    session: Session, tenant_id: int, groups: Sequence[Mapping[bytes, str]], kind: KinKind, now: datetime
) -> int:
    ties = _ties(session, tenant_id, list(dict.fromkeys(one for group in groups for one in group)))
    rows: dict[tuple[bytes, bytes], dict[str, object]] = {}
    for group in groups:
        known = {(one, tie.other) for one in group for tie in ties.get(one, ())}
        if all(pair in known for pair in permutations(group, 2)):
            continue
        members, mailboxes = _joined(group, ties, kind)
        for one, other in permutations(members, 2):
            if (one, other) not in known:
                same = mailboxes[one] == mailboxes[other]
                rows[one, other] = {
                    "tenant_id": tenant_id,
                    "fingerprint": one,
                    "other": other,
                    "key_id": members[one],
                    "other_key_id": members[other],
                    "kind": KinKind.KEY if same else KinKind.ADDRESS,
                    "at": now,
                }
    if rows:
        into = postgresql.insert(_kin) if _on_postgresql(session) else sqlite.insert(_kin)
        # In one order, so that two who write the same ties wait for each other and not in a circle.
        session.execute(into.on_conflict_do_nothing(), [rows[pair] for pair in sorted(rows)])
    return len(rows)


def _joined(
    group: Mapping[bytes, str], ties: Mapping[bytes, Sequence[_Tie]], kind: KinKind
) -> tuple[dict[bytes, str], dict[bytes, bytes]]:
    """Return everybody whom a group joins with their keys, and for each a name of the mailbox that it stands for."""
    members = dict(group)
    first = next(iter(group))
    mailboxes = {one: first if kind is KinKind.KEY else one for one in group}
    for one in group:
        for tie in ties.get(one, ()):
            members.setdefault(tie.other, tie.key_id)
            if tie.kind is KinKind.KEY:
                mailboxes[tie.other] = mailboxes[one]
    for other in members:
        mailboxes.setdefault(other, other)
    return members, mailboxes


def _ties(session: Session, tenant_id: int, prints: Collection[bytes]) -> dict[bytes, list[_Tie]]:
    statement, found = _TIES[_on_postgresql(session)], dict[bytes, list[_Tie]]()
    remaining = iter(prints)
    while chunk := list(islice(remaining, CHUNK)):
        for one, *tie in session.execute(statement, {"tenant": tenant_id, "prints": chunk}):
            found.setdefault(one, []).append(_Tie(*tie))
    return found


def _on_postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


__all__ = ["CHUNK", "Kin", "KinKind", "among", "families", "family", "keys_of", "relate"]
