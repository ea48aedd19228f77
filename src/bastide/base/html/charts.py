"""Geometry of charts, for the macros to draw: the server makes the picture, no script is needed.

A chart is WIDTH by HEIGHT units, stretched to its place; strokes keep their width and letters stand
outside, in HTML, so that stretching harms neither.

    line        the height is the highest value, or `least_top` if all are lower
    histogram   a bar a bucket from the first used to the last one, one bucket of air on both sides
    columns     two counts a step, one upon the other; the height is the highest sum
"""

from collections.abc import Sequence
from itertools import accumulate

import msgspec

WIDTH = 320.0
HEIGHT = 64.0
_BAR_GAP = 1.0


class Line(msgspec.Struct, frozen=True):
    """`path` is the line, `area` what is under it; both are "" with fewer than two values."""

    path: str
    area: str
    peak: float
    last: float


class Bar(msgspec.Struct, frozen=True):
    x: float
    y: float
    width: float
    height: float
    count: int


class Mark(msgspec.Struct, frozen=True):
    """A quantile: where it stands, and its value."""

    name: str
    x: float
    value: float


class Histogram(msgspec.Struct, frozen=True):
    """Bars between the bounds `low` and `high`; none if nothing was counted."""

    bars: Sequence[Bar]
    marks: Sequence[Mark]
    low: float
    high: float
    count: int


class Columns(msgspec.Struct, frozen=True):
    """`lower` and the `upper` that stand on them; none if nothing was counted."""

    lower: Sequence[Bar]
    upper: Sequence[Bar]
    peak: int


def line(values: Sequence[float], *, least_top: float = 1.0) -> Line:
    """`values`, oldest first, at equal distances."""
    peak, last = max(values, default=0.0), values[-1] if values else 0.0
    if len(values) < 2:
        return Line("", "", peak, last)
    top = max(least_top, peak)
    step = WIDTH / (len(values) - 1)
    points = " ".join(f"{n * step:.1f},{_height(v, top):.1f}" for n, v in enumerate(values))
    area = f"0,{HEIGHT:.0f} {points} {WIDTH:.0f},{HEIGHT:.0f}"
    return Line(points, area, peak, last)


def histogram(bounds: Sequence[float], counts: Sequence[int]) -> Histogram:
    """Bucket n counts what is above `bounds[n - 1]` and at most `bounds[n]`; the last bucket, which
    has no bound, what is above all.
    """
    assert len(counts) == len(bounds) + 1
    total = sum(counts)
    if not total:
        return Histogram((), (), 0, 0, 0)
    used = [n for n, count in enumerate(counts) if count]
    first, last = max(used[0] - 1, 0), min(used[-1] + 1, len(counts) - 1)
    used_counts = counts[first : last + 1]
    bars = _bars(used_counts, max(used_counts))
    marks = [
        Mark(name, _middle(bars[n - first]), bounds[min(n, len(bounds) - 1)])
        for name, n in (("p50", _bucket(counts, 0.5)), ("p99", _bucket(counts, 0.99)))
    ]
    low = bounds[first - 1] if first else 0.0
    return Histogram(bars, marks, low, bounds[min(last, len(bounds) - 1)], total)


def columns(lower: Sequence[int], upper: Sequence[int]) -> Columns:
    """Counts of equal steps, the oldest first."""
    sums = [low + up for low, up in zip(lower, upper, strict=True)]
    peak = max(sums, default=0)
    if not peak:
        return Columns((), (), 0)
    high = [HEIGHT - _height(count, peak) for count in lower]
    stood = _bars(lower, peak)
    lifted = [
        msgspec.structs.replace(bar, y=round(bar.y - under, 1))
        for bar, under in zip(_bars(upper, peak), high, strict=True)
    ]
    return Columns(stood, lifted, peak)


def _bars(counts: Sequence[int], top: int) -> Sequence[Bar]:
    width = WIDTH / len(counts)
    return [
        Bar(
            x=round(n * width + _BAR_GAP / 2, 1),
            y=round(_height(count, top), 1),
            width=round(width - _BAR_GAP, 1),
            height=round(HEIGHT - _height(count, top), 1),
            count=count,
        )
        for n, count in enumerate(counts)
    ]


def _bucket(counts: Sequence[int], share: float) -> int:
    """The bucket that holds the `share` quantile."""
    wanted = share * sum(counts)
    return next(n for n, seen in enumerate(accumulate(counts)) if seen >= wanted and seen)


def _middle(bar: Bar) -> float:
    return round(bar.x + bar.width / 2, 1)


def _height(value: float, top: float) -> float:
    """From above: 0 is the top, with a unit of air for the stroke."""
    return HEIGHT - (HEIGHT - 1) * value / top
