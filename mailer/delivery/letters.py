"""From claimed rows to finished mail: fetches what a whole batch needs, and keeps what does not change."""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache, partial
from time import monotonic
from typing import NamedTuple, cast

from sqlmodel import Session, col, select

from mailer import ids, people, targets
from mailer.compose.clicks import Clicking
from mailer.compose.dkim import Signer
from mailer.compose.letter import (
    NO_EXTRAS,
    Extras,
    Letter,
    OptOut,
    Order,
    PostalAddress,
    Promotional,
    Purpose,
    Recipient,
    Sender,
    TopicInfo,
    Transactional,
)
from mailer.compose.mailing import Mailing
from mailer.compose.mime import Attachment as File
from mailer.compose.skeleton import Compiled, compile_content
from mailer.compose.templates import Content as Parts
from mailer.database import Database
from mailer.delivery import claims, measuring
from mailer.delivery.carrier import Ready
from mailer.delivery.claims import Job
from mailer.delivery.envelope import Envelope
from mailer.delivery.extras import extras_of, files_of, read_files
from mailer.delivery.measuring import Said
from mailer.delivery.signing import Signing
from mailer.errors import MailerError
from mailer.keyring import Keyring, Usable
from mailer.links import Asked, Audience, Links, MailLinks
from mailer.models import Campaign, ConsentRule, Content, Tenant, Topic
from suppression.rules import Stream
from suppression.token import OptOut as Leaving

#: A tenant's postal address and topic names may change while workers run; they notice within this many seconds.
_FRESH = 5.0
#: More than all pipelines of a process can have claimed at once, each of another content.
_KEPT_CONTENTS = 4096
#: A tenant seldom sends mail of more kinds at once.
_KEPT_KINDS = 256
_SENDER_ID = re.compile(r"[^a-z0-9]")


class _Sending(NamedTuple):
    """What belongs to a tenant."""

    tenant: Tenant
    topics: Mapping[str, TopicInfo]
    keys: Usable
    read_at: float
    #: By what tells its mails apart; made anew whenever the tenant is read.
    kinds: dict[tuple[object, ...], "_Kind"]


class _Kind(NamedTuple):
    """What mails of one kind share: all of a campaign, or all from one template about one topic."""

    mailing: Mailing
    #: Of the Message-ID and of keys that sign.
    domain: str
    signers: Sequence[Signer]
    #: What the campaign says to everybody.
    variables: Mapping[str, object]
    #: What an aggregate pixel names, by the day.
    audiences: dict[date, bytes]
    consent: ConsentRule


@dataclass(slots=True)
class _Shelf:
    """What was fetched; contents never change, so they stay."""

    contents: dict[int, Parts] = field(default_factory=dict)
    #: Which contents were wanted, the latest last.
    used: dict[int, None] = field(default_factory=dict)
    compiled: dict[tuple[int, str], Compiled] = field(default_factory=dict)
    tenants: dict[int, _Sending] = field(default_factory=dict)
    #: What a campaign's mails share is frozen when it starts.
    campaigns: dict[str, Campaign] = field(default_factory=dict)
    #: Of the emails claimed and not composed yet.
    files: dict[str, Sequence[File]] = field(default_factory=dict)
    choices: dict[str, bool | None] = field(default_factory=dict)

    def add(self, fetched: "_Shelf") -> None:
        """Put what was fetched beside the rest."""
        self.contents |= fetched.contents
        self.tenants |= fetched.tenants
        self.campaigns |= fetched.campaigns
        self.files |= fetched.files
        self.choices |= fetched.choices


class _Written(NamedTuple):
    """A composed mail, and who signs it."""

    sender: str
    envelope_id: str
    recipient: str
    letter: Letter
    signers: Sequence[Signer]
    pixel: bool

    def ready(self) -> Ready:
        """Return it as it goes out."""
        letter, data = self.letter, self.letter.to_bytes()
        smtputf8 = letter.needs_smtputf8 or not self.recipient.isascii()
        envelope = Envelope(self.sender, self.recipient, len(data), smtputf8, self.envelope_id)
        return Ready(envelope, data, self.pixel and letter.rich, letter.clicked)


class Letterbox:
    """Composes mail for the pipelines of one process."""

    def __init__(self, database: Database, links: Links, keyring: Keyring) -> None:
        """Begin with empty shelves."""
        self._database, self._links, self._keyring = database, links, keyring
        self._shelf = _Shelf()
        self._signing = Signing()

    async def prepare(self, jobs: Sequence[Job]) -> None:
        """Fetch contents, tenants, files and choices that a batch needs and that are not at hand."""
        self._make_room({job.content_id for job in jobs})
        if jobs and self._missing(jobs):
            # Only what was read to the end: rows of a read that was broken off can not be used after it.
            self._shelf.add(await self._database.read(lambda session: self._fetch(session, jobs)))

    def _make_room(self, wanted: Set[int]) -> None:
        """Forget the contents that nobody wanted for the longest time; mail claimed before this batch needs its own."""
        shelf = self._shelf
        for content_id in wanted:
            shelf.used.pop(content_id, None)
            shelf.used[content_id] = None
        if old := set(list(shelf.used)[: max(0, len(shelf.used) - _KEPT_CONTENTS)]):
            for content_id in old:
                del shelf.used[content_id]
                shelf.contents.pop(content_id, None)
            shelf.compiled = {key: compiled for key, compiled in shelf.compiled.items() if key[0] not in old}

    def _stale(self, tenant_id: int) -> bool:
        sending = self._shelf.tenants.get(tenant_id)
        return sending is None or sending.read_at < monotonic() - _FRESH

    def _missing(self, jobs: Sequence[Job]) -> bool:
        shelf = self._shelf
        return any(
            job.content_id not in shelf.contents
            or (job.campaign_id and job.campaign_id not in shelf.campaigns)
            or self._stale(job.tenant_id)
            or files_of(job)
            or measuring.measured(job)
            for job in jobs
        )

    def _fetch(self, session: Session, jobs: Sequence[Job]) -> _Shelf:
        shelf, fetched = self._shelf, _Shelf()
        if wanted := {job.content_id for job in jobs} - shelf.contents.keys():
            for row in session.exec(select(Content).where(col(Content.id).in_(wanted))):
                fetched.contents[cast("int", row.id)] = Parts.from_dict(row.data)
        for tenant_id in {job.tenant_id for job in jobs}:
            if self._stale(tenant_id):
                fetched.tenants[tenant_id] = _sending(session, tenant_id, self._keyring)
            measured = {
                job.id: job.fingerprint for job in jobs if job.tenant_id == tenant_id and measuring.measured(job)
            }
            choices = people.tracking_choices(session, tenant_id, measured.values())
            fetched.choices.update((each, choices.get(who)) for each, who in measured.items())
        if campaigns := {job.campaign_id for job in jobs if job.campaign_id} - shelf.campaigns.keys():
            for campaign in session.exec(select(Campaign).where(col(Campaign.id).in_(campaigns))):
                fetched.campaigns[campaign.id] = campaign
        for job in jobs:
            if files := files_of(job):
                fetched.files[job.id] = read_files(session, job.tenant_id, files)
        return fetched

    async def compose(
        self, jobs: Sequence[Job], *, rewritten: frozenset[str] | None = frozenset()
    ) -> Sequence[Ready | Exception]:
        """Return the mail of each claimed row, signed with the tenant's keys but for what the relay rewrites.

        None: the relay signs, and we do not. An exception stands for a mail that cannot be made, `MailerError` where
        the mail is at fault.
        """
        if composed_before := [job for job in jobs if self._is_gone(job)]:
            await self.prepare(composed_before)
        written = self._written(jobs)
        if rewritten is not None and any(isinstance(each, _Written) and each.signers for each in written):
            written = await self._signed(written, rewritten)
        return [each.ready() if isinstance(each, _Written) else each for each in written]

    async def _signed(
        self, written: Sequence["_Written | Exception"], rewritten: frozenset[str]
    ) -> "list[_Written | Exception]":
        # By the present moment: verifiers refuse a signature from their future, and a mail's date may be old.
        now = self._database.now()
        drafts = [
            each.letter.drafts(each.signers, now, rewritten=rewritten) if isinstance(each, _Written) else ()
            for each in written
        ]
        return [
            each._replace(letter=each.letter.signed(own)) if isinstance(each, _Written) else each
            for each, own in zip(written, await self._signing.lines(drafts), strict=True)
        ]

    def _is_gone(self, job: Job) -> bool:
        """Return whether what only this mail needs was dropped: it was composed already, and put back untried."""
        shelf = self._shelf
        return (job.id not in shelf.choices and measuring.measured(job)) or (
            job.id not in shelf.files and bool(files_of(job))
        )

    def _written(self, jobs: Sequence[Job]) -> "list[_Written | Exception]":
        """Compose, mails of one kind together."""
        made: dict[str, _Written | Exception] = {}
        kinds: dict[int, tuple[_Kind, list[Job]]] = {}
        for job in jobs:
            try:
                if job.address is None:
                    raise MailerError("the address was erased")
                kind = self._kind(job)
            except Exception as error:  # noqa: BLE001 - one mail that cannot be made must not stop the others
                made[job.id] = error
            else:
                kinds.setdefault(id(kind), (kind, []))[1].append(job)
        for kind, some in kinds.values():
            made.update(zip([job.id for job in some], self._attempted(kind, some), strict=True))
        return [made[job.id] for job in jobs]

    def _attempted(self, kind: _Kind, jobs: Sequence[Job]) -> "Sequence[_Written | Exception]":
        """Compose mails of one kind; where one of them stands in the way, find it by halves."""
        try:
            return self._together(kind, jobs)
        except Exception as error:  # noqa: BLE001 - as above
            if len(jobs) == 1:
                return [error]
        half = len(jobs) // 2
        return [*self._attempted(kind, jobs[:half]), *self._attempted(kind, jobs[half:])]

    def _together(self, kind: _Kind, jobs: Sequence[Job]) -> "Sequence[_Written | Exception]":
        said = [self._said(job, kind) for job in jobs]
        links = self._signed_links(kind, jobs, said)
        orders = [self._order(kind, *each) for each in zip(jobs, links, said, strict=True)]
        letters = kind.mailing.compose_all(orders)
        written: list[_Written | Exception] = []
        for job, own, letter in zip(jobs, links, letters, strict=True):
            if isinstance(letter, Exception):
                written.append(letter)
                continue
            self._shelf.files.pop(job.id, None)
            self._shelf.choices.pop(job.id, None)
            sender, pixel = own.return_path or job.from_address, own.pixel is not None
            written.append(_Written(sender, own.envelope_id, job.address or "", letter, kind.signers, pixel))
        return written

    async def view(self, email_id: str) -> str | None:
        """Return an email's HTML as a page, without pixel; None where it is unknown or erased."""

        def fetched(session: Session) -> tuple[Job, _Shelf] | None:
            job = claims.job(session, email_id)
            return (job, self._fetch(session, [job])) if job is not None and job.address is not None else None

        found = await self._database.read(fetched)
        if found is None:
            return None
        job, shelf = found
        # Not what a worker fetched for the mail itself, which may be about to be composed.
        self._shelf.add(replace(shelf, files={}, choices={}))
        self._make_room({job.content_id})
        kind = self._kind(job)
        # Who reads a mail here clicks on what its writer wrote.
        (links,) = self._signed_links(kind, [job], [measuring.NOTHING])
        return kind.mailing.view(self._order(kind, job, links, measuring.NOTHING))

    def _kind(self, job: Job) -> _Kind:
        """Return what this mail shares with others, made now or before."""
        if job.details:
            return self._made(job, extras_of(job.details, self._shelf.files.get(job.id, ())))
        tag = job.tags.get("campaign") if job.tags else None
        key = (
            *(job.content_id, job.locale, job.from_address, job.from_name, job.stream),
            *(job.leavable, job.topic, job.campaign_id, tag, job.template),
        )
        kept = self._shelf.tenants[job.tenant_id].kinds
        if (kind := kept.get(key)) is None:
            campaign = self._shelf.campaigns.get(job.campaign_id or "")
            kind = self._made(job, extras_of(campaign.details, ()) if campaign and campaign.details else NO_EXTRAS)
            if len(kept) >= _KEPT_KINDS:
                del kept[next(iter(kept))]
            kept[key] = kind
        return kind

    def _made(self, job: Job, extras: Extras) -> _Kind:
        sending = self._shelf.tenants[job.tenant_id]
        tenant, domain = sending.tenant, job.from_address.rpartition("@")[2]
        campaign = self._shelf.campaigns.get(job.campaign_id or "")
        mailing = Mailing(
            self._compiled(job.content_id, job.locale),
            Sender(job.from_address, job.from_name or "", tenant.postal_address or None),
            _purpose(job, sending),
            feedback_id=_feedback_id(job, tenant),
            extras=extras,
            clicking=Clicking(
                self._links.ours(),
                targets.utm_of(tenant.utm, campaign.utm if campaign else None),
                frozenset(tenant.untracked_hosts or ()),
                shared=bool(job.campaign_id or job.template),
            ),
            sign=partial(self._links.clicks, job.stream),
        )
        signers = sending.keys.signers(job.stream, domain)
        return _Kind(mailing, domain, signers, (campaign.variables if campaign else None) or {}, {}, tenant.consent)

    def _signed_links(self, kind: _Kind, jobs: Sequence[Job], said: Sequence[Said]) -> list[MailLinks]:
        """Return the links of each mail alone, besides those of its content."""
        asked = []
        for job, own in zip(jobs, said, strict=True):
            email, leaving = ids.to_bytes(job.id), None
            if kind.mailing.leavable:
                leaving = Leaving(job.tenant_id, job.fingerprint, job.stream, job.topic, email)
            asked.append(Asked(leaving, own.opened, email))
        return self._links.of_mails(jobs[0].stream, asked)

    def _order(self, kind: _Kind, job: Job, links: MailLinks, said: Said) -> Order:
        """Return what this mail has alone."""
        key = job.details.get("message_key") if job.details else None
        own = job.variables or {}
        return Order(
            recipient=Recipient(job.address or "", job.name or ""),
            message_id=f"{key or job.id}@{kind.domain}",
            dated_at=job.dated_at or job.created_at,
            values={**kind.variables, **own} if kind.variables else own,
            opt_out=OptOut(*links.ways_out) if links.ways_out else None,
            pixel_url=links.pixel,
            clicked=said.clicked,
        )

    def _compiled(self, content_id: int, locale: str) -> Compiled:
        key = (content_id, locale)
        if key not in self._shelf.compiled:
            self._shelf.compiled[key] = compile_content(self._shelf.contents[content_id], locale)
        return self._shelf.compiled[key]

    def _said(self, job: Job, kind: _Kind) -> Said:
        """Return what the pixel and the links of this mail say."""
        if not measuring.measured(job):
            return measuring.NOTHING
        # The day on which all else of the mail is counted, whenever it is sent.
        day = job.created_at.date()
        if (audience := kind.audiences.get(day)) is None:
            campaign = job.campaign_id or (job.tags or {}).get("campaign") or ""
            named = Audience(job.tenant_id, job.stream, campaign, job.topic or "", job.template or "", day)
            audience = kind.audiences[day] = named.pack()
        return measuring.said(job, kind.consent, self._shelf.choices.get(job.id), audience)


def _purpose(job: Job, sending: _Sending) -> Purpose:
    domain = job.from_address.rpartition("@")[2]
    promotional = job.stream is Stream.PROMOTIONAL
    if not promotional and not job.leavable:
        return Transactional()
    topic = sending.topics.get(job.topic or "") or TopicInfo(job.topic or "")
    if promotional:
        return Promotional(topic, PostalAddress(sending.tenant.postal_address), domain)
    return Transactional(topic, domain)


def _sending(session: Session, tenant_id: int, keyring: Keyring) -> _Sending:
    tenant = session.get_one(Tenant, tenant_id)
    session.refresh(tenant)
    topics = session.exec(select(Topic).where(Topic.tenant_id == tenant_id)).all()
    names = {topic.key: TopicInfo(topic.key, topic.names) for topic in topics}
    return _Sending(tenant, names, keyring.usable(session, tenant_id), monotonic(), {})


@lru_cache(maxsize=1024)
def _sender_id(key: str) -> str:
    # R2.2: 5 to 15 characters, stable.
    return f"{_SENDER_ID.sub('', key)[:15]:m<5}"


def _feedback_id(job: Job, tenant: Tenant) -> Sequence[str]:
    """Return campaign, topic, stream and sender: never personal, and no field repeats another (R2.2)."""
    campaign = (job.tags or {}).get("campaign") or job.campaign_id or job.template or "direct"
    fields = [_clean(campaign), _clean(job.topic or "none"), str(job.stream), _sender_id(tenant.key)]
    for place in range(2):
        if fields[place] in fields[place + 1 :]:
            fields[place] = f"{'ct'[place]}-{fields[place]}"
    return fields


@lru_cache(maxsize=1024)
def _clean(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)[:40] or "none"
