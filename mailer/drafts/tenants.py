"""A tenant's own settings."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from mailer.drafts.checking import wrong
from mailer.drafts.fields import LINE, TEXT, Body, Locale
from mailer.models import ConsentRule, Opens, OptOutScope


class TenantChange(Body):
    """What changes of a tenant; its key stays."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200), LINE] | None = None
    postal_address: Annotated[str, StringConstraints(max_length=500), TEXT] | None = None
    opt_out_scope: OptOutScope | None = None
    opt_out_in_every_mail: bool | None = None
    transactional_opens: Opens | None = None
    promotional_opens: Opens | None = None
    consent: ConsentRule | None = None
    last_open_only: bool | None = None
    locale: Locale | None = None
    complaints_block: bool | None = None
    keep_ip: bool | None = None
    soft_bounces: Annotated[int, Field(ge=1, le=100)] | None = None
    #: Reports are kept for 30 days.
    soft_bounce_days: Annotated[int, Field(ge=1, le=30)] | None = None

    @model_validator(mode="after")
    def _given(self) -> Self:
        for name in self.model_fields_set:
            if getattr(self, name) is None:
                raise wrong("must not be null: leave it out to keep what is there", name)
        return self
