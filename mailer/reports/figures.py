"""Every number of a report: its name, how it is worked out, and the formula in words (spec section 10). Pure."""

from collections import Counter as Sums
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, TypeAlias

#: What a report is worked out of: metric -> how many.
Counted: TypeAlias = Sums[str]

_SUPPRESSED = "suppressed:"
#: What is counted where an email's way has ended, besides the suppressed ones; each email once.
_ENDED = ("sent", "bounced", "failed", "cancelled", "expired", "uncertain")


class Figure(NamedTuple):
    """One number: what it is called, its value (None where there is nothing to divide by), how it is worked out."""

    name: str
    value: float | None
    formula: str


class _Count(NamedTuple):
    """A number of emails, or of events."""

    name: str
    of: Callable[[Counted], int]
    formula: str


class _Rate(NamedTuple):
    """A part of a whole, both figures above it; never more than 1."""

    name: str
    part: str
    whole: str


def added(several: Iterable[Mapping[str, int]]) -> Counted:
    """Return what was counted in all of these together."""
    total = Counted()
    for sums in several:
        total.update(sums)
    return total


def reasons(sums: Counted) -> Mapping[str, int]:
    """Return how many emails each reason suppressed."""
    return {
        metric.removeprefix(_SUPPRESSED): amount
        for metric, amount in sorted(sums.items())
        if metric.startswith(_SUPPRESSED)
    }


def _suppressed(sums: Counted) -> int:
    return sum(amount for metric, amount in sums.items() if metric.startswith(_SUPPRESSED))


def outstanding(sums: Counted) -> int:
    """Return how many emails have not come to an end: requested, less every final status."""
    ended = _suppressed(sums) + sum(sums[metric] for metric in _ENDED)
    return max(0, sums["requested"] - ended)


def progress(sums: Counted) -> dict[str, int]:
    """Return the few numbers that say how far a campaign is; requested is the sum of the others."""
    ended = {metric: sums[metric] for metric in _ENDED}
    return {"requested": sums["requested"], "held": outstanding(sums), "suppressed": _suppressed(sums), **ended}


def reached(sums: Counted) -> tuple[int, str]:
    """Return how many mails arrived, and how that is known: told where most were, else what did not come back.

    Of two relays only one may tell; what it tells says nothing of the other's mail.
    """
    if 2 * sums["delivered"] > sums["sent"]:
        return sums["delivered"], "delivered"
    return sums["sent"] - sums["returned"], "accepted (deliveries are not told, or of fewer than half of the mails)"


class _Sum:
    """What is a sum of metrics, and of which."""

    def __init__(self, *metrics: str) -> None:
        self.metrics = metrics

    def __call__(self, sums: Counted) -> int:
        return sum(sums[metric] for metric in self.metrics)


REQUESTED = "emails accepted in these days, one a recipient"
_TRUE = "a person's mail program, or a proxy for the person,"

#: In the order in which they are shown; a formula names figures above it.
FIGURES: tuple[_Count | _Rate, ...] = (
    _Count("requested", _Sum("requested"), REQUESTED),
    _Count("suppressed", _suppressed, "requested and not sent, because a suppression forbids it"),
    _Count("waiting", outstanding, "requested - every final status"),
    _Count("sent", _Sum("sent"), "the relay took it (sent_at is set)"),
    _Count("deferrals", _Sum("deferred"), "tries that the relay put off, all counted"),
    _Count("refused_at_once", _Sum("bounced"), "the recipient's side refused it when it was sent, or retries ran out"),
    _Count("tried", _Sum("sent", "bounced"), "sent + refused_at_once"),
    _Count("returned", _Sum("returned"), "sent, and came back later"),
    _Count("bounced", _Sum("bounced", "returned"), "refused_at_once + returned"),
    _Count("hard_bounced", _Sum("hard_bounced"), "of these, the address is the cause and will stay so"),
    _Count("soft_bounced", _Sum("soft_bounced"), "bounced - hard_bounced"),
    _Count("accepted", lambda sums: sums["sent"] - sums["returned"], "sent - returned"),
    _Count("delivered", _Sum("delivered"), "a provider, or a delivery report, told that it arrived"),
    _Count("arrived", lambda sums: reached(sums)[0], "delivered where most deliveries are told, else accepted"),
    _Count("failed", _Sum("failed"), "our or the content's fault"),
    _Count("cancelled", _Sum("cancelled"), "taken back before it was sent"),
    _Count("expired", _Sum("expired"), "expires_at passed before it was sent"),
    _Count("uncertain", _Sum("uncertain"), "a worker died between asking and answer, and it is not sent twice"),
    _Rate("delivery_rate", "arrived", "sent"),
    _Rate("bounce_rate", "bounced", "tried"),
    _Rate("hard_bounce_rate", "hard_bounced", "tried"),
    _Rate("soft_bounce_rate", "soft_bounced", "tried"),
    _Count("tracked", _Sum("tracked"), "accepted with a pixel"),
    _Rate("coverage", "tracked", "accepted"),
    _Count("opens_human", _Sum("opens:human"), "tracked emails whose picture a person's mail program loaded"),
    _Count("opens_proxy", _Sum("opens:proxy"), "tracked emails whose picture a proxy loaded for the person"),
    _Count(
        "opens_machine",
        _Sum("opens:machine"),
        "tracked emails whose picture a machine loaded, read or not; never added",
    ),
    _Count("opens_unknown", _Sum("opens:unknown"), "tracked emails whose picture who-knows-who loaded; never added"),
    _Count(
        "opened", _Sum("read"), f"emails whose picture {_TRUE} loaded, or a link of which a person followed, each once"
    ),
    _Count(
        "opens_machine_only",
        lambda sums: sums["touched"] - sums["read"],
        "tracked emails whose picture a machine loaded and that are not opened; beside them, never added",
    ),
    _Count("opens_total", _Sum("opens_total:human", "opens_total:proxy"), f"every time that {_TRUE} loaded a picture"),
    _Rate("open_rate", "opened", "tracked"),
    _Count("tracked_links", _Sum("tracked_links"), "accepted with a link whose clicks are counted"),
    _Count("clicks_human", _Sum("clicks:human"), "emails a link of which a person followed"),
    _Count("clicks_proxy", _Sum("clicks:proxy"), "emails a link of which a proxy followed for the person"),
    _Count("clicks_machine", _Sum("clicks:machine"), "emails a link of which a machine followed; never added"),
    _Count("clicks_unknown", _Sum("clicks:unknown"), "emails a link of which who-knows-who followed; never added"),
    _Count(
        "clicked", _Sum("clicked"), "emails a link of which a person, or a proxy for the person, followed, each once"
    ),
    _Count(
        "clicks_total",
        _Sum("clicks_total:human", "clicks_total:proxy"),
        "every time that a person, or a proxy for the person, followed a link",
    ),
    _Rate("click_rate", "clicked", "tracked_links"),
    _Rate("click_to_open_rate", "clicked", "opened"),
    _Count(
        "unsubscribed",
        _Sum("unsubscribed"),
        "emails whose recipient left by them and had not complained of them before",
    ),
    _Count("resubscribed", _Sum("resubscribed"), "of these, taken back"),
    _Count("left", lambda sums: sums["unsubscribed"] - sums["resubscribed"], "unsubscribed - resubscribed"),
    _Rate("unsubscribe_rate", "left", "arrived"),
    _Count("complained", _Sum("complained"), "emails whose recipient called them spam"),
    _Rate("complaint_rate", "complained", "arrived"),
)
_COUNTS = tuple(each for each in FIGURES if isinstance(each, _Count))
#: The figures that count; the others are a part of a whole.
COUNTS = frozenset(each.name for each in _COUNTS)
#: The rates, each with the figures that it is the part and the whole of.
RATES: Mapping[str, tuple[str, str]] = {
    each.name: (each.part, each.whole) for each in FIGURES if isinstance(each, _Rate)
}
NAMES = tuple(each.name for each in FIGURES)


def figures(sums: Counted, *, requested: str = REQUESTED, only: Collection[str] | None = None) -> tuple[Figure, ...]:
    """Work out every number from the sums, or only those that are named."""
    values: dict[str, int] = {}
    found = []
    for each in FIGURES:
        value: float | None
        if isinstance(each, _Count):
            value = values[each.name] = each.of(sums)
        else:
            value = rate_of(values[each.part], values[each.whole])
        if only is None or each.name in only:
            found.append(Figure(each.name, value, _formula(each, sums, requested)))
    return tuple(found)


def _formula(figure: _Count | _Rate, sums: Counted, requested: str) -> str:
    if isinstance(figure, _Count):
        return requested if figure.name == "requested" else figure.formula
    whole = reached(sums)[1] if figure.whole == "arrived" else figure.whole
    return f"{figure.part} / {whole}, at most 1"


def metrics_of(names: Collection[str]) -> frozenset[str] | None:
    """Return the metrics that some of the figures that count are sums of; None: one of them is more than a sum."""
    found = [each.of.metrics if isinstance(each.of, _Sum) else None for each in _COUNTS if each.name in names]
    return None if None in found else frozenset(metric for metrics in found for metric in metrics or ())


def counts(sums: Counted, names: Collection[str]) -> dict[str, int]:
    """Work out some of the figures that count, without their formulas: a series has hundreds of points."""
    return {each.name: each.of(sums) for each in _COUNTS if each.name in names}


def rate_of(part: int, whole: int) -> float | None:
    """Return a part of a whole, at most 1, to four places; None where there is nothing to divide by."""
    return min(1.0, round(part / whole, 4)) if whole > 0 else None
