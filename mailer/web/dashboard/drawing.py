"""Reports -> charts in words of the page's language: each a picture and the same as a table."""

from collections.abc import Mapping, Sequence

from mailer import reports
from mailer.reports import Point, Step
from mailer.reports.figures import RATES
from mailer.web.dashboard.asking import Asked
from mailer.web.dashboard.charts import Bar, Chart, Line, Stack, funnel, lines, stacks

Numbers = Mapping[str, float | None]
#: Who loaded a picture or followed a link, as a report tells them apart.
CLASSES = ("human", "proxy", "machine", "unknown")
_STEPS = ("requested", "sent", "arrived", "opened", "clicked")


def written(asked: Asked, name: str, value: float | None) -> str:
    """Return a figure as the page shows it: a share for rates, else a number."""
    return asked.figures.share(value, 2) if name in RATES else asked.figures.number(value)


def named(asked: Asked, name: str) -> str:
    """Return what a figure is called."""
    return str(asked.say(f"figure_{name}"))


def over_time(asked: Asked, points: Sequence[Point], names: Sequence[str], step: Step) -> Chart:
    """Return a line for each of some figures over hours, days or weeks."""
    labels = [_when(asked, point, step) for point in points]
    drawn = [Line(named(asked, name), [point.counts[name] for point in points]) for name in names]
    sums = ", ".join(f"{line.name}: {asked.figures.number(sum(line.values))}" for line in drawn)
    said = asked.say("chart_over_time", begin=labels[0], end=labels[-1], sums=sums)
    rows = [
        (label, *(asked.figures.number(point.counts[name]) for name in names))
        for label, point in zip(labels, points, strict=True)
    ]
    columns = (str(asked.say(f"chart_{step}")), *(line.name for line in drawn))
    return Chart(lines(said, labels, drawn, asked.figures.number), columns, rows, [line.name for line in drawn])


def by_class(asked: Asked, numbers: Numbers) -> Chart:
    """Return opens and clicks by who they were of, side by side and never added."""
    rows, drawn = [], list[Stack]()
    classes = [str(asked.say(f"class_{each}")) for each in CLASSES]
    for kind in ("opens", "clicks"):
        amounts = [int(numbers[f"{kind}_{each}"] or 0) for each in CLASSES]
        shown = [asked.figures.number(amount) for amount in amounts]
        label = str(asked.say(f"class_{kind}"))
        drawn.append(Stack(label, [Bar(*each) for each in zip(classes, amounts, shown, strict=True)]))
        rows.append((label, *shown))
    said = asked.say("chart_by_class", sums="; ".join(_said(stack) for stack in drawn))
    return Chart(stacks(said, drawn), (str(asked.say("class_what")), *classes), rows, classes, in_parts=True)


def steps(asked: Asked, numbers: Numbers) -> Chart:
    """Return how many of the requested mails got how far."""
    first = int(numbers["requested"] or 0)
    drawn, rows = list[Bar](), list[Sequence[str]]()
    for name in _STEPS:
        amount = int(numbers[name] or 0)
        share = asked.figures.share(amount / first if first else None)
        drawn.append(Bar(named(asked, name), amount, f"{asked.figures.number(amount)} · {share}"))
        rows.append((named(asked, name), asked.figures.number(amount), share))
    said = asked.say("chart_funnel", sums=", ".join(f"{bar.label}: {bar.shown}" for bar in drawn))
    head = (str(asked.say("chart_step")), str(asked.say("chart_number")), str(asked.say("chart_of_requested")))
    return Chart(funnel(said, drawn), head, rows)


def table(asked: Asked, found: reports.Table, columns: Sequence[str]) -> list[Sequence[str]]:
    """Return the rows of a table, those columns of it that a page has room for."""
    rows: list[Sequence[str]] = []
    for row in found.rows:
        values = {figure.name: figure.value for figure in row.figures}
        rows.append((row.label, *(written(asked, name, values[name]) for name in columns)))
    return rows


def _when(asked: Asked, point: Point, step: Step) -> str:
    day = asked.figures.day(point.at.date())
    return f"{day}, {point.at:%H:%M}" if step is Step.HOUR else day


def _said(stack: Stack) -> str:
    return f"{stack.label}: " + ", ".join(f"{part.label} {part.shown}" for part in stack.parts)
