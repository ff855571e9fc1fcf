"""Axes that are round, and marks that are where their values are."""

from __future__ import annotations

import math

import pytest
from cascade_loadtest.report.svg import Plot, Scale, linear, logarithmic, number
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(1e-6, 1e9))
def test_a_linear_axis_holds_its_values(high: float) -> None:
    scale = linear(high)
    assert scale.ticks[0] == 0
    assert scale.high >= high * 0.999999
    assert 2 <= len(scale.ticks) <= 7
    assert scale.ticks[-1] == pytest.approx(scale.high)


@given(st.floats(1e-4, 1e5), st.floats(1, 1e6))
def test_a_logarithmic_axis_holds_its_values(low: float, ratio: float) -> None:
    scale = logarithmic(low, low * ratio)
    assert scale.low <= low * 1.0002
    assert scale.high >= low * ratio * 0.9998
    assert 2 <= len(scale.ticks) <= 12
    assert scale.place(scale.low) == 0
    assert scale.place(scale.high) == 1


def test_equal_ratios_are_equally_far_apart() -> None:
    scale = logarithmic(1, 100)
    assert scale.place(10) == pytest.approx(0.5)


def test_what_is_beyond_an_axis_is_at_its_end() -> None:
    assert Scale(0, 1).place(7) == 1
    assert logarithmic(1, 10).place(0.001) == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (12000, "12,000"), (0.25, "0.25"), (2.0, "2"), (12.5, "12.5"), (0.002, "0.002")],
)
def test_numbers_are_short(value: float, words: str) -> None:
    assert number(value) == words


def test_a_line_breaks_where_there_is_no_value() -> None:
    plot = Plot("a plot", linear(4), linear(1), "s", "ms")
    plot.line([(0, 1), (1, 1), (2, math.nan), (3, 0), (4, math.inf), (4, 0)], "due")
    path = plot.element("wide").split('class="line due" d="')[1].split('"')[0]
    assert path.count("M") == 3


def test_words_are_escaped() -> None:
    plot = Plot('a "plot" <b>', linear(1), linear(1), "<i>", "&", narrow=True)
    plot.dot(0, 0, "due", "<script>")
    element = plot.element("narrow")
    assert "<b>" not in element
    assert "<i>" not in element
    assert "<script>" not in element
    assert "&amp;" in element
