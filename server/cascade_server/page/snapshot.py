"""One value of all that is known of a server: what the page shows, and `/snapshot.json` gives.

Times that a name says nothing of are seconds since 1970-01-01 UTC; `_ms`, `_bytes` and
`_per_second` are what they say, shares are 0 to 1. What there is none of is absent or null, never a
zero that nobody measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cascade_proto import synthesis_pb2 as pb

from cascade_server.counts.shared.call_counts import OK
from cascade_server.objectives.blame import BLAMED, Ending
from cascade_server.objectives.burn import Alert
from cascade_server.objectives.objective import Kind
from cascade_server.objectives.report import Report, Status
from cascade_server.page.reading import Reading, Step, kind_of
from cascade_server.supervision.facts import ProcessFacts

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p999_ms": 0.999}
# The gravest first.
ALERTS = (Alert.PAGE, Alert.TICKET, Alert.OK)
# Rows of a list that are shown, the worst or busiest of them; how many are left out is said.
MOST_ROWS = 500

WHY: Mapping[str, str] = {
    "RESOURCE_EXHAUSTED": "the server was full, or the call could not have been in time",
    "DEADLINE_EXCEEDED": "its deadline passed before it was answered",
    "UNAVAILABLE": "no process or no model was there to answer",
    "INTERNAL": "a defect: the server's log says where",
    "UNKNOWN": "a defect: the server's log says where",
    "CANCELLED": "its caller went away",
    "INVALID_ARGUMENT": "the request was wrong; the answer named the column and the value",
    "NOT_FOUND": "there is no such table or version",
    "PERMISSION_DENIED": "the caller may not",
    "UNAUTHENTICATED": "the caller did not say who it is",
    "UNIMPLEMENTED": "there is no such method",
    "FAILED_PRECONDITION": "not in the state in which the server is",
    "OUT_OF_RANGE": "it asked for more than there is",
    "DEADLINE_TOO_SHORT": "its deadline was shorter than any server needs",
}


def ms(seconds: float) -> float:
    """Milliseconds with the digits that a sketch knows."""
    return float(f"{1e3 * seconds:.3g}")


def share(number: float) -> float:
    """A share, to a millionth."""
    return round(number, 6)


def rate(number: float, seconds: float) -> float:
    """So many in so many seconds, a second."""
    return float(f"{number / seconds:.4g}")


def ending_name(ending: Ending) -> str:
    """What an ending is called: a status code, or the caller's fault."""
    return ending.name


def worst(alerts: Iterable[Alert]) -> Alert:
    """The gravest of some alerts."""
    return min(alerts, key=ALERTS.index, default=Alert.OK)


def objectives_of(
    report: Report, since: Mapping[str, float | None]
) -> tuple[list[dict[str, Any]], int]:
    """Every promise that anything was counted for, and how many there are of which nothing was.

    Args:
        report: of objectives.
        since: when the trouble of those began that are missed, by name.
    """
    out: list[dict[str, Any]] = []
    for each in report.statuses:
        if not each.events.total:
            continue
        objective = each.objective
        out.append(
            {
                "name": objective.name,
                "table": objective.table,
                "class": str(objective.service),
                "kind": str(objective.kind),
                "target": objective.target,
                "threshold_ms": None if objective.threshold is None else 1e3 * objective.threshold,
                "tier": None if objective.tier is None else str(objective.tier),
                "promise": promise_of(each),
                "events": each.events.total,
                "good_share": share(1 - each.events.error_ratio),
                "recent_events": each.windows["5m"].total,
                "recent_good_share": share(1 - each.windows["5m"].error_ratio),
                "hour_events": each.windows["1h"].total,
                "hour_good_share": share(1 - each.windows["1h"].error_ratio),
                "burn_rates": {
                    name: float(f"{burn:.3g}") for name, burn in each.burn_rates.items()
                },
                "budget_remaining": share(each.budget_remaining),
                "alert": str(each.alert),
                "since": since.get(objective.name),
            }
        )
    out.sort(key=lambda each: (ALERTS.index(Alert(each["alert"])), each["budget_remaining"]))
    return out, len(report.statuses) - len(out)


def promise_of(status: Status) -> str:
    """A promise in words: "99 % within 50 ms"."""
    objective = status.objective
    target = f"{float(f'{100 * objective.target:.6g}'):g} %"
    if objective.kind is Kind.LATENCY and objective.threshold is not None:
        return f"{target} within {1e3 * objective.threshold:g} ms"
    if objective.kind is Kind.FIDELITY:
        return f"{target} of rows by the {objective.tier} or better"
    return f"{target} answered"


def refused_of(now: Reading, minute: Step, lately: Step) -> list[dict[str, Any]]:
    """Calls that were not answered, by table, class and why; the most of the last minute first.

    Args:
        now: since the server began.
        minute, lately: of the last minute, and of the last five.
    """
    out: list[dict[str, Any]] = []
    for key, total in now.calls.items():
        table, service, _, ending = key
        if ending is OK:
            continue
        code = ending_name(ending)
        out.append(
            {
                "table": table,
                "class": str(service),
                "code": code,
                "why": WHY.get(code, "the caller's fault"),
                "is_ours": ending in BLAMED,
                "per_second": rate(minute.calls.get(key, 0), minute.seconds),
                "last_five_minutes": lately.calls.get(key, 0),
                "total": total,
            }
        )
    out.sort(key=lambda each: (-each["per_second"], -each["total"], each["table"]))
    return out


def outside_of(
    statistics: pb.GetStatisticsResponse, minute: Step, now: Reading
) -> list[dict[str, Any]]:
    """Values that were never learnt, by table and column; the most of the last minute first."""
    asked: dict[str, int] = {}
    for (table, _, _), rows in now.rows.items():
        asked[table] = asked.get(table, 0) + rows
    out: list[dict[str, Any]] = []
    for each in statistics.outside:
        kind = kind_of(each.kind)
        key = (each.table, each.column, kind)
        rows = asked.get(each.table, 0)
        out.append(
            {
                "table": each.table,
                "column": each.column,
                "kind": kind,
                "per_second": rate(minute.outside.get(key, 0), minute.seconds),
                "total": each.values,
                "per_row": min(1.0, share(each.values / rows)) if rows else None,
            }
        )
    out.sort(key=lambda each: (-each["per_second"], -each["total"], each["table"]))
    return out


def pool_of(
    statistics: pb.GetStatisticsResponse, limit_bytes: int, workers: int
) -> dict[str, Any] | None:
    """Rows that the teacher made ahead of time; None: there is no pool."""
    if not statistics.HasField("pool"):
        return None
    pool = statistics.pool
    hits, misses = sum(p.hits for p in pool.releases), sum(p.misses for p in pool.releases)
    return {
        "rows": sum(each.rows for each in pool.releases),
        "conditions": pool.conditions,
        "bytes": pool.bytes,
        "limit_bytes": limit_bytes * workers,
        "hits": hits,
        "misses": misses,
        "hit_share": share(hits / (hits + misses)) if hits + misses else None,
        "expired_rows": pool.expired_rows,
        "evicted_rows": pool.evicted_rows,
    }


def cache_of(
    statistics: pb.GetStatisticsResponse, limit_bytes: int, workers: int
) -> dict[str, Any] | None:
    """Answers to requests with a seed; None: none are kept."""
    if not statistics.HasField("cache"):
        return None
    cache = statistics.cache
    hits = cache.hits + cache.second_level_hits + cache.joined
    return {
        "entries": cache.entries,
        "bytes": cache.bytes,
        "limit_bytes": limit_bytes * workers,
        "hits": hits,
        "misses": cache.misses,
        "hit_share": share(hits / (hits + cache.misses)) if hits + cache.misses else None,
        "second_level_hits": cache.second_level_hits,
        "evicted": cache.evicted,
        "second_level_failures": dict(cache.second_level_failures),
    }


def processes_of(
    facts: Sequence[ProcessFacts],
    statistics: pb.GetStatisticsResponse,
    monotonic: float,
    now: float,
) -> list[dict[str, Any]]:
    """Every process, and of those that answer what is inside them.

    Args:
        facts: what the supervisor says.
        statistics: of all workers that have said something lately.
        monotonic, now: the time, by both clocks.
    """
    speaking = {each.pid: each for each in statistics.workers}
    out: list[dict[str, Any]] = []
    for each in facts:
        is_worker = each.name.startswith("worker ")
        state = str(each.state)
        if is_worker and state == "up" and monotonic - each.began > 10 and each.pid not in speaking:
            state = "silent"
        own = speaking.get(each.pid)
        out.append(
            {
                "name": each.name,
                "state": state,
                "pid": each.pid or None,
                "began": round(now - (monotonic - each.began), 1),
                "deaths": each.deaths,
                "died": None if each.died is None else round(now - (monotonic - each.died), 1),
                "how": each.how,
                "inside": None if own is None else own.inside,
                "limit": None if own is None else own.limit,
                "calls": None if own is None else own.calls,
            }
        )
    return out


def servers_of(statistics: pb.GetStatisticsResponse) -> list[dict[str, Any]]:
    """The servers that run the networks; none: they run here."""
    return [
        {
            "target": each.target,
            "up": each.up,
            "reason": each.reason,
            "outstanding_rows": each.outstanding_rows,
            "batches": each.batches,
            "failures": each.failures,
            "times_away": each.times_away,
        }
        for each in statistics.servers
    ]


def engines_of(statistics: pb.GetStatisticsResponse, now: float) -> list[dict[str, Any]]:
    """Each release's networks: what waits for them, and how long a run took on the mean."""
    out: list[dict[str, Any]] = []
    for each in statistics.engines:
        tier = pb.Tier.Name(each.tier).removeprefix("TIER_").lower()
        last = each.last_run / 1e6 if each.last_run else None
        out.append(
            {
                "table": each.table,
                "version": each.version,
                "tier": tier,
                "waiting": each.waiting,
                "waiting_rows": each.waiting_rows,
                "runs": each.runs,
                "rows": each.rows,
                "expired": each.expired,
                "late_starts": each.late_starts,
                "mean_run_ms": ms(each.run_nanoseconds / each.runs / 1e9) if each.runs else None,
                "idle_seconds": None if last is None else round(max(0.0, now - last), 1),
            }
        )
    out.sort(key=lambda each: (-each["waiting"], -each["runs"], each["table"], each["version"]))
    return out
