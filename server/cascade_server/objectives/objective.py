"""Service level objectives by table and class of service, from `slo.yaml`.

window_days: 30
least_bad_events: 10
objectives:
  - table: "*"
    class: realtime
    least_bad_events: 3
    latency: {threshold_ms: 50, target: 0.99}
    availability: {target: 0.999}
    fidelity: {tier: teacher, target: 0.2}

`*` stands for every table that has no objective of its own for that class and kind. The objective
applies to each table separately, with a separate error budget.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any

from cascade_tables.errors import FileRefused, listing, shown

from cascade_server.errors import ConfigError
from cascade_server.objectives.burn import LEAST_BAD
from cascade_server.terms import ServiceClass, Tier

EVERY = "*"
# Allowed names of a deployment in rules and metrics.
SERVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
LONGEST_WINDOW_DAYS = 90
LONGEST_THRESHOLD_MS = 3_600_000
MOST_LEAST_BAD = 1_000_000
# Lowest fidelity first.
TIERS = (Tier.STUDENT, Tier.TEACHER)


class Kind(StrEnum):
    """What an objective is about."""

    AVAILABILITY = "availability"
    LATENCY = "latency"
    FIDELITY = "fidelity"


@dataclass(frozen=True)
class Objective:
    """One objective, which has one error budget.

    Attributes:
        table: name of the table; `EVERY` until `SloConfig.for_tables` replaces it by a table's
            name.
        service: the class of service.
        kind: what it is about.
        target: the share of events that should be good, in (0, 1).
        threshold: for latency; seconds within which, inclusive, an answer is good.
        tier: for fidelity; a row of this tier or a higher one is good.
        least_bad: least number of bad events for an alert; see `burn.alert_of`.
    """

    table: str
    service: ServiceClass
    kind: Kind
    target: float
    threshold: float | None = None
    tier: Tier | None = None
    least_bad: int = LEAST_BAD

    @property
    def name(self) -> str:
        """A name that identifies the objective: "credit-realtime-latency-50ms"."""
        parts = [self.table, self.service, self.kind]
        if self.threshold is not None:
            parts.append(f"{1e3 * self.threshold:.10g}ms")
        if self.tier is not None:
            parts.append(self.tier)
        return "-".join(parts)

    def satisfied_by(self, tier: Tier) -> bool:
        """Whether a row of that tier is good."""
        return self.tier is None or TIERS.index(tier) >= TIERS.index(self.tier)


# The default objectives. There is none for fidelity: the share of answers that the teacher can give
# depends on the callers' deadlines.
DEFAULTS = (
    Objective(EVERY, ServiceClass.REALTIME, Kind.LATENCY, 0.99, threshold=0.05),
    Objective(EVERY, ServiceClass.REALTIME, Kind.AVAILABILITY, 0.999),
    Objective(EVERY, ServiceClass.FULL, Kind.LATENCY, 0.95, threshold=1.0),
    Objective(EVERY, ServiceClass.FULL, Kind.AVAILABILITY, 0.999),
    Objective(EVERY, ServiceClass.OFFLINE, Kind.AVAILABILITY, 0.99),
)


@dataclass(frozen=True)
class SloConfig:
    """The objectives of a deployment.

    Attributes:
        service: name of the deployment in rules and metrics.
        window_days: length of an error budget's window.
        objectives: as in the file, `EVERY` included.
    """

    service: str = "cascade"
    window_days: int = 30
    objectives: tuple[Objective, ...] = DEFAULTS

    @property
    def window(self) -> int:
        """Seconds of an error budget's window."""
        return self.window_days * 86_400

    def for_tables(self, tables: Collection[str]) -> tuple[Objective, ...]:
        """Return the objectives of these tables, by table name, then in the file's order.

        Raises:
            ConfigError: an objective names another table.
        """
        for each in self.objectives:
            if each.table != EVERY and each.table not in tables:
                close = get_close_matches(each.table, tables, n=1)
                hint = f". Did you mean {close[0]!r}?" if close else ""
                raise ConfigError(
                    f"an objective is for table {each.table!r}; allowed: '*' or one of "
                    f"{listing(sorted(tables)) or 'none'}{hint}"
                )
        own = {(each.table, each.service, each.kind) for each in self.objectives}
        return tuple(
            replace(each, table=table)
            for table in sorted(tables)
            for each in self.objectives
            if each.table == table
            or (each.table == EVERY and (table, each.service, each.kind) not in own)
        )


def promised(objectives: Iterable[Objective]) -> dict[str, float]:
    """Return real time's latency threshold in seconds, by table.

    Of several thresholds, the one with the highest target counts.
    """
    found: dict[str, Objective] = {}
    for each in objectives:
        if each.service is ServiceClass.REALTIME and each.threshold is not None:
            other = found.get(each.table)
            if other is None or each.target > other.target:
                found[each.table] = each
    return {table: each.threshold or math.inf for table, each in found.items()}


def load_slo(path: Path) -> SloConfig:
    """Read `slo.yaml`.

    Raises:
        ConfigError: the file cannot be read, or has a value that is not allowed; names the key, its
            value and what is allowed.
    """
    # a server without the file does not need PyYAML
    from cascade_tables.yaml_files import load_yaml

    try:
        content = load_yaml(path)
    except FileRefused as exc:
        raise ConfigError(str(exc)) from exc
    try:
        return parse_slo(content)
    except ConfigError as exc:
        raise ConfigError(f"{path}: {exc}") from exc


def parse_slo(content: Any) -> SloConfig:
    """Check and convert the content of `slo.yaml`.

    Raises:
        ConfigError: as `load_slo`.
    """
    allowed = ("service", "window_days", "least_bad_events", "objectives")
    top = _mapping(content, "the file", allowed, ("objectives",))
    service = top.get("service", SloConfig.service)
    if not isinstance(service, str) or not SERVICE_NAME.fullmatch(service):
        raise _not_allowed("service", service, "letters, digits, '_', '.' and '-', at most 63")
    days = top.get("window_days", SloConfig.window_days)
    if type(days) is not int or not 1 <= days <= LONGEST_WINDOW_DAYS:
        raise _not_allowed("window_days", days, f"a whole number, 1 to {LONGEST_WINDOW_DAYS}")
    least = _least_bad(top, "least_bad_events", LEAST_BAD)
    entries = top["objectives"]
    if not isinstance(entries, list) or not entries:
        raise _not_allowed("objectives", entries, "a list of one or more objectives")
    objectives = [
        objective
        for number, entry in enumerate(entries)
        for objective in _entry(entry, f"objectives[{number}]", least)
    ]
    seen = set()
    for each in objectives:
        if each.name in seen:
            raise ConfigError(f"objectives: {each.name} is there twice; allowed: once")
        seen.add(each.name)
    return SloConfig(service, days, tuple(objectives))


def _least_bad(keys: Mapping[str, Any], where: str, otherwise: int) -> int:
    least = keys.get("least_bad_events", otherwise)
    if type(least) is not int or not 1 <= least <= MOST_LEAST_BAD:
        raise _not_allowed(where, least, f"a whole number, 1 to {MOST_LEAST_BAD:,}")
    return least


def _entry(entry: Any, where: str, least_bad: int) -> Iterable[Objective]:
    kinds = tuple(Kind)
    allowed = ("table", "class", "least_bad_events", *kinds)
    keys = _mapping(entry, where, allowed, ("table", "class"))
    least_bad = _least_bad(keys, f"{where}.least_bad_events", least_bad)
    table = keys["table"]
    if not isinstance(table, str) or not table:
        raise _not_allowed(f"{where}.table", table, "the name of a table, or '*' for every table")
    if keys["class"] not in list(ServiceClass):
        raise _not_allowed(f"{where}.class", keys["class"], listing(ServiceClass))
    service = ServiceClass(keys["class"])
    if not any(kind in keys for kind in kinds):
        raise ConfigError(f"{where} promises nothing; allowed: one or more of {listing(kinds)}")
    for kind in kinds:
        if kind not in keys:
            continue
        # Several thresholds, such as 90 % within 5 ms and 99 % within 50 ms, are a list.
        values = keys[kind] if isinstance(keys[kind], list) else [keys[kind]]
        if not values:
            raise _not_allowed(f"{where}.{kind}", values, "a mapping, or a list of mappings")
        for number, value in enumerate(values):
            key = f"{where}.{kind}" + (f"[{number}]" if isinstance(keys[kind], list) else "")
            bare = Objective(table, service, kind, 0.0, least_bad=least_bad)
            yield _objective(value, key, bare)


def _objective(value: Any, where: str, bare: Objective) -> Objective:
    own = {Kind.LATENCY: ("threshold_ms",), Kind.FIDELITY: ("tier",)}.get(bare.kind, ())
    keys = _mapping(value, where, (*own, "target"), (*own, "target"))
    target = keys["target"]
    if not _is_number(target) or not 0 < target < 1:
        raise _not_allowed(f"{where}.target", target, "a share above 0 and below 1, such as 0.999")
    objective = replace(bare, target=float(target))
    if bare.kind is Kind.LATENCY:
        threshold = keys["threshold_ms"]
        if not _is_number(threshold) or not 0 < threshold <= LONGEST_THRESHOLD_MS:
            most = f"{LONGEST_THRESHOLD_MS:,}"
            raise _not_allowed(
                f"{where}.threshold_ms", threshold, f"milliseconds above 0, up to {most}"
            )
        # 0.05 rather than 0.050000000000000003, because it is the name of a bucket.
        objective = replace(objective, threshold=float(f"{threshold / 1e3:.12g}"))
    if bare.kind is Kind.FIDELITY:
        if keys["tier"] not in TIERS:
            raise _not_allowed(f"{where}.tier", keys["tier"], listing(TIERS))
        objective = replace(objective, tier=Tier(keys["tier"]))
    return objective


def _mapping(
    value: Any, where: str, allowed: Collection[str], required: Collection[str]
) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _not_allowed(where, value, f"a mapping with {listing(allowed)}")
    for key in value:
        if key not in allowed:
            close = get_close_matches(str(key), map(str, allowed), n=1)
            hint = f". Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(
                f"{where} has the key {shown(key)}; allowed: {listing(allowed)}{hint}"
            )
    for key in required:
        if key not in value:
            raise ConfigError(f"{where} lacks {key!r}; it needs {listing(required)}")
    return value


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _not_allowed(where: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError(f"{where} is {shown(value)}; allowed: {allowed}")
