"""What callers are promised (`sla.yaml`), and whether they were given it.

promises:
  - calls: "*"
    answered: 0.999
  - calls: features late
    latency_ms: {p50: 10, p99: 50}
    least: 100

Reading a file and judging are pure: no server, no clock. A promise about calls that nobody made is
missed, not kept, for a load that asked for nothing has shown nothing. A call that was not answered
took for ever: p99 of 50 ms says that 99 of 100 calls are answered within that, whatever became of
the last.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import yaml
from cascade_tables.errors import listing, shown

from cascade_loadtest.errors import PromiseError
from cascade_loadtest.outcomes import Calls

EVERY = "*"
KEYS = ("calls", "latency_ms", "answered", "least")
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
class Verdict:
    """One objective, judged.

    Attributes:
        calls: whose.
        objective: what is promised, in words: "p99".
        promised, measured: in words, with units.
        kept: whether it was.
    """

    calls: str
    objective: str
    promised: str
    measured: str
    kept: bool


def load(path: Path, names: Sequence[str]) -> tuple[Promise, ...]:
    """Read promises.

    Args:
        path: a YAML file.
        names: of the calls that there are.

    Raises:
        PromiseError: names the file, the key and what is allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise PromiseError(f"{path} cannot be read: {exc}") from exc
    try:
        return parse(content, names)
    except PromiseError as exc:
        raise PromiseError(f"{path}: {exc}") from None


def parse(content: Any, names: Sequence[str]) -> tuple[Promise, ...]:
    """Promises, of what a YAML file has.

    Raises:
        PromiseError: names the key, the value and what is allowed.
    """
    _known(content, ("promises",), "the file")
    entries = content.get("promises")
    if not isinstance(entries, list) or not entries:
        raise PromiseError(f"promises is {shown(entries)}; allowed: a list of at least one")
    return tuple(_promise(f"promises[{n}]", each, names) for n, each in enumerate(entries))


def _promise(where: str, entry: Any, names: Sequence[str]) -> Promise:
    _known(entry, KEYS, where)
    calls = entry.get("calls")
    allowed = (EVERY, *names)
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
    if not number or not (0 < value <= most) or math.isinf(value):
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


def judge(promises: Sequence[Promise], found: Mapping[str, Calls]) -> tuple[Verdict, ...]:
    """Hold what callers were given against what they were promised.

    Args:
        found: calls by name.

    Returns:
        A verdict for each objective, in the order of the promises.
    """
    return tuple(verdict for promise in promises for verdict in _verdicts(promise, found))


def _verdicts(promise: Promise, found: Mapping[str, Calls]) -> list[Verdict]:
    calls = (
        reduce(add, found.values(), Calls())
        if promise.calls == EVERY
        else found.get(promise.calls, Calls())
    )
    name = "all calls" if promise.calls == EVERY else promise.calls
    verdicts = []
    enough = calls.count >= promise.least
    if promise.least > 1 or not enough:
        asked = f"{calls.count:,} calls"
        verdicts.append(Verdict(name, "asked", f"≥ {promise.least:,} calls", asked, enough))
    if promise.answered is not None:
        share = len(calls.milliseconds) / calls.count if calls.count else math.nan
        verdicts.append(
            Verdict(
                name,
                "answered",
                f"≥ {_percent(promise.answered)}",
                _percent(share),
                share >= promise.answered,
            )
        )
    for quantile, most in promise.latency_ms.items():
        took = calls.quantile(quantile)
        verdicts.append(
            Verdict(
                name,
                f"p{100 * quantile:.10g}",
                f"≤ {most:g} ms",
                "not answered" if math.isinf(took) else f"{took:.2f} ms",
                took <= most,
            )
        )
    return verdicts


def _percent(share: float) -> str:
    return "nothing" if math.isnan(share) else f"{100 * share:.6g} %"
