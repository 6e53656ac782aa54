"""How much of a mail may be measured: what its pixel and its links say (spec section 9)."""

from typing import NamedTuple

from mailer import ids
from mailer.delivery.claims import Job
from mailer.links import one_email, one_of
from mailer.models import ConsentRule, Opens


class Said(NamedTuple):
    """What a mail's pixel and its links tell us of it, None where there are none of ours."""

    opened: bytes | None = None
    clicked: bytes | None = None


#: What a mail says that is not measured.
NOTHING = Said()


def measured(job: Job) -> bool:
    """Return whether anything of a mail is measured where its recipient does not mind."""
    return job.opens is not Opens.OFF or job.clicks is not Opens.OFF


def said(job: Job, rule: ConsentRule, choice: bool | None, audience: bytes) -> Said:
    """Return what may be said by policy and the person's choice; who has refused is not measured at all.

    `audience` is what a mail says that names nobody. A mail's pixel and links share one random number.
    """
    if choice is False:
        return NOTHING
    number = one_of(audience)
    if job.opens is job.clicks is Opens.AGGREGATE:
        return Said(number, number)
    person = one_email(ids.to_bytes(job.id)) if choice or rule is ConsentRule.NOT_REFUSED else None
    by_mode = {Opens.OFF: None, Opens.AGGREGATE: number, Opens.INDIVIDUAL: person}
    return Said(by_mode[job.opens], by_mode[job.clicks])
