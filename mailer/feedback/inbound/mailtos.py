"""Opt-outs by mail: the token in the local part says all (R1.13)."""

import email.policy
from collections.abc import Awaitable, Callable
from email.parser import BytesHeaderParser
from email.utils import parseaddr

from mailer.feedback.inbound.mailroom import Mail, Reader, Receipt
from mailer.feedback.optouts import How, Kind
from mailer.storable import printable
from suppression.token import OptOut, Ring, verify_mailto

#: How much of a mail an opt-out looks at.
_HEAD = 8 * 1024
_LONGEST = 200
#: Records one opt-out, committed when it returns.
Leave = Callable[[OptOut, How], Awaitable[None]]


def opt_outs(ring: Ring, leave: Leave) -> Reader:
    """Return what reads the addresses of mailto opt-outs."""

    def read(local: str) -> Receipt | None:
        opt_out = verify_mailto(ring, local)
        if opt_out is None:
            return None

        async def receive(mail: Mail) -> str:
            await leave(opt_out, How(Kind.MAILTO, evidence=_evidence(mail)))
            return "250 2.0.0 You are unsubscribed"

        return receive

    return read


def _evidence(mail: Mail) -> dict[str, object]:
    """Return what of the mail shows that it came: its Message-ID, and the domain that it says it is from."""
    try:
        headers = BytesHeaderParser(policy=email.policy.compat32).parsebytes(mail.raw[:_HEAD])
        found = {
            "message_id": str(headers.get("Message-ID", "")).strip(),
            "from_domain": parseaddr(str(headers.get("From", "")))[1].rpartition("@")[2].lower(),
        }
    except Exception:  # noqa: BLE001 - the standard library's parser raises what it likes; an opt-out needs no headers
        return {}
    return {name: printable(value, _LONGEST) for name, value in found.items() if value}
