"""`mailer key ring` and `mailer key suppression`: secrets that are replaced without losing a link or an opt-out."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TextColumn
from sqlmodel import Session, select

from mailer import rekeying, secrets
from mailer.cli import printing, running
from mailer.cli.tenants import Json
from mailer.errors import Conflict, Invalid, NotFound, Problem
from mailer.keyring import Keyring
from mailer.models import DkimKey
from mailer.sealing import Seals
from mailer.secrets import RingName
from mailer.service import Service
from mailer.users import factors
from mailer.webhooks import endpoints
from suppression.address import Fingerprints
from suppression.entries import KeyProof
from suppression.keys import KeyRingError, parse_ring

tokens = typer.Typer(help="The ring that signs links and seals DKIM keys (MAILER_SECRET_KEYS).", no_args_is_help=True)
suppression = typer.Typer(help="The ring behind the suppression list (MAILER_SUPPRESSION_KEY).", no_args_is_help=True)

_KeyId = Annotated[str, typer.Argument(metavar="ID", help="The id of the key.")]


def add(app: typer.Typer) -> None:
    """Add both groups."""
    app.add_typer(tokens, name="ring")
    app.add_typer(suppression, name="suppression")


@tokens.command(name="list")
def listed(as_json: Json = False) -> None:
    """List the keys of the ring, the first signs; no secret is shown."""
    ids = list(parse_ring(secrets.ring_text(running.settings(), RingName.SECRET_KEYS)))

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        sealed = [Seals.key_of(key.private_key) for key in session.exec(select(DkimKey))]
        return [{"id": each, "signs": each == ids[0], "dkim_keys": sealed.count(each)} for each in ids]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
    else:
        columns = ("id", "signs", "dkim_keys")
        printing.table(columns, ([key[column] for column in columns] for key in found))


@tokens.command(name="add")
def added() -> None:
    """Add a key that signs from now on; links by the older keys go on working."""
    _put(RingName.SECRET_KEYS, secrets.with_new(_text(RingName.SECRET_KEYS), first=True))
    printing.note("restart every process, then run `mailer key ring reseal`")


@tokens.command()
def reseal() -> None:
    """Seal DKIM keys, webhooks' secrets and second factors with the ring's first key, once every process has it."""
    printing.line(f"{_resealed()} secrets sealed anew")


def _resealed() -> int:
    settings = running.settings()
    keyring, seals = Keyring.build(settings), secrets.seals(settings, factors.SEALED_FOR)
    return running.commit(
        lambda service, session: (
            keyring.reseal(session) + endpoints.reseal(session, service.hooks.seals) + factors.reseal(session, seals)
        )
    )


@tokens.command(name="retire")
def retired(
    key: _KeyId,
    break_links: Annotated[
        bool, typer.Option("--break-links", help="Every link that it signed dies, opt-outs too: only for a leaked key.")
    ] = False,
) -> None:
    """Take a key out of the ring; what it sealed is sealed anew first."""
    ring = _text(RingName.SECRET_KEYS)
    _known(ring, key)
    if not break_links:
        raise Conflict(f"people could not leave by the mail that {key} signed: if it leaked, say --break-links")
    _resealed()
    _put(RingName.SECRET_KEYS, secrets.without(ring, key))
    printing.note("restart every process")


@suppression.command()
def backup(
    to: Annotated[Path | None, typer.Argument(metavar="FILE", help="A new file, readable by you only.")] = None,
) -> None:
    """Write the ring down, to stdout or a file: without it every opt-out of a restored database is lost."""
    ring = _text(RingName.SUPPRESSION_KEY)
    if to is None:
        printing.line(ring)
        return
    try:
        secrets.save(to, ring)
    except OSError as error:
        raise Invalid(Problem("FILE", f"{to} cannot be written: {error.strerror}")) from None
    printing.note(f"kept in {to}: store it apart from the backups of the database")


@suppression.command()
def check(
    file: Annotated[Path | None, typer.Option("--file", help="Check this backup instead of the ring in use.")] = None,
    as_json: Json = False,
) -> None:
    """Say for each key whether it is the one this database was built with; exit code 1 where one is not."""
    try:
        prints = Fingerprints(file.read_text().strip()) if file else secrets.fingerprints(running.settings())
    except (OSError, UnicodeDecodeError, KeyRingError) as error:
        raise Invalid(Problem("--file", f"holds no ring: {error}")) from None

    def find(_service: Service, session: Session) -> list[dict[str, object]]:
        stored = {row.key_id: row for row in session.exec(select(KeyProof))}
        given = prints.proof()
        return [
            {"id": each, "proof": (given.get(each) or stored[each].proof)[:16], "state": _state(given, stored, each)}
            for each in dict.fromkeys((*given, *stored))
        ]

    found = running.read(find)
    if as_json:
        printing.as_json({"data": found})
    else:
        columns = ("id", "proof", "state")
        printing.table(columns, ([key[column] for column in columns] for key in found))
    if any(key["state"] in ("missing", "another secret") for key in found):
        raise typer.Exit(1)


def _state(given: dict[str, str], stored: dict[str, KeyProof], key_id: str) -> str:
    if key_id not in stored:
        return "new"
    if key_id not in given:
        return "retired" if stored[key_id].retired_at else "missing"
    return "matches" if given[key_id] == stored[key_id].proof else "another secret"


@suppression.command(name="add")
def another() -> None:
    """Add a key behind the others: every process must know it before it is the first (`rotate`)."""
    _put(RingName.SUPPRESSION_KEY, secrets.with_new(_text(RingName.SUPPRESSION_KEY), first=False))
    printing.note("restart every process, then run `mailer key suppression rotate`")


@suppression.command()
def rotate() -> None:
    """Make the last key of the ring the first, and give what older keys made kin by it."""
    ring = _text(RingName.SUPPRESSION_KEY)
    ids = list(parse_ring(ring))
    if len(ids) == 1:
        raise Conflict("the ring has one key: `mailer key suppression add` makes another one")
    _walk()
    _put(RingName.SUPPRESSION_KEY, secrets.fronted(ring, ids[-1]))
    printing.note("restart every process; later `mailer key suppression retire` ends an older key")


@suppression.command()
def retire(key: _KeyId) -> None:
    """End an older key once nothing is lost without it: its opt-outs are found by the others from then on."""
    ring = _text(RingName.SUPPRESSION_KEY)
    _known(ring, key)
    _walk()
    running.commit(lambda service, session: rekeying.retire(session, service.intake.fingerprints, key, service.now()))
    _put(RingName.SUPPRESSION_KEY, secrets.without(ring, key))
    printing.note("restart every process")


def _walk() -> None:
    async def work() -> None:
        console = Console(stderr=True)
        columns = (TextColumn("reading addresses"), TextColumn("{task.completed:,.0f} rows"))
        async with running.opened(running.settings()) as service:
            prints, place = service.intake.fingerprints, rekeying.Place()
            with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
                task = progress.add_task("walk", total=None)
                while True:
                    done = await service.database.run(
                        lambda session, at=place: rekeying.step(session, prints, at, service.now())  # type: ignore[misc]
                    )
                    progress.advance(task, done.read)
                    if done.next is None:
                        break
                    place = done.next

    asyncio.run(work())


def _text(name: RingName) -> str:
    return secrets.ring_text(running.settings(), name)


def _known(ring: str, key: str) -> None:
    known = list(parse_ring(ring))
    if key not in known:
        raise NotFound(f"there is no key {key} in the ring")
    if key == known[0]:
        raise Conflict(f"{key} is the first key of the ring: put another one in front, and restart every process")


def _put(name: RingName, ring: str) -> None:
    """Rewrite a kept ring, or print what its setting must hold, alone on stdout."""
    settings = running.settings()
    if secrets.is_kept(settings, name):
        printing.line(f"kept in {secrets.rewrite(settings, name, ring)}")
    else:
        printing.line(f"{name.setting}={ring}")
