"""The figures of a run, each drawn wide and narrow."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

from cascade_loadtest.outcomes import Calls
from cascade_loadtest.report.svg import Plot, Scale, linear, logarithmic, number
from cascade_loadtest.run.result import Result
from cascade_loadtest.sla import Verdict

# Nines of the percentile axis: p50 is 0.3, p90 is 1, p99 is 2.
NINES = {0.0: "", math.log10(2): "50 %", 1.0: "90 %", 2.0: "99 %", 3.0: "99.9 %", 4.0: "99.99 %"}
SOURCES = ("pool", "cache", "student", "teacher", "unknown")
Legend = Sequence[tuple[str, str]]


def both(draw: Callable[[bool], Plot], legend: Legend, caption: str) -> str:
    """A figure for wide screens and one for narrow, of which the page shows one."""
    keys = "".join(
        f'<span class="key"><i class="swatch {kind}"></i>{escape(words)}</span>'
        for kind, words in legend
    )
    return (
        f'<figure><div class="legend">{keys}</div>{draw(False).element("wide")}'
        f"{draw(True).element('narrow')}<figcaption>{escape(caption)}</figcaption></figure>"
    )


def promised(verdicts: Sequence[Verdict]) -> list[tuple[float, float, bool, str]]:
    """Promises of the real-time calls' percentiles: share, milliseconds, kept, in words."""
    found = []
    for each in verdicts:
        if each.calls == "real time" and each.promised.endswith(" ms"):
            share = float(each.objective.removeprefix("p")) / 100
            most = float(each.promised.removeprefix("≤ ").removesuffix(" ms"))
            words = f"{each.objective} {each.promised}, measured {each.measured}"
            found.append((share, most, bool(each.kept), words))
    return found


def spectrum(found: Result) -> str:
    """Percentiles of real-time calls, the far end as wide as the near one."""
    calls = found.real_time
    ceiling = min(4.0, math.log10(max(calls.count, 10)))
    nines = np.linspace(0.0, ceiling, 241)
    shares = 1 - 10.0**-nines
    ranks = [max(1, math.ceil(share * calls.count - 1e-6)) for share in shares]
    due, sent = 1e3 * calls.due.at_ranks(ranks), 1e3 * calls.sent.at_ranks(ranks)
    marks = promised(found.verdicts)
    values = [each for each in [*due, *sent] if math.isfinite(each)] or [1.0]
    values += [most for _, most, _, _ in marks]
    values += [each.server for each in found.gaps if each.server > 0]
    y = logarithmic(max(min(values), 0.01), max(values))
    x = Scale(0.0, 4.0, ticks=list(NINES), label=lambda value: NINES.get(value, ""))
    answered = calls.answered / calls.count if calls.count else 1.0

    def draw(narrow: bool) -> Plot:
        plot = Plot(
            "Percentiles of real-time calls", x, y, "of all calls", "ms", narrow, height=340
        )
        if answered < 1:
            begins = min(-math.log10(max(1 - answered, 1e-9)), 4.0)
            plot.band(begins, 4.0, "bad", "not answered")
        elif ceiling < 4:
            plot.band(ceiling, 4.0, "faint", "too few calls to tell")
        plot.line(zip(nines, sent, strict=True), "sent")
        plot.line(zip(nines, due, strict=True), "due")
        for each in found.gaps:
            place = min(-math.log10(max(1 - each.quantile, 1e-9)), 4.0)
            words = f"p{100 * each.quantile:g} in the server: {each.server:.2f} ms"
            plot.dot(place, each.server, "server", words)
        for share, most, kept, words in marks:
            place = -math.log10(1 - share)
            plot.dot(place, most, "good" if kept else "missed", words, diamond=True)
        return plot

    legend = [("due", "from when due"), ("sent", "from when sent")]
    if found.gaps:
        legend.append(("server round", "in the server, its own sketch"))
    verdicts = {kept for _, _, kept, _ in marks}
    legend += [("good diamond", "promised and kept")] * (True in verdicts)
    legend += [("missed diamond", "promised and missed")] * (False in verdicts)
    return both(
        draw,
        legend,
        "How long a share of all real-time calls took at most. The axis gives each further nine as "
        "much room. Between the lines is what a call waited before it was sent.",
    )


def over_time(found: Result) -> str:
    """Latency of real-time calls, by when they were due."""
    windows, step = found.tally.windows, found.tally.window
    points = []
    for number_, each in enumerate(windows):
        quantiles = 1e3 * each.latencies.quantiles([0.5, 0.99, 1.0])
        points.append((number_ * step, *quantiles.tolist()))
    known = [value for _, *three in points for value in three if math.isfinite(value)] or [1.0]
    marks = [(share, most) for share, most, _, _ in promised(found.verdicts) if share == 0.99]
    y = logarithmic(max(min(known), 0.01), max([*known, *(most for _, most in marks)]))
    x = time_axis(found.seconds)

    def draw(narrow: bool) -> Plot:
        plot = Plot("Latency over time", x, y, x_unit(found.seconds), "ms", narrow)
        for n, kind in ((3, "worst"), (2, "due"), (1, "median")):
            plot.line(((p[0] + step / 2, p[n]) for p in points), kind)
        for _, most in marks:
            plot.across(most, "promise", f"p99 promised: {most:g} ms")
        for point, each in zip(points, windows, strict=True):
            if each.failures:
                words = f"{each.failures} not answered"
                plot.dot(point[0] + step / 2, y.high, "missed", words)
            plot.column(
                point[0],
                step,
                f"{point[0]:g} s: p50 {point[1]:.2f}, p99 {point[2]:.2f}, "
                f"longest {point[3]:.2f} ms; "
                f"{each.due} due, {each.failures} not answered",
            )
        return plot

    legend = [("median", "p50"), ("due", "p99"), ("worst", "the longest")]
    if any(each.failures for each in windows):
        legend.append(("missed round", "calls not answered"))
    return both(
        draw, legend, f"Of calls that were due in each {step:g} s, from when they were due."
    )


def offered(found: Result) -> str:
    """Calls a second that were due, and that were answered."""
    windows, step = found.tally.windows, found.tally.window
    rates = [
        (n * step + step / 2, w.due / step, w.latencies.count / step, w)
        for n, w in enumerate(windows)
    ]
    capacity = found.capacity.per_s if found.capacity is not None else 0.0
    high = max([*(due for _, due, _, _ in rates), capacity, 1.0])
    x, y = time_axis(found.seconds), linear(1.05 * high)

    def draw(narrow: bool) -> Plot:
        plot = Plot(
            "Calls offered and answered", x, y, x_unit(found.seconds), "calls/s", narrow, 260
        )
        answered = [(at, got) for at, _, got, _ in rates]
        plot.area(answered, [(at, 0.0) for at, _ in answered], "answered")
        plot.line(((at, due) for at, due, _, _ in rates), "offered")
        if capacity:
            plot.across(capacity, "promise", f"one worker's capacity: {capacity:,.0f}")
        for at, due, got, window in rates:
            missed = window.due - window.sent
            plot.column(
                at - step / 2,
                step,
                f"{at - step / 2:g} s: {due:.0f} due, {got:.0f} answered a second; "
                f"{missed} never sent",
            )
        return plot

    return both(
        draw,
        [("offered", "offered: due"), ("answered", "achieved: answered")],
        "An open loop asks when calls are due, whatever became of the ones before.",
    )


def tier_mix(found: Result) -> str:
    """Who answered, over time."""
    windows, step = found.tally.windows, found.tally.window
    present = [name for name in SOURCES if any(each.tiers[name] for each in windows)]
    if not present:
        return '<p class="none">No call was answered.</p>'
    x = time_axis(found.seconds)
    y = Scale(0.0, 1.0, ticks=(0, 0.25, 0.5, 0.75, 1), label=lambda share: f"{100 * share:g} %")

    def draw(narrow: bool) -> Plot:
        plot = Plot("Who answered", x, y, x_unit(found.seconds), "of answers", narrow, 220)
        below = [(n * step + step / 2, 0.0) for n, w in enumerate(windows) if w.tiers.total()]
        shares = [w.tiers for w in windows if w.tiers.total()]
        for name in present:
            above = [
                (at, low + each[name] / each.total())
                for (at, low), each in zip(below, shares, strict=True)
            ]
            plot.area(above, below, f"tier-{name}")
            below = above
        for n, window in enumerate(windows):
            words = ", ".join(f"{name} {count}" for name, count in window.tiers.most_common())
            plot.column(n * step, step, f"{n * step:g} s: {words or 'no answers'}")
        return plot

    totals = found.real_time.tiers
    every = max(totals.total(), 1)
    legend = [(f"tier-{name}", f"{name} {100 * totals[name] / every:.3g} %") for name in present]
    return both(draw, legend, "Answers to real-time calls, by who gave them.")


def memory(found: Result) -> str:
    """Resident memory of the server's processes."""
    samples = [each for each in found.samples if len(each.seconds) > 1]
    if not samples:
        return '<p class="none">The server is on another machine; its memory was not watched.</p>'
    high = max(max(each.rss) for each in samples) / 2**20
    x, y = (
        time_axis(max(found.seconds, max(each.seconds[-1] for each in samples))),
        linear(1.05 * high),
    )

    def draw(narrow: bool) -> Plot:
        plot = Plot("Memory of the server", x, y, x_unit(found.seconds), "MiB", narrow, 240)
        for n, each in enumerate(samples):
            plot.line(
                zip(each.seconds, (rss / 2**20 for rss in each.rss), strict=True), f"series-{n % 6}"
            )
        return plot

    legend = []
    growth = found.growth() or {}
    for n, each in enumerate(samples):
        grown = f", {100 * growth[each.name]:+.2f} %" if each.name in growth else ""
        words = f"{each.name} {each.rss[-1] / 2**20:.0f} MiB{grown}"
        legend.append((f"series-{n % 6}", words))
    told = (
        "Growth is from the end of the warm-up, a fifth of the run, to its end."
        if growth
        else "Growth is told of runs of five minutes and more."
    )
    return both(draw, legend, f"Resident memory of each of the server's processes. {told}")


def time_axis(seconds: float) -> Scale:
    """From 0 to the end of a run, in seconds or minutes."""
    unit = 60.0 if seconds > 240 else 1.0
    found = linear(seconds / unit, 8)
    return Scale(
        0.0,
        max(seconds, 1e-9),
        ticks=[unit * each for each in found.ticks if unit * each <= 1.0001 * seconds],
        label=lambda value: number(value / unit),
    )


def x_unit(seconds: float) -> str:
    """What the time axis is in."""
    return "minutes" if seconds > 240 else "seconds"


def not_answered(calls: dict[str, Calls]) -> list[tuple[str, str, int, str]]:
    """Kind, code, count and whose fault, of all calls that were refused or failed."""
    rows: list[tuple[str, str, int, str]] = []
    for name, each in calls.items():
        for code, count in each.refused.most_common():
            rows.append((name, code, count, "had to be refused"))
        for code, count in each.failures.most_common():
            rows.append((name, code, count, WHOSE.get(code, "the server's")))
    return rows


WHOSE: dict[str, Any] = {
    "INVALID_ARGUMENT": "the caller's: the request is wrong",
    "NOT_FOUND": "the caller's: there is no such table or version",
    "UNAUTHENTICATED": "the caller's: it did not say who it is",
    "PERMISSION_DENIED": "the caller's: it may not ask that",
    "DEADLINE_EXCEEDED": "late: the server's, or what lies between",
    "RESOURCE_EXHAUSTED": "the server's: it had too much to do",
    "UNAVAILABLE": "the server's: it was gone, or refused the stream",
    "never sent: the generator was late": "the generator's",
    "never sent: no stream was free": "the server's: it was gone, or let no more be under way",
    "not sent: predicted to be late": "the SDK's: calls like it had been late",
}
