"""What a claimed row has besides content and recipient: files, several recipients, headers of its own."""

from collections.abc import Mapping, Sequence
from typing import cast

from sqlmodel import Session, col, select

from mailer.compose.letter import Extras, Recipient
from mailer.compose.mime import Attachment as File
from mailer.delivery.claims import Job
from mailer.models import Attachment


def files_of(job: Job) -> list[Mapping[str, object]]:
    """Return what a row says of its files, without what is in them."""
    return cast("list[Mapping[str, object]]", (job.details or {}).get("attachments") or [])


def read_files(session: Session, tenant_id: int, files: Sequence[Mapping[str, object]]) -> Sequence[File]:
    """Return these files of a tenant with what is in them."""
    wanted = [cast("int", file["id"]) for file in files]
    rows = session.exec(
        select(Attachment).where(Attachment.tenant_id == tenant_id, col(Attachment.id).in_(wanted))
    ).all()
    data = {row.id: row.data for row in rows}
    return [
        File(
            filename=str(file["filename"]),
            content=data[cast("int", file["id"])],
            content_type=str(file["content_type"]),
            content_id=cast("str | None", file.get("content_id")),
        )
        for file in files
    ]


def extras_of(details: Mapping[str, object], files: Sequence[File]) -> Extras:
    """Return what a request said beside content and recipient, as rows keep it."""
    return Extras(
        to=_people(details.get("to")),
        cc=_people(details.get("cc")),
        reply_to=_people(details.get("reply_to")),
        headers=tuple(cast("Mapping[str, str]", details.get("headers") or {}).items()),
        attachments=files,
    )


def _people(value: object) -> Sequence[Recipient]:
    """Return addresses as details keep them: a list of `[address, name]`."""
    return tuple(Recipient(email, name or "") for email, name in cast("list[tuple[str, str]]", value or []))
