"""`mailer key dkim …`: the keys that sign mail; docs/dkim.md says how they are changed."""

from enum import StrEnum
from typing import Annotated

import typer
from sqlmodel import Session

from mailer import keyring, published
from mailer.cli import printing, running
from mailer.cli.tenants import Chosen, Json, chosen
from mailer.compose.dkim import Signer
from mailer.keyring import Keyring
from mailer.models import DkimAlgorithm, DkimKey
from mailer.service import Service
from suppression.rules import Stream

Domain = Annotated[str, typer.Argument(help="The domain that signs: that of the From, or one above it.")]
Selector = Annotated[str, typer.Argument(help="The key's selector, as `mailer key dkim-list` shows it.")]


class Algorithm(StrEnum):
    """How a new key signs."""

    RSA = "rsa"
    ED25519 = "ed25519"


def add(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(name="dkim")(create)
    app.command(name="dkim-list")(listed)
    app.command(name="dkim-activate")(activate)
    app.command(name="dkim-retire")(retire)


def create(
    domain: Domain,
    selector: Annotated[str | None, typer.Option(help="Where the key stands; if left out, made of the day.")] = None,
    stream: Annotated[Stream | None, typer.Option(help="Sign this stream only; if left out, both.")] = None,
    algorithm: Annotated[Algorithm, typer.Option(help="ed25519 only beside an RSA key.")] = Algorithm.RSA,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Make a DKIM key and print the record to publish; it signs once `dkim-activate` has seen that record."""
    pair = keyring.generate(DkimAlgorithm.RSA if algorithm is Algorithm.RSA else DkimAlgorithm.ED25519)

    def make(service: Service, session: Session) -> dict[str, object]:
        ring, owner = service.keyring, chosen(session, tenant)
        made = ring.add(session, owner, domain, pair, selector=selector, stream=stream, now=service.now())
        return _shown(ring, made)

    made = running.commit(make)
    if as_json:
        printing.as_json(made)
        return
    printing.line(str(made["zone"]))
    printing.note(f"Publish this record, then: mailer key dkim-activate {made['domain']} {made['selector']}")


def listed(tenant: Chosen = None, as_json: Json = False) -> None:
    """List the DKIM keys and what became of them; the key file of the settings is not among them."""

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        return [_plain(key) for key in keyring.keys(session, chosen(session, tenant))]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
        return
    columns = ("domain", "selector", "stream", "algorithm", "state", "created_at", "active_at", "retired_at")
    printing.table(columns, ([key[column] for column in columns] for key in found))


def activate(
    domain: Domain,
    selector: Selector,
    without_dns: Annotated[
        bool, typer.Option("--without-dns", help="Do not ask the DNS: I know that the record is there.")
    ] = False,
    tenant: Chosen = None,
    as_json: Json = False,
) -> None:
    """Let a DKIM key sign, if the DNS holds its record."""

    def find(service: Service, session: Session) -> Signer:
        return service.keyring.signer(keyring.find(session, chosen(session, tenant), domain, selector))

    signer = running.read(find)
    # Asked here, outside every transaction: an answer may take seconds.
    verdict = None if without_dns else published.check(published.system_resolver(), signer)

    def change(service: Service, session: Session) -> dict[str, object]:
        key = keyring.find(session, chosen(session, tenant), domain, selector)
        return _plain(keyring.activate(session, key, signer, verdict, service.now()))

    changed = running.commit(change)
    if as_json:
        printing.as_json(changed)
    else:
        printing.line(f"{signer.name} signs within seconds")


def retire(domain: Domain, selector: Selector, tenant: Chosen = None, as_json: Json = False) -> None:
    """End a DKIM key: nothing is signed with it any more."""

    def end(service: Service, session: Session) -> dict[str, object]:
        key = keyring.find(session, chosen(session, tenant), domain, selector)
        return _plain(keyring.retire(session, key, service.now()))

    ended = running.commit(end)
    if as_json:
        printing.as_json(ended)
        return
    printing.line(f"{ended['name']} signs no more")
    printing.note(
        "Leave its record in the DNS for 7 days, so that mail on its way can be verified; "
        'then publish "v=DKIM1; p=" in its place, which revokes the key.'
    )


def _plain(key: DkimKey) -> dict[str, object]:
    return {
        "id": key.id,
        "domain": key.domain,
        "selector": key.selector,
        "name": f"{key.selector}._domainkey.{key.domain}",
        "stream": key.stream,
        "algorithm": key.algorithm,
        "state": "retired" if key.retired_at else "active" if key.active_at else "waiting",
        "created_at": key.created_at,
        "active_at": key.active_at,
        "retired_at": key.retired_at,
    }


def _shown(ring: Keyring, key: DkimKey) -> dict[str, object]:
    signer = ring.signer(key)
    return _plain(key) | {"record": signer.record, "zone": signer.zone}
