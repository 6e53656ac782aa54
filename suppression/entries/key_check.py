"""The start check: another key would make every stored opt-out invisible."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session
from sqlmodel import col

from suppression.address import Fingerprints
from suppression.entries.table import KeyProof, insert_new


class WrongKey(Exception):
    """The ring of suppression keys is not the one this database was built with."""


def check_keys(session: Session, fingerprints: Fingerprints, now: datetime) -> None:
    """Record the keys at their first use; raise WrongKey when this database was built with others.

    A key that was retired may be missing, and makes no fingerprint any more.
    """
    stored, retired = _stored_proofs(session), retired_keys(session)
    if fingerprints.primary_id in retired:
        raise WrongKey(
            f"the suppression key {fingerprints.primary_id} is retired and cannot be the first of the ring: "
            "put a key in front that is in use"
        )
    if missing := stored.keys() - fingerprints.proof().keys() - retired:
        raise WrongKey(
            f"the suppression keys {', '.join(sorted(missing))} made entries of this database and are not in the ring: "
            "put them back behind the first key, or every opt-out they keep is lost"
        )
    for key_id, proof in fingerprints.proof().items():
        if key_id not in stored:
            row: dict[str, object] = {"key_id": key_id, "proof": proof, "created_at": now}
            insert_new(session, KeyProof, [row], ["key_id"])
    stored = _stored_proofs(session)  # another process may have recorded its own at the same moment
    if changed := [key_id for key_id, proof in fingerprints.proof().items() if stored[key_id] != proof]:
        raise WrongKey(
            f"the suppression key {', '.join(changed)} is not the secret this database was built with: "
            "put the old secret back, and give a new one an id of its own"
        )


def retired_keys(session: Session) -> set[str]:
    """Return the keys that were retired."""
    return set(session.scalars(select(col(KeyProof.key_id)).where(col(KeyProof.retired_at).is_not(None))))


def _stored_proofs(session: Session) -> dict[str, str]:
    return dict(session.execute(select(col(KeyProof.key_id), col(KeyProof.proof))).all())
