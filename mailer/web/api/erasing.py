"""A person is erased."""

from sqlmodel import Session

from mailer import erasure
from mailer.audit import Act
from mailer.drafts.people import EraseDraft
from mailer.errors import Invalid, Problem
from mailer.web.api.calls import Answer, Call
from suppression import address
from suppression.address import AddressError


async def erase(call: Call) -> Answer:
    """Erase a person: cancel what waits, forget who they are, and keep that they want no mail."""
    draft = call.draft(EraseDraft) if call.raw.strip() else EraseDraft()
    try:
        who = address.parse(call.path("email"))
    except AddressError as error:
        raise Invalid(Problem("email", str(error))) from None
    prints = call.service.intake.fingerprints.all_of(call.tenant_id, who.canonical)

    def verb(session: Session) -> erasure.Erased:
        call.log(session, Act.PERSON_ERASED, prints[0].hex())
        return erasure.erase(session, call.tenant_id, prints, call.now, draft.note)

    erased = await erasure.everywhere(
        call.service.database,
        call.service.store,
        verb,
        (who.original, who.envelope),
    )
    return Answer(erasure.view(erased))
