"""A person as the product's own profile page shows them, and what they choose there."""

from sqlmodel import Session

from mailer import moving, profiles
from mailer.drafts import PersonChange
from mailer.errors import NotFound
from mailer.feedback.optouts import How, Kind
from mailer.profiles import Profile
from mailer.web.api.calls import Answer, Call
from suppression import address


async def show(call: Call) -> Answer:
    """Show what a person gets, what they permitted, and what happened."""
    who = _who(call)
    return Answer(await call.read(lambda session: profiles.view(session, _profile(call, who), call.now, Kind.API)))


async def change(call: Call) -> Answer:
    """Save what a person chose on the profile page of the product; nothing here ends a complaint."""
    draft, who = call.draft(PersonChange), _who(call)

    def verb(session: Session) -> dict[str, object]:
        profile = _profile(call, _moved(session, call, who, draft))
        how = How(Kind.API, draft.ip, profile.who.original)
        profiles.save(session, profile, draft, how, call.now)
        return profiles.view(session, profile, call.now, Kind.API)

    return Answer(await call.run(verb, conclusive=True))


def _who(call: Call) -> address.Address:
    try:
        return address.parse(call.path("email"))
    except address.AddressError:
        raise NotFound("there is no such address") from None


def _profile(call: Call, who: address.Address) -> Profile:
    return Profile.of(call.tenant_id, who, call.service.intake.fingerprints)


def _moved(session: Session, call: Call, former: address.Address, draft: PersonChange) -> address.Address:
    """Return the address that the person has now; what else they chose is chosen for it."""
    if draft.email is None:
        return former
    present = address.parse(draft.email)
    moving.move(session, call.tenant_id, former, present, call.service.intake, call.now)
    return present
