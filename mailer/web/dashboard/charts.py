"""Charts as SVG, made here: classes for the style sheet, a title a bar, no script and no style inside."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

_WIDTH, _HEIGHT = 360, 128
_TOP, _BOTTOM = 18, 20
_GAP = 0.34


class Bar(NamedTuple):
    """One bar: what stands under it, how high it is, what stands above it."""

    label: str
    value: int
    shown: str


def bars(said: str, data: Sequence[Bar]) -> Markup:
    """Return a bar chart; `said` tells it in a sentence to whoever does not see it."""
    most = max((bar.value for bar in data), default=0) or 1
    slot = _WIDTH / max(len(data), 1)
    room = _HEIGHT - _TOP - _BOTTOM
    parts = [
        Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(_WIDTH, _HEIGHT, said),
        Markup('<line class="ground" x1="0" x2="{}" y1="{y}" y2="{y}"/>').format(_WIDTH, y=_HEIGHT - _BOTTOM),
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
