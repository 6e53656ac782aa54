"""DKIM signatures worked out on the spot, for mail that a test makes itself."""

from collections.abc import Sequence
from datetime import datetime

from mailer.compose.dkim import Signer, drafts
from mailer.compose.headers import Line


def signatures(signers: Sequence[Signer], headers: Sequence[Line], body: bytes, at: datetime) -> list[Line]:
    """Return the lines to put in front of these."""
    return [draft.line(draft.signature()) for draft in drafts(signers, headers, body, at)]
