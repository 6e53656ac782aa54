"""Both streams at one glance: paused or going, which relays rest, how long mail waits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlmodel import Session

from mailer import campaigns, halts, tenancy
from mailer.delivery import claims
from mailer.halts import Pause, Rest
from mailer.models import BrakeState
from mailer.settings import Settings
from suppression.rules import Stream

#: The words for a stream with nothing in its way.
GOES = "goes"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How one stream stands."""

    stream: Stream
    paused: Pause | None
    #: The relays of the settings in their order, then others that rest; with its rest or None.
    relays: Mapping[str, Rest | None]
    #: Whether every relay of the settings rests.
    silent: bool
    #: Since when the oldest email that could go now has been due; None where nothing waits.
    oldest_due_at: datetime | None
    at: datetime
    #: Whose mail of the stream is paused, by the tenant's key.
    tenants: Mapping[str, Pause] = field(default_factory=dict)
    #: What is above a limit, in words.
    warnings: Sequence[str] = ()

    @property
    def age(self) -> timedelta:
        """Return for how long the oldest due email has been waiting."""
        return self.at - (self.oldest_due_at or self.at)

    @property
    def words(self) -> str:
        """Return how it stands, as one says it."""
        resting = [_resting(rest, self.at) for rest in self.relays.values() if rest is not None]
        told = []
        if self.paused is not None:
            told.append(f"an operator paused it at {_moment(self.paused.since)}: {self.paused.reason}")
        if self.silent:
            told.append("nothing goes, because every relay rests")
        told += resting
        return "; ".join(told) or GOES

    @property
    def summary(self) -> str:
        """Return how it stands for everybody and for single tenants, as one says it."""
        paused = [f"{key} is paused since {_moment(each.since)}: {each.reason}" for key, each in self.tenants.items()]
        own = [self.words] if self.words != GOES or not (paused or self.warnings) else []
        return "; ".join([*own, *paused, *self.warnings])

    def view(self) -> dict[str, object]:
        """Return the state as JSON shows it."""
        return {
            "stream": self.stream,
            "paused": self.paused is not None,
            "reason": self.paused.reason if self.paused else None,
            "since": self.paused.since if self.paused else None,
            "oldest_due_at": self.oldest_due_at,
            "queue_age_seconds": round(self.age.total_seconds(), 3),
            "relays": [_relay(name, rest) for name, rest in self.relays.items()],
            "tenants": [
                {"tenant": key, "reason": each.reason, "since": each.since} for key, each in self.tenants.items()
            ],
            "warnings": list(self.warnings),
            "summary": self.summary,
        }


def states(session: Session, settings: Settings, now: datetime) -> Sequence[State]:
    """Return how every stream stands; nothing is counted, whatever waits."""
    current, keys = halts.current(session, now), {each.id: each.key for each in tenancy.tenants(session)}
    warned = [each for each in campaigns.warnings(session, now) if each.state is BrakeState.WARNED]
    return [
        replace(
            _state(session, stream, _names(settings, stream), current),
            tenants={
                keys.get(number, str(number)): pause for (of, number), pause in current.tenants.items() if of is stream
            },
            warnings=[
                f"{keys.get(each.tenant_id, '')} {each.campaign_id or stream}: {each.reason}"
                for each in warned
                if each.stream == stream
            ],
        )
        for stream in Stream
    ]


def _state(session: Session, stream: Stream, relays: Sequence[str], current: halts.Halts) -> State:
    known: dict[str, Rest | None] = {name: current.rest(stream, name) for name in relays}
    # A command may be given other settings than the workers.
    others = {rest.relay: rest for rest in current.rests if rest.stream is stream and rest not in known.values()}
    return State(
        stream=stream,
        paused=current.paused.get(stream),
        relays={**known, **others},
        silent=current.silent(stream, relays),
        oldest_due_at=claims.oldest_due(session, stream, current.at),
        at=current.at,
    )


def _names(settings: Settings, stream: Stream) -> Sequence[str]:
    return [relay.name for relay in settings.relays(stream)]


def _relay(name: str, rest: Rest | None) -> dict[str, object]:
    return {
        "name": name,
        "resting": rest is not None,
        "reason": rest.reason if rest else None,
        "since": rest.since if rest else None,
        "until": rest.until if rest else None,
        "failures": rest.failures if rest else 0,
    }


def _resting(rest: Rest, now: datetime) -> str:
    again = f"tried again at {_moment(rest.until)}" if rest.until > now else "tried again with the next mail"
    return f"{rest.relay} rests since {_moment(rest.since)} ({rest.reason}), {again}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
