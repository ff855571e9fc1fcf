"""A few marks on two axes, as SVG inside of HTML.

A plotting library would bring more than a page of figures needs: here a line is an element, its
colour is a class of the page's style sheet, so that it changes with light and dark, and whatever is
text stays text. Everything that is written goes through `escape`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape

Point = tuple[float, float]
Format = Callable[[float], str]


@dataclass(frozen=True)
class Scale:
    """Values of an axis to places on it, which is as long as 1.

    Attributes:
        low, high: values at its ends.
        log: whether equal ratios are equally far apart; low > 0 then.
        ticks: values that are marked.
        label: how they are written.
    """

    low: float
    high: float
    log: bool = False
    ticks: Sequence[float] = ()
    label: Format = field(default=lambda value: f"{value:g}")

    def place(self, value: float) -> float:
        """From 0 at the low end to 1 at the high one; beyond them, the ends."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def number(value: float) -> str:
    """As short as it can be read: 12,000 and 0.25."""
    if value and abs(value) < 0.01:
        return f"{value:.1g}"
    if abs(value) < 10:
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.1f}"


def linear(high: float, count: int = 5, label: Format = number, low: float = 0.0) -> Scale:
    """From `low` to a round number that is `high` at least."""
    span = max(high - low, 1e-9)
    step = 10 ** math.floor(math.log10(span / count))
    step = next(step * by for by in (1, 2, 2.5, 5, 10) if span / (step * by) <= count)
    top = low + step * math.ceil(span / step - 1e-9)
    ticks = [low + step * n for n in range(round((top - low) / step) + 1)]
    return Scale(low, top, ticks=ticks, label=label)


def logarithmic(low: float, high: float, label: Format = number) -> Scale:
    """From a round number below `low` to one above `high`, both > 0; ticks at 1, 2 and 5."""
    high = max(high, low * 1.01)
    few = math.log10(high / low) > 2.5
    steps = [
        by * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
        for by in ((1,) if few else (1, 2, 5))
    ]
    bottom = max(each for each in steps if each <= low * 1.0001)
    top = min(each for each in steps if each >= high * 0.9999)
    if bottom == top:
        top = min(each for each in steps if each > bottom)
    return Scale(bottom, top, True, [each for each in steps if bottom <= each <= top], label)


class Plot:
    """A figure with two axes.

    Args:
        title: what it shows, for who does not see it.
        x, y: the axes.
        x_label, y_label: what they are of, with units.
        narrow: for a telephone.
        height: of the whole, pixels.
    """

    def __init__(
        self,
        title: str,
        x: Scale,
        y: Scale,
        x_label: str,
        y_label: str,
        narrow: bool = False,
        height: int = 300,
    ) -> None:
        self._title, self._x, self._y = title, x, y
        self.width, self.height = (360 if narrow else 860), height
        self._left, self._right, self._top, self._bottom = 46, 24, 26, 40
        self._marks: list[str] = []
        self._axes(x_label, y_label, narrow)

    def at(self, x: float, y: float) -> Point:
        """Where a pair of values is, pixels."""
        wide = self.width - self._left - self._right
        high = self.height - self._top - self._bottom
        return (
            self._left + wide * self._x.place(x),
            self._top + high * (1 - self._y.place(y)),
        )

    @property
    def floor(self) -> float:
        """The lowest pixel inside the axes."""
        return float(self.height - self._bottom)

    def _axes(self, x_label: str, y_label: str, narrow: bool) -> None:
        right = self.width - self._right
        for value in self._y.ticks:
            _, y = self.at(self._x.low, value)
            self._add(
                f'<line class="grid" x1="{self._left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            self.text(self._left - 6, y + 4, self._y.label(value), "tick end")
        ticks = list(self._x.ticks)
        if narrow and len(ticks) > 6:
            ticks = ticks[::2]
        for value in ticks:
            x, _ = self.at(value, self._y.low)
            self._add(
                f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{self._top}" y2="{self.floor}"/>'
            )
            self.text(x, self.floor + 16, self._x.label(value), "tick mid")
        self._add(
            f'<line class="axis" x1="{self._left}" x2="{right}" '
            f'y1="{self.floor}" y2="{self.floor}"/>'
        )
        self.text(right, self.height - 6, x_label, "unit end")
        self.text(4, 14, y_label, "unit")

    def _add(self, element: str) -> None:
        self._marks.append(element)

    def text(self, x: float, y: float, words: str, kind: str) -> None:
        """Words at a place in pixels."""
        self._add(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(words)}</text>')

    def line(self, points: Iterable[Point], kind: str) -> None:
        """A line through values; one that is no number breaks it."""
        path, pen = [], "M"
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)):
                pen = "M"
                continue
            px, py = self.at(x, y)
            path.append(f"{pen}{px:.1f} {py:.1f}")
            pen = "L"
        if path:
            self._add(f'<path class="line {kind}" d="{"".join(path)}"/>')

    def area(self, upper: Sequence[Point], lower: Sequence[Point], kind: str) -> None:
        """What is between two lines of as many points."""
        if not upper:
            return
        corners = [self.at(*each) for each in [*upper, *reversed(lower)]]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in corners)
        self._add(f'<path class="area {kind}" d="M{path}Z"/>')

    def across(self, y: float, kind: str, words: str) -> None:
        """A line from side to side at a value, with words on it."""
        _, py = self.at(self._x.low, y)
        right = self.width - self._right
        self._add(
            f'<line class="line {kind}" x1="{self._left}" x2="{right}" '
            f'y1="{py:.1f}" y2="{py:.1f}"/>'
        )
        self.text(right - 4, py - 5, words, "note end")

    def dot(self, x: float, y: float, kind: str, words: str, diamond: bool = False) -> None:
        """A point, whose words are shown to who points at it."""
        px, py = self.at(x, y)
        title = f"<title>{escape(words)}</title>"
        if diamond:
            d = f"M{px:.1f} {py - 6:.1f}l6 6l-6 6l-6 -6z"
            self._add(f'<path class="dot {kind}" d="{d}">{title}</path>')
        else:
            self._add(
                f'<circle class="dot {kind}" cx="{px:.1f}" cy="{py:.1f}" r="4.5">{title}</circle>'
            )

    def column(self, x: float, width: float, words: str) -> None:
        """A column, not seen, whose words are shown to who points at it; from `x`, as values."""
        (left, _), (right, _) = self.at(x, self._y.low), self.at(x + width, self._y.low)
        self._add(
            f'<rect class="hit" x="{left:.1f}" y="{self._top}" '
            f'width="{max(right - left, 0.5):.1f}" '
            f'height="{self.floor - self._top:.1f}"><title>{escape(words)}</title></rect>'
        )

    def band(self, x: float, until: float, kind: str, words: str) -> None:
        """From one value to another, from top to bottom, with words in it."""
        (left, _), (right, _) = self.at(x, self._y.low), self.at(until, self._y.low)
        self._add(
            f'<rect class="area {kind}" x="{left:.1f}" y="{self._top}" '
            f'width="{max(right - left, 1):.1f}" height="{self.floor - self._top:.1f}"/>'
        )
        self.text((left + right) / 2, self._top + 14, words, "note mid")

    def element(self, kind: str) -> str:
        """The whole, as an element."""
        return (
            f'<svg class="{kind}" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self._title)}">{"".join(self._marks)}</svg>'
        )
