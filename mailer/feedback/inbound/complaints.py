"""What comes to `complaints@` and `abuse@`: feedback reports (RFC 5965), believed where a token or a signature vouches.

Anybody can write to these addresses, and else anybody could stop anybody's mail (R5.5).
"""

import asyncio
import quopri
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence

from mailer import ids
from mailer.compose import dkim_verify
from mailer.compose.dkim_verify import Published
from mailer.feedback.inbound.bounces import Hear, Parse
from mailer.feedback.inbound.mailroom import Mail, Reader, Receipt
from mailer.feedback.inbound.report import Proof
from mailer.links import Links
from suppression.token import verify_opt_out

#: Where providers are asked to send reports, and where RFC 2142 has people complain.
ADDRESSES = frozenset({"complaints", "abuse"})
#: Vouched for by nobody: kept as unmatched, and nothing follows.
_NOBODY = Proof("")
#: A return path, or the token of a link by which our mail is left, in what a report repeats of it.
_TOKEN = re.compile(rb"\bb\+([a-z2-7]{20,80})|/u/([a-z2-7]{20,400})", re.IGNORECASE)
_MOST_TOKENS = 20
#: Each costs a look at the whole mail.
_MOST_SIGNATURES = 10
#: Says which of the trusted domains signed a mail, None where none did; raises where the DNS does not answer.
Signed = Callable[[bytes], Awaitable[str | None]]


def complaints(links: Links, parse: Parse, hear: Hear, signed: Signed) -> Reader:
    """Return what reads the addresses for feedback reports; other mail than reports is refused, and not lost."""

    def read(local: str) -> Receipt | None:
        return receive if local.lower() in ADDRESSES else None

    async def receive(mail: Mail) -> str:
        reading = await asyncio.to_thread(parse, mail.raw)
        if reading.dropped in {"auto_reply", "challenge"}:
            return "250 2.0.0 It reports nothing"
        if not reading.reports:
            return "550 5.7.1 Only feedback reports (RFC 5965) are read here: write to the sender of the mail"
        proof = await _proof(mail.raw)
        await hear([(report, proof) for report in reading.reports])
        return "250 2.0.0 Noted"

    async def _proof(raw: bytes) -> Proof:
        email_id = named_email(links, raw)
        if email_id is not None:
            return Proof("return_path", email_id)
        domain = await signed(raw)
        return Proof(f"dkim:{domain}") if domain is not None else _NOBODY

    return read


def named_email(links: Links, raw: bytes) -> str | None:
    """Return the email that a token of ours in a report names, "em_…".

    What a report repeats of our mail has its return path and its List-Unsubscribe (R5.3), even where the addresses
    were blotted out. Whoever shows a token had the mail.
    """
    for return_path, link in _tokens(raw):
        if return_path and (email_id := links.read_return_path(return_path)) is not None:
            return email_id
        opt_out = verify_opt_out(links.ring, link) if link else None
        if opt_out is not None and opt_out.email is not None:
            return ids.from_bytes("em", opt_out.email)
    return None


def _tokens(raw: bytes) -> Iterator[tuple[str, str]]:
    # As it stands, and where the copy of our mail was encoded: quoted-printable breaks lines within a token.
    for text in (raw, quopri.decodestring(raw)):
        for place, found in enumerate(_TOKEN.finditer(text)):
            if place == _MOST_TOKENS:
                break
            return_path, link = (each.decode("ascii") if each else "" for each in found.groups())
            yield return_path, link


def signer(raw: bytes, trusted: Sequence[str], published: Published) -> str | None:
    """Return the first of the trusted domains whose DKIM signature of a mail holds and covers its From.

    `published` is asked for the keys of trusted domains alone: a mail may name a thousand others.
    """
    fields, _ = dkim_verify.fields_of(raw)
    if sum(each.name.lower() == b"dkim-signature" for each in fields) > _MOST_SIGNATURES:
        return None
    wanted = {domain.lower() for domain in trusted}

    def key_of(name: str) -> str | None:
        return published(name) if name.lower().partition("._domainkey.")[2] in wanted else None

    for each in dkim_verify.verify(raw, key_of):
        if each.wrong is None and "from" in each.covers and each.domain.lower() in wanted:
            return each.domain.lower()
    return None
