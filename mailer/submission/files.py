"""The files of mail: their bytes are kept once a tenant, and an email names them."""

import hashlib
import mimetypes
from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlmodel import Session, SQLModel

from mailer import database
from mailer.drafts import Attachment

_attachment = SQLModel.metadata.tables["attachment"]
#: Whose file, and the SHA-256 of its bytes.
Digest = tuple[int, str]
#: A file, and what its bytes are known by.
File = tuple[Digest, Attachment]


def known(tenant_id: int, attachments: Sequence[Attachment]) -> list[File]:
    """Return files with what their bytes are known by."""
    return [((tenant_id, hashlib.sha256(each.content).hexdigest()), each) for each in attachments]


def keep(session: Session, some: Sequence[File]) -> Mapping[Digest, int]:
    """Keep the bytes that are new, and return the rows of all.

    In one order: two transactions that keep the same new ones in another would each wait for the other.
    """
    content = {digest: file.content for digest, file in some}
    return {digest: _kept(session, digest, content[digest]) for digest in sorted(content)}


def _kept(session: Session, digest: Digest, content: bytes) -> int:
    tenant_id, code = digest
    same = select(_attachment.c.id).where(_attachment.c.tenant_id == tenant_id, _attachment.c.digest == code)
    # Whoever empties the file of an erased person either sees this mail, or has let go of the digest before.
    same = same.with_for_update(read=True, key_share=True)
    found = session.execute(same).scalar_one_or_none()
    if found is None:
        row = {"tenant_id": tenant_id, "digest": code, "data": content}
        session.execute(database.insert(session, _attachment).values(row).on_conflict_do_nothing())
        found = session.execute(same).scalar_one()
    return int(found)


def named(some: Sequence[File], kept: Mapping[Digest, int]) -> list[dict[str, object]]:
    """Return how an email names its files, each with the row of its bytes."""
    return [
        {
            "id": kept[digest],
            "filename": file.filename,
            "content_type": file.content_type or mimetypes.guess_type(file.filename)[0] or "application/octet-stream",
            "content_id": file.content_id,
        }
        for digest, file in some
    ]
