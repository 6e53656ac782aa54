"""What other people's servers send back: bounces and complaints about a mail of ours, by real SMTP and LMTP."""

import asyncio

import aiosmtplib

from mailer.settings import Settings
from tests.servers import Mail


def _report(kind: str, headers: str, *parts: tuple[str, str]) -> bytes:
    """Return a multipart/report as it goes over the wire (RFC 6522)."""
    bodies = "".join(f"--=_part\nContent-Type: {of}\n\n{text}\n" for of, text in parts)
    content = f'Content-Type: multipart/report; report-type={kind}; boundary="=_part"'
    text = f"{headers}MIME-Version: 1.0\n{content}\n\n{bodies}--=_part--\n"
    return text.encode().replace(b"\n", b"\r\n")


def headers_of(mail: Mail) -> str:
    """Return the header of a mail as it arrived, with its return path as the last server writes it down."""
    return f"Return-Path: <{mail.sender}>\n" + mail.data.partition(b"\r\n\r\n")[0].decode().replace("\r\n", "\n") + "\n"


def bounce(mail: Mail, *, status: str = "5.1.1", action: str = "failed", to: str = "") -> bytes:
    """Return the report that a server makes of a mail that it could not deliver (RFC 3464)."""
    return _report(
        "delivery-status",
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.org>\n"
        f"To: {to or mail.sender}\nSubject: Undelivered Mail Returned to Sender\nAuto-Submitted: auto-replied\n",
        ("text/plain", "Your message could not be delivered.\n"),
        (
            "message/delivery-status",
            (
                "Reporting-MTA: dns; mx.example.org\n\n"
                f"Final-Recipient: rfc822; {mail.recipient}\nAction: {action}\nStatus: {status}\n"
                f"Diagnostic-Code: smtp; 550 {status} <{mail.recipient}>: no such user here\n"
            ),
        ),
        ("text/rfc822-headers", headers_of(mail)),
    )


def complaint(mail: Mail) -> bytes:
    """Return the report that Yahoo makes of a mail that a person calls spam (RFC 5965)."""
    return _report(
        "feedback-report",
        "From: Yahoo! Mail AntiSpam Feedback <feedback@arf.mail.yahoo.com>\nSubject: FW: your mail\n",
        ("text/plain", "This is an email abuse report for an email message received from your domain.\n"),
        (
            "message/feedback-report",
            (
                "Feedback-Type: abuse\nUser-Agent: Yahoo!-Mail-Feedback/2.0\nVersion: 0.1\n"
                f"Original-Mail-From: <{mail.sender}>\nOriginal-Rcpt-To: {mail.recipient}\n"
            ),
        ),
        ("message/rfc822", headers_of(mail) + "\nHello\n"),
    )


async def hand_in(settings: Settings, to: str, raw: bytes) -> int:
    """Send a mail from nobody (`<>`) to the inbound listener, and return the code that answers it."""
    host, port = settings.inbound_address
    if settings.inbound_lmtp:
        return await _by_lmtp(host, port, to, raw)
    try:
        async with aiosmtplib.SMTP(hostname=host, port=port, start_tls=False) as client:
            await client.sendmail("", [to], raw)
    except aiosmtplib.SMTPRecipientsRefused as refused:
        return refused.recipients[0].code
    except aiosmtplib.SMTPDataError as error:
        return error.code
    return 250


async def _by_lmtp(host: str, port: int, to: str, raw: bytes) -> int:
    reader, writer = await asyncio.open_connection(host, port)

    async def reply() -> int:
        async with asyncio.timeout(20):
            while (line := await reader.readline())[3:4] == b"-":
                continue
        return int(line[:3])

    code = await reply()
    for line in ("LHLO mx.example.org", "MAIL FROM:<>", f"RCPT TO:<{to}>", "DATA"):
        writer.write(line.encode() + b"\r\n")
        code = await reply()
        if code >= 400:
            break
    else:
        writer.write(raw.replace(b"\r\n.", b"\r\n..") + b"\r\n.\r\n")
        code = await reply()
    writer.close()
    await writer.wait_closed()
    return code
