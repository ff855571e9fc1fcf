"""What is promised (`sla.yaml`), and whether it was kept.

promises:
  - calls: real time
    answered: 0.999
    latency_ms: {p99: 10, p99.9: 25}
    least: 1000
  - generator: {dropped: 0.001, lag_ms: {p99: 5}}
  - job: {rows_per_s: 1}
  - memory: {growth: 0.02}

Reading a file and judging are pure: no server, no clock. A promise about calls that nobody made is
missed, not kept, for a load that asked for nothing has shown nothing; only what a run was told to
leave out is not judged. A call that was not answered took for ever: p99 of 50 ms says that 99 of
100 calls are answered within that, whatever became of the last. Latencies are those from when calls
were due.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from cascade_tables.errors import FileRefused, listing, shown
from cascade_tables.yaml_files import load_yaml

from cascade_loadtest.errors import PromiseError
from cascade_loadtest.histograms import Latencies
from cascade_loadtest.outcomes import Calls, together

# All calls; and those of the open loop, of whatever kind.
EVERY, REAL_TIME = "*", "real time"
KEYS = ("calls", "latency_ms", "answered", "least")
# What else there are promises about: a key of an entry, and the keys below it.
OTHERS = {"generator": ("dropped", "lag_ms"), "job": ("rows_per_s",), "memory": ("growth",)}
QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")


@dataclass(frozen=True)
class Promise:
    """Of calls of one name, or of all.

    Attributes:
        calls: their name; `EVERY`: all together.
        latency_ms: milliseconds in which a share of the calls is answered, by share in (0, 1).
        answered: the least share of the calls that is answered, in (0, 1]; None: not promised.
        least: calls below which the promise is missed, since too little was asked.
    """

    calls: str
    latency_ms: Mapping[float, float]
    answered: float | None = None
    least: int = 1


@dataclass(frozen=True)
class GeneratorPromise:
    """Of whoever asks: where it is not kept, it is the generator that was measured.

    Attributes:
        dropped: the largest share of the calls that are never sent; None: not promised.
        lag_ms: milliseconds within which a share of the calls is taken up, by share.
    """

    dropped: float | None
    lag_ms: Mapping[float, float]


@dataclass(frozen=True)
class JobPromise:
    """Of the offline job beside the calls: rows a second that it makes at least."""

    rows_per_s: float


@dataclass(frozen=True)
class MemoryPromise:
    """Of the memory of each of the server's processes: its growth after warm-up, a share of it."""

    growth: float


AnyPromise = Promise | GeneratorPromise | JobPromise | MemoryPromise


@dataclass(frozen=True)
class Measured:
    """What a run has found, to be judged.

    Attributes:
        calls: by kind.
        real_time: the kinds that were asked for by the open loop.
        left_out: begins of the names of kinds that the run was told to leave out.
        lag: how late the generator took calls up; None: there was none.
        due, dropped: calls that were due, and those of them that were never sent.
        job_rows_per_s: None: the run was told to have no job.
        growth: of the memory of the server's processes, by their names; None: the run is too short
            to tell, or the server is not on this machine.
    """

    calls: Mapping[str, Calls]
    real_time: Sequence[str] = ()
    left_out: Sequence[str] = ()
    lag: Latencies | None = None
    due: int = 0
    dropped: int = 0
    job_rows_per_s: float | None = None
    growth: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Verdict:
    """One objective, judged.

    Attributes:
        calls: whose.
        objective: what is promised, in words: "p99".
        promised, measured: in words, with units.
        kept: whether it was; None: the run was told to leave out what it is about.
    """

    calls: str
    objective: str
    promised: str
    measured: str
    kept: bool | None


def all_kept(verdicts: Iterable[Verdict]) -> bool:
    """Whether nothing was missed."""
    return all(each.kept is not False for each in verdicts)


def load(path: Path, names: Sequence[str]) -> tuple[AnyPromise, ...]:
    """Read promises.

    Args:
        path: a YAML file.
        names: of the kinds of call that there are.

    Raises:
        PromiseError: names the file, the key and what is allowed.
    """
    try:
        content = load_yaml(path)
    except FileRefused as exc:
        raise PromiseError(str(exc)) from exc
    try:
        return parse(content, names)
    except PromiseError as exc:
        raise PromiseError(f"{path}: {exc}") from None


def parse(content: Any, names: Sequence[str]) -> tuple[AnyPromise, ...]:
    """Promises, of what a YAML file has.

    Raises:
        PromiseError: names the key, the value and what is allowed.
    """
    _known(content, ("promises",), "the file")
    entries = content.get("promises")
    if not isinstance(entries, list) or not entries:
        raise PromiseError(f"promises is {shown(entries)}; allowed: a list of at least one")
    return tuple(_any(f"promises[{n}]", each, names) for n, each in enumerate(entries))


def _any(where: str, entry: Any, names: Sequence[str]) -> AnyPromise:
    about = next((key for key in OTHERS if isinstance(entry, dict) and key in entry), None)
    if about is None:
        return _promise(where, entry, names)
    _known(entry, (about,), where)
    where, own = f"{where}.{about}", entry[about]
    _known(own, OTHERS[about], where)
    if not own:
        raise PromiseError(f"{where} promises nothing; allowed: {listing(OTHERS[about])}")
    for key in ("dropped", "growth"):
        if key in own:
            _number(f"{where}.{key}", own[key], 1, "a share above 0, at most 1")
    if about == "generator":
        return GeneratorPromise(
            own.get("dropped"), _quantiles(f"{where}.lag_ms", own.get("lag_ms"))
        )
    if about == "job":
        _number(f"{where}.rows_per_s", own["rows_per_s"], math.inf, "rows a second above 0")
        return JobPromise(float(own["rows_per_s"]))
    return MemoryPromise(float(own["growth"]))


def _promise(where: str, entry: Any, names: Sequence[str]) -> Promise:
    _known(entry, (*KEYS, *OTHERS), where)
    calls = entry.get("calls")
    allowed = (EVERY, REAL_TIME, *names)
    if calls not in allowed:
        raise PromiseError(
            f"{where}.calls is {shown(calls)}; allowed: {listing(allowed)}{_hint(calls, allowed)}"
        )
    latency, answered = entry.get("latency_ms"), entry.get("answered")
    if latency is None and answered is None:
        raise PromiseError(f"{where} promises nothing; allowed: latency_ms, answered, or both")
    if answered is not None:
        _number(f"{where}.answered", answered, 1, "a share above 0, at most 1")
    least = entry.get("least", 1)
    if not isinstance(least, int) or isinstance(least, bool) or least < 1:
        raise PromiseError(f"{where}.least is {shown(least)}; allowed: calls, a whole number >= 1")
    return Promise(calls, _quantiles(f"{where}.latency_ms", latency), answered, least)


def _quantiles(where: str, latency: Any) -> dict[float, float]:
    if latency is None:
        return {}
    if not isinstance(latency, dict) or not latency:
        raise PromiseError(f"{where} is {shown(latency)}; allowed: {{p50: 10, p99: 50}} and alike")
    found = {}
    for key, value in latency.items():
        match = QUANTILE.fullmatch(str(key))
        if match is None or not 0 < float(match[1]) < 100:
            raise PromiseError(
                f"{where} has the unknown key {shown(key)}; allowed: p and a percentage, such as "
                "p50, p99 or p99.9"
            )
        _number(f"{where}.{key}", value, math.inf, "milliseconds above 0")
        found[round(float(match[1]) / 100, 10)] = float(value)
    return found


def _number(where: str, value: Any, most: float, allowed: str) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # A whole number of hundreds of digits is none that a float can be.
    if not number or not 0 < value <= min(most, sys.float_info.max):
        raise PromiseError(f"{where} is {shown(value)}; allowed: {allowed}")


def _known(entry: Any, allowed: Sequence[str], where: str) -> None:
    if not isinstance(entry, dict):
        raise PromiseError(f"{where} is {shown(entry)}; allowed: keys {listing(allowed)}")
    for key in entry:
        if key not in allowed:
            raise PromiseError(
                f"{where} has the unknown key {shown(key)}; allowed: {listing(allowed)}"
                f"{_hint(key, allowed)}"
            )


def _hint(name: Any, allowed: Iterable[str]) -> str:
    close = get_close_matches(str(name)[:100], list(allowed), n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def judge(promises: Sequence[AnyPromise], found: Measured) -> tuple[Verdict, ...]:
    """Hold what was measured against what was promised.

    Returns:
        A verdict for each objective, in the order of the promises.
    """
    verdicts: list[Verdict] = []
    for promise in promises:
        if isinstance(promise, Promise):
            verdicts += _of_calls(promise, found)
        elif isinstance(promise, GeneratorPromise):
            verdicts += _of_generator(promise, found)
        elif isinstance(promise, JobPromise):
            verdicts.append(_of_job(promise, found))
        else:
            verdicts += _of_memory(promise, found)
    return tuple(verdicts)


NOT_ASKED = "left out"


def _of_calls(promise: Promise, found: Measured) -> list[Verdict]:
    name = "all calls" if promise.calls == EVERY else promise.calls
    if promise.calls == EVERY:
        calls = together(found.calls)
    elif promise.calls == REAL_TIME:
        calls = together({kind: found.calls[kind] for kind in found.real_time})
    else:
        calls = found.calls.get(promise.calls, Calls())
    left_out = not calls.count and any(promise.calls.startswith(begin) for begin in found.left_out)
    verdicts = []
    enough = calls.count >= promise.least
    if promise.least > 1 or not enough:
        asked = f"{calls.count:,} calls"
        verdicts.append(Verdict(name, "asked", f"≥ {promise.least:,} calls", asked, enough))
    if promise.answered is not None:
        share = calls.answered / calls.count if calls.count else math.nan
        least = f"≥ {percent(promise.answered)}"
        kept = share >= promise.answered
        verdicts.append(Verdict(name, "answered", least, percent(share), kept))
    for share, most in promise.latency_ms.items():
        took = calls.quantile(share)
        measured = "not answered" if math.isinf(took) else f"{took:.2f} ms"
        verdicts.append(Verdict(name, _p(share), f"≤ {most:g} ms", measured, took <= most))
    if left_out:
        return [replace(each, measured=NOT_ASKED, kept=None) for each in verdicts[-1:]]
    return verdicts


def _of_generator(promise: GeneratorPromise, found: Measured) -> list[Verdict]:
    verdicts = []
    if promise.dropped is not None:
        share = found.dropped / found.due if found.due else math.nan
        most, kept = f"≤ {percent(promise.dropped)}", share <= promise.dropped
        verdicts.append(Verdict("generator", "dropped", most, percent(share), kept))
    lag = Latencies() if found.lag is None else found.lag
    for share, most_ms in promise.lag_ms.items():
        took = 1e3 * lag.quantile(share)
        words = "nothing" if math.isnan(took) else f"{took:.2f} ms"
        verdicts.append(
            Verdict("generator", f"lag {_p(share)}", f"≤ {most_ms:g} ms", words, took <= most_ms)
        )
    return verdicts


def _of_job(promise: JobPromise, found: Measured) -> Verdict:
    least, made = f"≥ {promise.rows_per_s:g} rows/s", found.job_rows_per_s
    if made is None:
        return Verdict("offline job", "made", least, NOT_ASKED, None)
    return Verdict("offline job", "made", least, f"{made:,.0f} rows/s", made >= promise.rows_per_s)


def _of_memory(promise: MemoryPromise, found: Measured) -> list[Verdict]:
    most = f"≤ {percent(promise.growth)}"
    if found.growth is None:
        return [Verdict("memory", "growth", most, "run too short", None)]
    return [
        Verdict(name, "memory growth", most, percent(round(growth, 5)), growth <= promise.growth)
        for name, growth in found.growth.items()
    ]


def _p(share: float) -> str:
    return f"p{100 * share:.10g}"


def percent(share: float) -> str:
    """A share as people write it."""
    return "nothing" if math.isnan(share) else f"{100 * share:.6g} %"
