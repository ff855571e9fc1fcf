"""A run as one page of HTML that needs nothing else: no script, no font, no file beside it.

What it shows is in it as JSON too (`<script type="application/json" id="run">`), and in a file
beside it, for whoever wants to compute with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from cascade_loadtest.errors import LoadFailed
from cascade_loadtest.outcomes import quantile
from cascade_loadtest.report import figures
from cascade_loadtest.report.printed import milliseconds
from cascade_loadtest.run.result import SHARES, Result
from cascade_loadtest.sla import percent

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
STATES = {True: ("kept", "✓ kept"), False: ("missed", "✕ missed"), None: ("none", "not judged")}


def written(found: Result, path: Path) -> Path:
    """Write the page, and its figures beside it with the suffix `.json`.

    Raises:
        LoadFailed: it cannot be written there.
    """
    series = found.series()
    try:
        path.write_text(page(found), encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(series), encoding="utf-8")
    except OSError as exc:
        raise LoadFailed(f"the report cannot be written: {exc}") from exc
    return path


def page(found: Result) -> str:
    """The report of a run, as one HTML page that loads nothing else."""
    options = found.options
    title = f"Load test of {options.table}, {options.profile}"
    sections = [
        ("What was promised", _promises(found)),
        ("Percentiles", figures.spectrum(found)),
        ("Latency over time", figures.over_time(found)),
        ("Offered and achieved", figures.offered(found)),
        ("Who answered", figures.tier_mix(found)),
        ("The server and its callers", _gaps(found)),
        ("Error budgets", _budgets(found)),
        ("Refused, and why", _refused(found)),
        ("Memory", figures.memory(found)),
        ("All calls", _calls(found)),
        ("How it was measured", _measured(found)),
    ]
    body = "".join(
        f"<section><h2>{escape(name)}</h2>{content}</section>" for name, content in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"{_head(found, title)}{body}{_data(found)}</main></body></html>\n"
    )


def _data(found: Result) -> str:
    """The figures, as JSON that no name in it can end."""
    text = json.dumps(found.series()).replace("<", "\\u003c").replace("&", "\\u0026")
    return f'<script type="application/json" id="run">{text}</script>'


def _head(found: Result, title: str) -> str:
    missed = sum(each.kept is False for each in found.verdicts)
    judged = sum(each.kept is not None for each in found.verdicts)
    state, sign = ("missed", "✕") if missed else ("kept", "✓")
    words = f"{missed} of {judged} objectives missed" if missed else f"All {judged} objectives kept"
    began = found.began.strftime("%Y-%m-%d %H:%M UTC")
    rate = f"{found.per_s:,.0f} calls/s at the highest, {found.options.arrivals} arrivals"
    return (
        f"<header><h1>{escape(title)}</h1>"
        f'<p class="soft">{escape(began)} · {found.seconds:g} s · {escape(rate)}</p>'
        f'<p class="verdict {state}"><b aria-hidden="true">{sign}</b> {escape(words)}</p>'
        f'<dl class="tiles">{"".join(_tiles(found))}</dl></header>'
    )


def _tiles(found: Result) -> Iterable[str]:
    calls, lag = found.real_time, found.tally.lag
    for share in (0.5, 0.99, 0.999):
        value = milliseconds(calls.quantile(share))
        beside = milliseconds(quantile(calls.sent, calls.count, share))
        if math.isinf(calls.quantile(share)):
            yield _tile(f"p{100 * share:g}", "–", "not answered", "so many calls were not")
            continue
        yield _tile(f"p{100 * share:g}", value, "ms", f"from when due; {beside} from when sent")
    share = calls.answered / calls.count if calls.count else math.nan
    yield _tile("answered", percent(round(share, 6)), "", f"{calls.count:,} calls were due")
    achieved = calls.answered / found.seconds if found.seconds else 0.0
    beside = f"of {found.due / found.seconds:,.0f} offered" if found.seconds else ""
    yield _tile("answers", f"{achieved:,.0f}", "/s", beside)
    if found.capacity is not None:
        own = f"its measured capacity, {found.options.capacity}"
        yield _tile("one worker", f"{found.capacity.per_s:,.0f}", "/s", own)
    if found.job is not None:
        yield _tile(
            "offline job", f"{found.job.rows_per_s:,.0f}", "rows/s", "made beside the calls"
        )
    dropped = found.tally.dropped.total()
    lagged = 1e3 * lag.quantile(0.99) if lag.count else math.nan
    yield _tile("generator's lag", f"{lagged:.2f}", "ms", f"its p99; {dropped:,} calls dropped")


def _tile(name: str, value: str, unit: str, below: str) -> str:
    return (
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)} '
        f"<small>{escape(unit)}</small><p>{escape(below)}</p></dd></div>"
    )


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int], caption: str = ""
) -> str:
    """A table; cells are text, a row's first is its head, `numbers` are columns on the right."""
    kinds = [' class="num"' if n in numbers else "" for n in range(len(head))]
    heads = "".join(
        f'<th scope="col"{k}>{escape(h)}</th>' for h, k in zip(head, kinds, strict=True)
    )
    body = []
    for row in rows:
        first, *rest = row
        cells = "".join(f"<td{k}>{escape(c)}</td>" for c, k in zip(rest, kinds[1:], strict=True))
        body.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    said = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0"><table>{said}<thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _promises(found: Result) -> str:
    rows = []
    for each in found.verdicts:
        kind, words = STATES[each.kept]
        cells = (each.objective, each.measured, each.promised)
        told = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        state = f'<td class="state {kind}">{words}</td>'
        rows.append(f'<tr>{state}<th scope="row">{escape(each.calls)}</th>{told}</tr>')
    heads = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("verdict", "whose", "objective", "measured", "promised")
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _gaps(found: Result) -> str:
    notes = "".join(f'<p class="soft">{escape(note)}</p>' for note in found.server.notes)
    if not found.gaps:
        return f'<p class="none">The server has told of no real-time answer.</p>{notes}'
    rows = [
        (
            f"p{100 * each.quantile:g}",
            f"{each.server:.2f}",
            f"{each.sent:.2f}",
            f"{each.due:.2f}",
            f"{each.between:.2f}",
            f"{each.before:.2f}",
        )
        for each in found.gaps
    ]
    head = ("", "in the server", "from when sent", "from when due", "between", "before")
    words = (
        "Milliseconds of real-time answers. The server's are its own sketch, within 1 %, from "
        "when a call was read to its answer. Between it and what a caller sees are the kernel and "
        "both event loops: the wait to be read, and to be heard. Before a call is sent are the "
        "generator's lag, and the wait for a stream that is free."
    )
    sketches = table(
        ("all that the server tells of", "answers", "p50", "p99", "p99.9"),
        [
            (each.name, f"{each.count:,}", *(_of(each.milliseconds, q) for q in (0.5, 0.99, 0.999)))
            for each in found.server.sketches
        ],
        (1, 2, 3, 4),
    )
    return f'<p class="soft">{words}</p>{table(head, rows, (1, 2, 3, 4, 5))}{sketches}{notes}'


def _of(quantiles: object, q: float) -> str:
    value = quantiles.get(q) if hasattr(quantiles, "get") else None
    return "–" if value is None else f"{value:.2f}"


def _budgets(found: Result) -> str:
    if not found.server.budgets:
        return '<p class="none">The server has counted no event.</p>'
    rows = []
    for each in found.server.budgets:
        left = min(max(each.remaining, 0.0), 1.0)
        kind = "good" if each.remaining > 0 else "missed"
        cells = (
            f"<td>{escape(each.promise)}</td>"
            f'<td class="num">{each.good:,}</td><td class="num">{each.bad:,}</td>'
            f'<td class="num">{each.burn:,.2f}</td>'
            f'<td class="num">{100 * each.remaining:.1f} %</td>'
            f'<td><div class="meter {kind}"><i style="width:{100 * left:.1f}%"></i></div></td>'
            f"<td>{escape(each.alert)}</td>"
        )
        rows.append(f'<tr><th scope="row">{escape(each.name)}</th>{cells}</tr>')
    heads = "".join(
        f'<th scope="col"{" class=num" if numeric else ""}>{name}</th>'
        for name, numeric in (
            ("of", False),
            ("objective", False),
            ("good", True),
            ("bad", True),
            ("burn rate", True),
            ("budget left", True),
            ("", False),
            ("alert", False),
        )
    )
    return (
        '<p class="soft">As the server counts, its own objectives (slo.yaml): events of this run, '
        "how fast they spend the budget (1 spends it in exactly its window), and what is left of "
        "it.</p>"
        f'<div class="scroll" tabindex="0"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _refused(found: Result) -> str:
    rows = [
        (kind, code, f"{count:,}", whose)
        for kind, code, count, whose in figures.not_answered(found.calls)
    ]
    rows += [
        ("server", name, f"{count:,}", "the callers' own: no budget is spent")
        for name, count in found.server.caller_faults.items()
    ]
    if found.server.refused:
        rows.append(
            ("server", "refused because it was full", f"{found.server.refused:,}", "the server's")
        )
    if not rows:
        return '<p class="none">Nothing was refused, and nothing failed.</p>'
    return table(("calls", "how they ended", "how many", "whose fault"), rows, (2,))


def _calls(found: Result) -> str:
    shares = [f"p{100 * q:.10g}" for q in SHARES]
    head = ("calls", "asked", "answered", *shares, "who answered")
    rows = []
    for name, calls in found.calls.items():
        tiers = ", ".join(f"{tier} {count:,}" for tier, count in calls.tiers.most_common())
        told = [milliseconds(calls.quantile(q)) for q in SHARES]
        rows.append((name, f"{calls.count:,}", f"{calls.answered:,}", *told, tiers))
    words = (
        "Milliseconds of all calls: a dash where so many were not answered. Those of the open loop "
        "are from when they were due; Locust's users (with a colon) wait for their answers before "
        "they ask again, and are measured from when they ask."
    )
    return f'<p class="soft">{words}</p>' + table(head, rows, range(1, 3 + len(shares)))


def _measured(found: Result) -> str:
    tally, capacity = found.tally, found.capacity
    facts = [
        ("offered", f"{found.options.profile}, {found.options.arrivals} arrivals"),
        (
            "generator",
            f"{found.options.processes} process(es), {found.options.connections} "
            f"connections, {', '.join(f'{each:.0%}' for each in tally.cpu)} of a core",
        ),
        (
            "its lag",
            ", ".join(
                f"p{100 * q:g} {1e3 * tally.lag.quantile(q):.2f} ms" for q in (0.5, 0.99, 0.999)
            )
            if tally.lag.count
            else "–",
        ),
        ("dropped", ", ".join(f"{why}: {n:,}" for why, n in tally.dropped.items()) or "none"),
    ]
    if capacity is not None:
        facts.append(
            (
                "capacity",
                f"{capacity.per_s:,.0f} calls/s of one worker, 16 under way on one "
                f"connection; {percent(round(capacity.refused, 4))} refused; the loop took "
                f"{capacity.cpu:.0%} of a core",
            )
        )
    rows = ", ".join(f"{name} {count:,}" for name, count in found.server.rows.items())
    facts.append(("drawn", f"rows by {rows}" if rows else "nothing"))
    facts.append(("pool", f"{found.server.pool_hits:,} hits, {found.server.pool_misses:,} misses"))
    facts += list(found.machine.items())
    told = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f'<pre><code>{escape(found.command)}</code></pre><dl class="facts">{told}</dl>'
