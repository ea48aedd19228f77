"""A history as a picture: a lane for each client, a bar for each operation from invoke to return.

    c1  ▐ write 1 ▌      ▐ read → 1 ▌
    c2       ▐ cas (1 2) ? ▌            dashed: its outcome is unknown
    c3            ▐ read → 7 ▌          framed: it can't be placed

The picture is one SVG file that needs nothing else: it has its own style, for light and for dark,
follows the reader's system, and each bar tells all of its operation when pointed at. What is too
long for its bar is cut; a long history is cut to what is around the marked operations.
"""

from collections.abc import Collection, Sequence
from xml.sax.saxutils import escape, quoteattr

from bastide.parts.histories.contract import Operation

SHOWN_MAX = 200
"""Operations in one picture."""
_LANE = 26  # heights and widths are in units of the picture, its pixels at first
_BAR = 18
_LEFT = 96
_TOP = 28
_EDGE = 16
_LETTER = 6.8
_WIDTH_MIN = 900
_WIDTH_MAX = 12_000
_BAR_MIN = 3.0
_UNTIL_NEXT = 1.0

_STYLE = """
:root { color-scheme: light dark }
svg { background: #faf9f6; font: 11px ui-monospace, "SF Mono", Menlo, Consolas, monospace }
text { fill: #1d1c1a } .soft { fill: #5a564e } .lane { stroke: #dedad1 }
.ok rect { fill: #bcd3e6 } .failed rect { fill: #dedad1 } .unknown rect { fill: #efd9ae }
.unknown rect { stroke: #855000; stroke-dasharray: 4 3 }
.marked rect { stroke: #a4231b; stroke-width: 2.5; stroke-dasharray: none }
.marked text { fill: #a4231b; font-weight: 700 }
@media (prefers-color-scheme: dark) {
svg { background: #151618 }
text { fill: #ecebe7 } .soft { fill: #aaa7a0 } .lane { stroke: #33363a }
.ok rect { fill: #24455f } .failed rect { fill: #33363a } .unknown rect { fill: #4d3a17 }
.unknown rect { stroke: #f1b65c }
.marked rect { stroke: #ff9f96 } .marked text { fill: #ff9f96 }
}
"""


def draw(history: Sequence[Operation], marked: Collection[int] = (), *, title: str = "") -> str:
    """The SVG. `marked` are the numbers of the operations that a finding or a witness is about;
    at most SHOWN_MAX operations are drawn, those nearest to them in time, or else the last ones.
    """
    shown = _window(history, marked)
    scale = _Scale(shown)
    lanes = _lanes(shown)
    height = _TOP + _LANE * len(lanes) + _EDGE + _LANE
    told = title or "history"
    if len(shown) < len(history):
        told += f": {len(shown)} of {len(history)} operations"
    rows = []
    for n, (process, operations) in enumerate(lanes):
        y = _TOP + _LANE * n
        middle = y + _BAR / 2
        rows.append(f'<text x="8" y="{middle + 4:.0f}">{escape(_cut(process, _LEFT - 12))}</text>')
        rows.append(
            f'<line class="lane" x1="{_LEFT}" x2="{scale.width - _EDGE:.0f}" '
            f'y1="{middle:.0f}" y2="{middle:.0f}"/>'
        )
        rows += [_bar(o, scale, y, o.number in marked) for o in operations]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {scale.width:.0f} {height}" '
        f'width="{scale.width:.0f}" height="{height}" role="img" aria-label={quoteattr(told)}>\n'
        f"<style>{_STYLE}</style>\n"
        f'<text class="soft" x="8" y="16">{escape(told)}</text>\n'
        + "\n".join(rows)
        + f"\n{scale.axis(height - 8)}\n</svg>\n"
    )


class _Scale:
    """From times to places. It is wide enough that the median bar holds a few words."""

    def __init__(self, shown: Sequence[Operation]) -> None:
        self._first = min((o.invoked for o in shown), default=0.0)
        self.last = max((_seen_until(o) for o in shown), default=0.0)
        span = self.last - self._first or 1.0
        lengths = sorted(_seen_until(o) - o.invoked for o in shown) or [span]
        median = lengths[len(lengths) // 2] or span
        room = min(max(span / median * 14 * _LETTER, _WIDTH_MIN), _WIDTH_MAX)
        self._unit = room / span
        self.width = _LEFT + room + _EDGE

    def x(self, at: float) -> float:
        return _LEFT + (at - self._first) * self._unit

    def axis(self, y: float) -> str:
        """The first and the last time."""
        return (
            f'<text class="soft" x="{_LEFT}" y="{y:.0f}">{self._first:.6g}</text>'
            f'<text class="soft" x="{self.width - _EDGE:.0f}" y="{y:.0f}" text-anchor="end">'
            f"{self.last:.6g}</text>"
        )


def _bar(operation: Operation, scale: _Scale, y: float, marked: bool) -> str:
    """Up to where its client stopped waiting, to the end of the picture if it still does."""
    x = scale.x(operation.invoked)
    end = scale.last if operation.returned is None else operation.returned
    width = max(scale.x(end) - x - _UNTIL_NEXT, _BAR_MIN)
    style = f"{operation.outcome} marked" if marked else operation.outcome
    words = escape(_cut(_words(operation), width - 4))
    return (
        f'<g class="{style}"><title>{escape(_whole(operation))}</title>'
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3"/>'
        f'<text x="{x + 4:.1f}" y="{y + 13}">{words}</text></g>'
    )


def _words(operation: Operation) -> str:
    argument = "" if operation.argument is None else f" {_value(operation.argument)}"
    key = f" {operation.key}" if operation.key else ""
    end = {"ok": f" → {_value(operation.result)}", "failed": " failed", "unknown": " ?"}
    nothing = operation.outcome == "ok" and operation.result is None and argument
    return f"{operation.kind}{key}{argument}{'' if nothing else end[operation.outcome]}"


def _whole(operation: Operation) -> str:
    end = "never" if operation.returned is None else f"{operation.returned:.9g}"
    times = f"{operation.invoked:.9g} to {end}, {operation.outcome}"
    return f"{operation.number} {operation.process}: {_words(operation)} ({times})"


def _value(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + " ".join(map(_value, value)) + ")"
    return "none" if value is None else str(value)


def _cut(words: str, width: float) -> str:
    room = int(width / _LETTER)
    return words if len(words) <= room else words[: room - 1] + "…" if room > 1 else ""


def _window(history: Sequence[Operation], marked: Collection[int]) -> Sequence[Operation]:
    """As they were invoked."""
    times = [o.invoked for o in history if o.number in marked]
    if not times:
        return sorted(history, key=lambda o: o.invoked)[-SHOWN_MAX:]

    def distance(operation: Operation) -> float:
        if operation.number in marked:
            return 0.0
        return max(min(times) - _seen_until(operation), operation.invoked - max(times), 0.0)

    # Of those inside the span of the marked, the last ones are kept: there the order broke.
    nearest = sorted(history, key=lambda o: (o.number not in marked, distance(o), -o.invoked))
    return sorted(nearest[:SHOWN_MAX], key=lambda o: o.invoked)


def _seen_until(operation: Operation) -> float:
    return operation.invoked if operation.returned is None else operation.returned


def _lanes(shown: Sequence[Operation]) -> Sequence[tuple[str, Sequence[Operation]]]:
    """A lane for each client; more, if it did several at once."""
    lanes: list[tuple[str, list[Operation]]] = []
    for operation in shown:
        for process, operations in lanes:
            if process == operation.process and _ended(operations[-1], operation.invoked):
                operations.append(operation)
                break
        else:
            lanes.append((operation.process, [operation]))
    return sorted(lanes, key=lambda lane: (len(lane[0]), lane[0]))


def _ended(operation: Operation, by: float) -> bool:
    return operation.returned is not None and operation.returned <= by
