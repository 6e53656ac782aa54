"""API keys: made and shown once, retired; what product code may do with each."""

from functools import partial

from sqlmodel import Session
from starlette.responses import Response

from mailer import tenancy
from mailer.audit import Act
from mailer.models import Scope
from mailer.tenancy import Issued
from mailer.users.permissions import May
from mailer.web.dashboard.asking import Asked, Screen


async def show(asked: Asked) -> Response:
    """Show the keys, and the form for another one; a key that was made just now is shown this once."""
    keys = await asked.read(lambda session: tenancy.keys(session, asked.tenant_id))
    living = [key for key in reversed(keys) if key.revoked_at is None]
    retired = [key for key in reversed(keys) if key.revoked_at is not None]
    return asked.page(
        "keys.html",
        {
            "living": living,
            "retired": retired,
            "scopes": list(Scope),
            "issued": asked.told,
            "called": {"scope": "keys_scopes"},
        },
    )


async def act(asked: Asked) -> Response:
    """Make a key, or retire one."""
    if asked.form.one("do") == "retire":
        await asked.run(partial(_retire, asked))
        return asked.to("/keys", done="key_retired")
    issued = await asked.run(partial(_make, asked))
    return asked.tell("/keys", {"name": issued.key.name, "plain": issued.plain})


def _make(asked: Asked, session: Session) -> Issued:
    form = asked.form
    issued = tenancy.create_key(
        session,
        asked.tenant_id,
        form.one("name")[:200],
        scopes=sorted(form.many("scope")),
        captures=form.one("inbox") == "yes",
        now=asked.now,
    )
    asked.log(session, Act.KEY_CREATED, issued.key.id, scopes=issued.key.scopes, inbox=issued.key.captures)
    return issued


def _retire(asked: Asked, session: Session) -> None:
    key = tenancy.revoke(session, asked.tenant_id, asked.form.one("key"), asked.now)
    asked.log(session, Act.KEY_REVOKED, key.id)


SCREENS = (Screen("/keys", May.EDIT_KEYS, show, act),)
