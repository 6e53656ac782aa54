"""Opt-outs by mail: the token in the local part is all that is read (R1.13), and nobody else is received."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiosmtplib
import pytest

from mailer.service import Service
from mailer.settings import Settings
from suppression import entries
from suppression.entries import Question
from suppression.rules import Stream
from suppression.token import OptOut
from tests.servers import free_port

PERSON = OptOut(1, bytes(range(16)), Stream.PROMOTIONAL)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = Settings(
        data_dir=str(tmp_path), return_path_domain="b.example.org", inbound_listen=f"127.0.0.1:{free_port()}"
    )
    service = Service.build(settings)
    await service.prepare()
    await service.start(receiving=True)
    yield service
    await service.stop()


async def post(service: Service, address: str) -> None:
    host, port = service.settings.inbound_address
    async with aiosmtplib.SMTP(hostname=host, port=port, start_tls=False) as client:
        # As Apple Mail does: an empty subject, and a body that says nothing.
        await client.sendmail("ann@example.org", [address], b"Subject: \r\n\r\n\r\n")


async def left(service: Service) -> bool:
    question = Question(PERSON.fingerprint, Stream.PROMOTIONAL)
    return await service.database.read(lambda session: entries.check(session, 1, question, service.now())) is not None


async def test_a_mail_to_the_link_opts_out_before_its_250(service: Service) -> None:
    mailto = service.links.ways_out(PERSON).mailto
    assert mailto is not None
    address = mailto.removeprefix("mailto:")
    assert len(address.partition("@")[0]) <= 64
    # Mail servers may change the case of a local part.
    await post(service, address.upper())
    assert await left(service)


@pytest.mark.parametrize("damage", ["forged", "elsewhere", "stranger"])
async def test_whoever_is_not_ours_is_refused_at_rcpt(service: Service, damage: str) -> None:
    local = str(service.links.ways_out(PERSON).mailto).removeprefix("mailto:").partition("@")[0]
    forged = local[:-1] + ("a" if local[-1] != "a" else "b")
    address = {
        "forged": f"{forged}@b.example.org",
        "elsewhere": f"{local}@other.example",
        "stranger": "postmaster@b.example.org",
    }[damage]
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refused:
        await post(service, address)
    assert refused.value.recipients[0].code == 550
    assert not await left(service)
