"""The second factor of a user: a secret in their device, codes that are good once, and codes for when it is lost."""

import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, func, update
from sqlmodel import Session, SQLModel, col, select

from mailer.errors import Conflict
from mailer.models import RecoveryCode, User
from mailer.sealing import Seals
from mailer.users import totp
from mailer.users.signing import digest_of

#: For what the secrets are sealed.
SEALED_FOR = "second factor"
#: How many recovery codes a user gets at once.
CODES = 10
#: No letters that look like digits; twelve of them are 60 bits.
_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"
_user = SQLModel.metadata.tables[str(User.__tablename__)]


def begin(session: Session, user: User, seals: Seals) -> bytes:
    """Return the secret that a user is about to put into a device: the same until its first code confirms it."""
    if user.totp_at is not None:
        raise Conflict("the second factor is on already: turn it off first")
    if user.totp is None:
        user.totp = seals.seal(secrets.token_bytes(totp.SECRET_OCTETS), _place(user))
        session.add(user)
        session.flush()
    return seals.open(user.totp, _place(user))


def confirm(session: Session, user: User, seals: Seals, typed: str, now: datetime) -> bool:
    """Turn the second factor on where the device shows the right code, and return whether it did."""
    if user.totp is None or user.totp_at is not None or not proves(session, user, seals, typed, now):
        return False
    user.totp_at = now
    session.add(user)
    session.flush()
    return True


def proves(session: Session, user: User, seals: Seals, typed: str, now: datetime) -> bool:
    """Return whether a code is the device's, and use it up: of two at once one is taken (RFC 6238 section 5.2)."""
    if user.totp is None:
        return False
    secret = seals.open(user.totp, _place(user))
    step = totp.matching(secret, typed, now, after=user.totp_step)
    if step is None:
        return False
    used = update(_user).where(_user.c.id == user.id, _user.c.totp_step < step).values(totp_step=step)
    taken = session.execute(used.returning(_user.c.id)).first() is not None
    session.refresh(user)
    return taken


def end(session: Session, user: User) -> None:
    """Turn the second factor off; its codes die."""
    user.totp, user.totp_at = None, None
    session.add(user)
    session.execute(delete(RecoveryCode).where(col(RecoveryCode.user_id) == user.id))
    session.flush()


def make_codes(session: Session, user: User) -> Sequence[str]:
    """Return fresh recovery codes, shown this once; the earlier ones die."""
    session.execute(delete(RecoveryCode).where(col(RecoveryCode.user_id) == user.id))
    made = ["-".join("".join(secrets.choice(_LETTERS) for _ in range(4)) for _ in range(3)) for _ in range(CODES)]
    session.add_all(RecoveryCode(user_id=user.id, digest=_digest(user, code)) for code in made)
    session.flush()
    return made


def codes_left(session: Session, user: User) -> int:
    """Return how many recovery codes a user has not used."""
    mine = select(func.count()).select_from(RecoveryCode).where(col(RecoveryCode.user_id) == user.id)
    return session.exec(mine).one()


def spend_code(session: Session, user: User, typed: str) -> bool:
    """Use a recovery code up and return whether it was one; of two at once one is taken."""
    spent = delete(RecoveryCode).where(
        col(RecoveryCode.user_id) == user.id, col(RecoveryCode.digest) == _digest(user, typed)
    )
    return session.execute(spent.returning(col(RecoveryCode.digest))).first() is not None


def reseal(session: Session, seals: Seals) -> int:
    """Seal every secret with the first key of the ring; return how many were sealed with another one."""
    changed = 0
    for user in session.exec(select(User).where(col(User.totp).is_not(None)).order_by(User.id).with_for_update()):
        assert user.totp is not None
        if Seals.key_of(user.totp) != seals.primary_id:
            user.totp = seals.seal(seals.open(user.totp, _place(user)), _place(user))
            session.add(user)
            changed += 1
    session.flush()
    return changed


def _digest(user: User, code: str) -> str:
    plain = "".join(letter for letter in code.lower() if letter.isalnum())
    return digest_of(f"{user.id}:{plain}")


def _place(user: User) -> str:
    return f"the second factor of {user.id}"
