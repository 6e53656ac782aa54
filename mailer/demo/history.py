"""A week of the sample company's past: lived by the real verbs with a clock that is behind, nothing counted by hand."""

import heapq
import itertools
import random
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial
from itertools import groupby

from sqlmodel import Session

from mailer import alarms, audit, campaigns, catalogue, people, submission, tenancy
from mailer.audit import COMMAND_LINE, Act
from mailer.campaigns import Recipient
from mailer.campaigns.drafts import CampaignDraft
from mailer.causes import Category
from mailer.delivery import claims
from mailer.demo import cast, samples, told
from mailer.demo.cast import PLANS, Plan
from mailer.demo.playing import Progress, found
from mailer.demo.reacting import Reactions, opt_out
from mailer.demo.samples import Person, Sample
from mailer.demo.sending import NEWS, Sending, Sent, send
from mailer.drafts import TemplateDraft, TenantChange, parse
from mailer.feedback import hearing, optouts
from mailer.feedback.inbound.report import Kind as Told
from mailer.feedback.inbound.report import Proof, Report
from mailer.feedback.optouts import How, Kind
from mailer.feedback.tracking.recording import record
from mailer.feedback.tracking.sightings import Sighting
from mailer.inbox import read
from mailer.models import UserRole
from mailer.service import Service
from mailer.submission import Accepted, Submitter
from mailer.targets import Link
from mailer.users import accounts
from suppression import address
from suppression.rules import Stream

#: Who else looks at the dashboard; the first of them tells that the past was lived already.
TEAM = (
    ("ivo.lang@ringwise.example", "Ivo Lang", UserRole.MARKETER),
    ("mira.stone@ringwise.example", "Mira Stone", UserRole.SUPPORT),
    ("noah.finch@ringwise.example", "Noah Finch", UserRole.VIEWER),
)
#: How many days are lived, and when on each single mails go out.
_DAYS = 6
_SINGLES = (timedelta(hours=9, minutes=12), timedelta(hours=13, minutes=40), timedelta(hours=17, minutes=25))
_EACH = 6
_ROUNDS = 20
_SINGLE = ("invoice", "welcome", "purchase-confirmation", "password-reset", "new-lead", "subscription-expiry-reminder")
#: Recipients are added so long before their campaign is sent.
_BEFORE = timedelta(minutes=40)
#: Hits are written together that come within one such span.
_SPAN = timedelta(hours=6)
_CLICK = re.compile(r'/c/([\w-]+)"')

#: Does something at a moment, and returns what was sent by that.
Do = Callable[[Session, datetime], Sequence[Sent] | None]


async def live(service: Service, progress: Progress) -> int | None:
    """Fill a folder with the past, once; return how many mails were sent in it, None where it was there already."""

    def fresh(session: Session) -> int | None:
        tenant = tenancy.only_tenant(session, tenancy.DEFAULT)
        return tenant.id if accounts.named(session, TEAM[0][0]) is None else None

    tenant_id = await service.database.read(fresh)
    return None if tenant_id is None else await Past(service, tenant_id, service.now()).live(progress)


class Past:
    """What happens, in the order of its moments; what was sent leads to what people do with it."""

    def __init__(self, service: Service, tenant_id: int, now: datetime) -> None:
        """Plan everything that is not an answer to something else; `now` is where the past ends."""
        self._service, self._tenant_id = service, tenant_id
        self._sender, self._intake = Submitter.trusted(tenant_id), service.intake
        # The die always falls the same: two folders tell the same story. No secret hangs on it.
        self._die = random.Random(7)
        self._reactions = Reactions(service.links, self._die)
        self._readers = cast.readers()
        #: A minute is left to what happens now.
        self._end = now - timedelta(minutes=1)
        self._today = datetime.combine(now.date(), time(), UTC)
        self._gone = self._day(2)
        self._acts: list[tuple[datetime, int, Do]] = []
        self._numbers = itertools.count()
        self._campaigns: dict[str, str] = {}
        self._plan()

    async def live(self, progress: Progress) -> int:
        """Do everything, each act in a transaction of its own; whoever uses the service meanwhile comes first."""
        done = total = 0
        while self._acts:
            moment, _, do = heapq.heappop(self._acts)
            sent = await self._service.database.run(partial(self._done, do, moment), urgency=3)
            done += 1
            progress(done, done + len(self._acts))
            if sent:
                total += len(sent)
                self._answered(sent, await self._links_of(sent[0]))
        return total

    def _done(self, do: Do, moment: datetime, session: Session) -> Sequence[Sent]:
        sent = do(session, moment)
        told.tell(session, self._tenant_id, moment, self._gone)
        return sent or ()

    def _day(self, before: int, at: timedelta = timedelta()) -> datetime:
        return self._today - timedelta(days=before) + at

    def _at(self, moment: datetime, do: Do) -> None:
        """Have something done at a moment; what would come after the end does not happen."""
        if moment < self._end:
            heapq.heappush(self._acts, (moment, next(self._numbers), do))

    def _plan(self) -> None:
        self._at(self._day(_DAYS + 1, timedelta(hours=16)), self._found)
        self._at(self._day(1, timedelta(hours=16)), self._change_template)
        self._at(self._day(3, timedelta(hours=8)), self._hear_of_nobody)
        for day in range(_DAYS + 1):
            for at in _SINGLES:
                self._at(self._day(day, at), self._send_singles)
        for plan in PLANS:
            sends = self._sends(plan)
            self._at(min(sends, self._end) - _BEFORE, partial(self._create, plan))
            if plan.end not in ("draft", "scheduled"):
                self._at(sends, partial(self._send, plan))

    def _sends(self, plan: Plan) -> datetime:
        """Return when a campaign is sent; what has no time of its own, an hour or two before the end."""
        return self._day(plan.day, plan.time) if plan.day else self._end - timedelta(hours=1)

    def _found(self, session: Session, moment: datetime) -> None:
        """Settle how the company measures, who works there, what it tells to whom, and what readers have said."""
        found(session)
        tenant, tenant_id = tenancy.only_tenant(session, tenancy.DEFAULT), self._tenant_id
        individual = dict.fromkeys(("promotional_opens", "promotional_clicks"), "individual")
        tenancy.change_tenant(session, tenant, parse(TenantChange, {**individual, "consent": "not_refused"}))
        for email, name, role in TEAM:
            user = accounts.create(session, email, moment, name=name)
            accounts.seat(session, tenant_id, user, role, moment)
            audit.write(session, COMMAND_LINE, Act.USER_CREATED, moment, tenant_id=tenant_id, target=user.id)
        told.found(session, self._service.hooks, tenant_id, moment)
        catalogue.save(session, tenant_id, catalogue.drafted(parse(TemplateDraft, cast.OFFERS[0])), moment)
        for place, person in enumerate(self._readers[3::11]):
            print_ = self._print(person)
            people.choose_tracking(session, tenant_id, print_, granted=place % 3 == 0, source="preferences", now=moment)

    def _change_template(self, session: Session, moment: datetime) -> None:
        catalogue.save(session, self._tenant_id, catalogue.drafted(parse(TemplateDraft, cast.OFFERS[1])), moment)

    def _create(self, plan: Plan, session: Session, moment: datetime) -> None:
        """Make a campaign, and add its readers."""
        shared = {} if plan.template == cast.OFFER else samples.content(plan.template).schema.example()
        own = "name" in shared or plan.template == cast.OFFER
        shared.pop("name", None)
        asked: dict[str, object] = {
            "name": plan.name,
            "template": plan.template,
            "variables": shared,
            "tags": {"source": "demo"},
            "tracking": {"opens": plan.opens, "clicks": plan.opens},
        }
        if plan.end == "scheduled":
            asked["scheduled_at"] = self._sends(plan).isoformat()
        draft = parse(CampaignDraft, asked)
        campaign = campaigns.create(session, self._sender, draft, self._intake, moment)
        self._campaigns[plan.name] = campaign.id
        chosen = [
            Recipient(address.parse(each.email), each.name, {"name": each.name.partition(" ")[0]} if own else {})
            for each in self._readers[slice(*plan.readers)]
        ]
        campaigns.add_recipients(session, self._sender, campaign.id, chosen, self._intake, moment)

    def _send(self, plan: Plan, session: Session, moment: datetime) -> Sequence[Sent]:
        """Start a campaign, send its mail, and end it as planned: in one transaction, so that no worker takes any."""
        campaign_id = self._campaigns[plan.name]
        campaigns.start(session, self._sender, campaign_id, self._intake, moment)
        answers = NEWS if plan.end == "done" else {}
        sent = send(session, Sending(Stream.PROMOTIONAL, plan.after, answers), moment)
        over = max((each.at for each in sent), default=moment)
        if plan.end == "paused":
            campaigns.pause(session, self._sender, campaign_id, plan.note, over)
        elif plan.end == "cancelled":
            campaigns.cancel(session, self._sender, campaign_id, over)
        for _ in range(_ROUNDS):
            if not campaigns.sweep(session, self._intake, over):
                break
        return sent

    def _send_singles(self, session: Session, moment: datetime) -> Sequence[Sent]:
        """Send a few transactional mails, each to somebody."""
        drafts = [
            Sample(samples.content(name), self._die.choice(self._readers)).draft()
            for name in self._die.sample(_SINGLE, _EACH)
        ]
        for answer in submission.submit_many(session, self._sender, drafts, self._intake, moment):
            if not isinstance(answer, Accepted):
                raise answer
        return send(session, Sending(Stream.TRANSACTIONAL), moment)

    async def _links_of(self, sent: Sent) -> Sequence[Link]:
        """Return the links that stand in a mail, as its letter has them."""
        if sent.said.clicked is None:
            return ()
        service = self._service
        job = await service.database.read(lambda session: claims.job(session, sent.job.id))
        assert job is not None, "it was sent a moment ago"
        await service.letters.prepare([job])
        (letter,) = await service.letters.compose([job])
        if isinstance(letter, Exception):
            raise letter
        hits = [service.links.read_click(token) for token in _CLICK.findall(read(letter.data).html or "")]
        found = {hit.link.place: hit.link for hit in hits if hit is not None and hit.link is not None}
        return [found[place] for place in sorted(found)]

    def _answered(self, sent: Sequence[Sent], links: Sequence[Link]) -> None:
        """Plan what people, machines and servers do with mail."""
        for _, some in groupby(
            self._reactions.sightings(sent, links, self._end),
            lambda each: (each.at.date(), each.at.hour * timedelta(hours=1) // _SPAN),
        ):
            hits = list(some)
            self._at(hits[-1].at, partial(self._record, hits))
        if sent[0].job.stream is Stream.TRANSACTIONAL:
            return
        scanned = [each for each in sent if (each.job.address or "").endswith(f"@{cast.SCANNED}")]
        others = [each for each in sent if each not in scanned]
        self._leave(self._die.sample(others, len(others) // 45))
        self._come_back(self._die.sample(others, len(others) // 70))
        if sent[0].job.template == "product-update":
            self._press(scanned)
        if sent[0].job.template == "newsletter":
            yahoo = next(each for each in others if each.job.provider == "yahoo")
            self._at(yahoo.at + timedelta(hours=2), partial(self._complain, yahoo))

    def _record(self, hits: Sequence[Sighting], session: Session, moment: datetime) -> None:
        record(session, hits, moment)

    def _leave(self, leavers: Sequence[Sent]) -> None:
        """Have people opt out, hours later; the first of them takes it back."""
        for place, each in enumerate(leavers):
            how = How(Kind.LINK if place % 2 else Kind.ONE_CLICK, f"198.51.100.{20 + place}")
            at = each.at + timedelta(minutes=self._die.randrange(20, 1500))
            self._at(at, partial(self._opt_out, each, how))
            if not place:
                self._at(at + timedelta(minutes=3), partial(self._undo, each))

    def _press(self, scanned: Sequence[Sent]) -> None:
        """Have a scanner press the opt-out of everybody at one company, and the alarm see it."""
        for place, each in enumerate(scanned):
            at = each.at + timedelta(seconds=44, milliseconds=90 * place)
            self._at(at, partial(self._opt_out, each, How(Kind.ONE_CLICK, f"203.0.113.{10 + place}")))
        self._at(max(each.at for each in scanned) + timedelta(minutes=2), self._look)

    def _come_back(self, returned: Sequence[Sent]) -> None:
        """Have some mail come back, for good and for the moment in turn."""
        for place, each in enumerate(returned):
            self._at(each.at + timedelta(minutes=1 + 7 * place), partial(self._bounce, each, hard=place % 2 == 0))

    def _opt_out(self, sent: Sent, how: How, session: Session, moment: datetime) -> None:
        optouts.opted_out(session, opt_out(sent), how, moment)

    def _undo(self, sent: Sent, session: Session, moment: datetime) -> None:
        optouts.undo(session, opt_out(sent), moment)

    def _look(self, session: Session, moment: datetime) -> None:
        alarms.keep(session, alarms.suspected(session, moment), moment)

    def _bounce(self, sent: Sent, session: Session, moment: datetime, *, hard: bool) -> None:
        said = _GONE if hard else _FULL
        report = said._replace(recipient=sent.job.address, at=moment)
        hearing.hear(session, [(report, Proof("return_path", sent.job.id))], moment)

    def _complain(self, sent: Sent, session: Session, moment: datetime) -> None:
        report = Report(Told.COMPLAINED, recipient=sent.job.address, at=moment, source="arf", reporter="yahoo.com")
        hearing.hear(session, [(report, Proof("return_path", sent.job.id))], moment)

    def _hear_of_nobody(self, session: Session, moment: datetime) -> None:
        """Take in a report about a mail that was never ours: nothing follows from it; it is kept to be looked at."""
        report = _GONE._replace(
            recipient="sample-nobody@elsewhere.example", message_id="<1b7e@elsewhere.example>", at=moment
        )
        hearing.hear(session, [(report, Proof("return_path"))], moment)

    def _print(self, person: Person) -> bytes:
        return self._intake.fingerprints.of(self._tenant_id, address.parse(person.email).canonical)


_GONE = Report(
    *(Told.BOUNCED, Category.INVALID_RECIPIENT),
    hard=True,
    status="5.1.1",
    diagnostic="smtp; 550 5.1.1 user unknown",
    source="dsn",
    reporter="mx.elsewhere.example",
)
_FULL = Report(
    *(Told.BOUNCED, Category.MAILBOX_FULL),
    status="4.2.2",
    diagnostic="smtp; 452 4.2.2 mailbox full",
    source="dsn",
    reporter="mx.elsewhere.example",
)
