"""Mail to `postmaster@` our domain is mail to whoever runs this: it is kept for them (RFC 5321 section 4.5.1)."""

from collections.abc import Awaitable, Callable

from mailer.feedback.inbound.mailroom import POSTMASTER, Mail, Reader, Receipt

#: Keeps the sender and the beginning of a mail, committed when it returns.
Keep = Callable[[str, bytes], Awaitable[None]]


def postmaster(keep: Keep) -> Reader:
    """Return what reads the address `postmaster`, in whatever case."""

    async def receive(mail: Mail) -> str:
        await keep(mail.sender, mail.raw)
        return "250 2.0.0 Kept for the operators"

    def read(local: str) -> Receipt | None:
        return receive if local.lower() == POSTMASTER else None

    return read
