"""Charts as SVG, made here: classes for the style sheet, a title a bar, no script and no style inside."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

#: About as wide as a phone, so that the letters are read there too.
_WIDTH, _HEIGHT = 360, 128
_TOP, _BOTTOM = 18, 20
_GAP = 0.34
#: Of lines, which want more height than bars.
_TALL = 170
_LEFT = 8
_ROW, _THICK = 44, 18


class Bar(NamedTuple):
    """One bar: what stands under it, how high it is, what stands above it."""

    label: str
    value: int
    shown: str


class Line(NamedTuple):
    """One line of several over the same points: what it is about, and how high it is at each."""

    name: str
    values: Sequence[int]


class Stack(NamedTuple):
    """A bar of several parts, one behind the other."""

    label: str
    parts: Sequence[Bar]


class Chart(NamedTuple):
    """A picture, and the same as a table for whoever wants to read it or does not see it."""

    picture: Markup
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    #: What each line or part is; empty where there is only one kind.
    legend: Sequence[str] = ()
    #: Whether the legend names parts of a bar; else it names lines.
    in_parts: bool = False


def bars(said: str, data: Sequence[Bar]) -> Markup:
    """Return a bar chart; `said` tells it in a sentence to whoever does not see it."""
    most = max((bar.value for bar in data), default=0) or 1
    slot = _WIDTH / max(len(data), 1)
    room = _HEIGHT - _TOP - _BOTTOM
    parts = [
        _open(said, _HEIGHT),
        _ground(_HEIGHT - _BOTTOM),
    ]
    for place, bar in enumerate(data):
        # A little is more than nothing, and is seen to be.
        height = max(room * bar.value / most, 2.0) if bar.value else 0.0
        middle = slot * (place + 0.5)
        parts.append(
            Markup(
                '<g><title>{label}: {shown}</title><rect class="bar" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}"'
                ' height="{h:.1f}" rx="2"/><text class="value" x="{m:.1f}" y="{t:.1f}">{shown}</text>'
                '<text class="label" x="{m:.1f}" y="{u}">{label}</text></g>'
            ).format(
                label=bar.label,
                shown=bar.shown,
                x=middle - slot * (1 - _GAP) / 2,
                y=_HEIGHT - _BOTTOM - height,
                w=slot * (1 - _GAP),
                h=height,
                m=middle,
                t=_HEIGHT - _BOTTOM - height - 5,
                u=_HEIGHT - 5,
            )
        )
    return Markup("").join([*parts, Markup("</svg>")])


def lines(said: str, labels: Sequence[str], data: Sequence[Line], shown: Callable[[int], str]) -> Markup:
    """Return lines over time from 0 to the highest of all; `labels` stand under the first, middle and last point."""
    most = max((value for line in data for value in line.values), default=0) or 1
    ground, room = _TALL - _BOTTOM, _TALL - _BOTTOM - _TOP
    parts = [
        _open(said, _TALL),
        _ground(ground),
        Markup('<line class="grid-line" x1="0" x2="{}" y1="{y}" y2="{y}"/>').format(_WIDTH, y=_TOP),
        Markup('<text class="scale" x="0" y="{}">{}</text>').format(_TOP - 5, shown(most)),
    ]
    for number, line in enumerate(data):
        step = (_WIDTH - 2 * _LEFT) / max(len(line.values) - 1, 1)
        points = [
            # What is taken back may make an hour less than nothing; the table says how much.
            f"{_LEFT + step * place:.1f},{ground - room * max(value, 0) / most:.1f}"
            for place, value in enumerate(line.values)
        ]
        # A single point would be no line.
        drawn = points if len(points) > 1 else [*points, f"{_WIDTH - _LEFT},{points[0].partition(',')[2]}"]
        parts.append(
            Markup('<polyline class="line line-{}" points="{}"><title>{}</title></polyline>').format(
                number + 1, " ".join(drawn), line.name
            )
        )
    places = (("begin", _LEFT, 0), ("middle", _WIDTH / 2, len(labels) // 2), ("end", _WIDTH - _LEFT, -1))
    for anchor, x, place in places[:: 1 if len(labels) > 2 else 2][: len(labels)]:
        parts.append(Markup('<text class="at-{}" x="{}" y="{}">{}</text>').format(anchor, x, _TALL - 5, labels[place]))
    return Markup("").join([*parts, Markup("</svg>")])


def stacks(said: str, data: Sequence[Stack]) -> Markup:
    """Return lying bars of several parts; the longest of all is as wide as the picture."""
    most = max((sum(part.value for part in stack.parts) for stack in data), default=0) or 1
    parts = [_open(said, _ROW * len(data))]
    for row, stack in enumerate(data):
        top, x = _ROW * row, 0.0
        parts.append(Markup('<text class="at-begin value" x="0" y="{}">{}</text>').format(top + 15, stack.label))
        parts.append(
            Markup('<rect class="trough" x="0" y="{}" width="{}" height="{}" rx="2"/>').format(top + 21, _WIDTH, _THICK)
        )
        for number, part in enumerate(stack.parts):
            width = _WIDTH * part.value / most
            parts.append(
                Markup(
                    '<rect class="part-{}" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}: {}</title></rect>'
                ).format(number + 1, x, top + 21, width, _THICK, part.label, part.shown)
            )
            x += width
    return Markup("").join([*parts, Markup("</svg>")])


def funnel(said: str, data: Sequence[Bar]) -> Markup:
    """Return a bar a step, each as wide as what is left of the first."""
    most = max((bar.value for bar in data), default=0) or 1
    parts = [_open(said, _ROW * len(data))]
    for row, bar in enumerate(data):
        top = _ROW * row
        parts.append(
            Markup(
                '<g><title>{label}: {shown}</title><text class="at-begin" x="0" y="{y}">{label}</text>'
                '<text class="at-end value" x="{w}" y="{y}">{shown}</text>'
                '<rect class="trough" x="0" y="{t}" width="{w}" height="{h}" rx="2"/>'
                '<rect class="bar" x="0" y="{t}" width="{b:.1f}" height="{h}" rx="2"/></g>'
            ).format(
                label=bar.label,
                shown=bar.shown,
                y=top + 15,
                t=top + 21,
                w=_WIDTH,
                h=_THICK,
                b=max(_WIDTH * bar.value / most, 2.0) if bar.value else 0.0,
            )
        )
    return Markup("").join([*parts, Markup("</svg>")])


def _open(said: str, height: int) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, height, said)


def _ground(y: int) -> Markup:
    return Markup('<line class="ground" x1="0" x2="{}" y1="{y}" y2="{y}"/>').format(_WIDTH, y=y)
