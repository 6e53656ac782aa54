"""What is asked about one person."""

from mailer.drafts.fields import Body, Note


class EraseDraft(Body):
    """Why a person is erased: who asked for it, and when; addresses in it are left out."""

    note: Note | None = None
