"""People in the addresses of pages: by a fingerprint, since an address would stand in somebody's log (R10.11)."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from sqlmodel import Session

from mailer import emails, people
from mailer.errors import Invalid, NotFound, Problem
from mailer.models import Email
from mailer.users import accounts
from mailer.web.dashboard.asking import Asked
from suppression import address
from suppression.address import AddressError
from suppression.rules import Ender

_OPERATOR = f"{Ender.OPERATOR}:"
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_EMAIL_ID = re.compile(r"em_[0-9a-hjkmnp-tv-z]{26}")


class Person(NamedTuple):
    """Somebody of whom something is known."""

    #: None after erasure.
    address: str | None
    #: Every fingerprint of theirs.
    prints: tuple[bytes, ...]


def written(fingerprint: bytes) -> str:
    """Return a fingerprint as it stands in a path."""
    return fingerprint.hex()


def read(text: str) -> bytes | None:
    """Return the fingerprint of a path or query, None where it is none."""
    return bytes.fromhex(text) if _FINGERPRINT.fullmatch(text) else None


def by_fingerprint(session: Session, asked: Asked, text: str) -> Person:
    """Return the person of a path; raises `NotFound` where the tenant knows nobody by that."""
    fingerprint = read(text)
    found = people.find(session, asked.tenant_id, [fingerprint]) if fingerprint else None
    if fingerprint is None or found is None:
        raise NotFound("nobody is known by that")
    if found.address is None:
        return Person(None, found.family)
    # Older keys may have written what no kin tells of yet.
    return Person(found.address, tuple(dict.fromkeys((*_prints(asked, found.address), *found.family))))


def by_words(session: Session, asked: Asked, text: str) -> Email | bytes:
    """Return what somebody typed to find a person by: an email, by its id or Message-ID, or a person's fingerprint.

    That is written as the audit log names them, or as an address. Raises `Invalid` for `who` where it is none of these.
    """
    plain = text.strip().removeprefix("<").removesuffix(">")
    if (fingerprint := read(plain)) is not None:
        return fingerprint
    if (named := _EMAIL_ID.match(plain.lower())) and plain[len(named[0]) :][:1] in ("", "@"):
        try:
            return emails.get(session, asked.tenant_id, named[0])
        except NotFound:
            raise Invalid(Problem("who", "whom_no_email")) from None
    try:
        return _prints(asked, plain)[0]
    except AddressError as error:
        raise Invalid(Problem("who", str(error) if "@" in plain else "whom_neither")) from None


def operators(session: Session, written_down: Iterable[str]) -> dict[str, str]:
    """Return the names of the users among those who are written down as `operator:us_…`."""
    named = {each: each.removeprefix(_OPERATOR) for each in written_down if each.startswith(f"{_OPERATOR}us_")}
    users = accounts.by_ids(session, sorted(set(named.values())))
    return {text: users[user_id].name or users[user_id].email for text, user_id in named.items() if user_id in users}


def _prints(asked: Asked, text: str) -> tuple[bytes, ...]:
    return asked.service.intake.fingerprints.all_of(asked.tenant_id, address.parse(text).canonical)
