"""Computes `ModelStatistics` from the counts of calls of all protocols; pure functions.

A table's model counts the calls of all its versions under the latest. A network counts the runs of
its engine, for each version separately. Durations are those of the server, without the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from cascade_proto import inference_pb2, synthesis_pb2

from cascade_server.counts.shared.call_counts import OK, CallCounts, added
from cascade_server.terms import Tier
from cascade_server.wire.enums import TIERS
from cascade_server.wire.model_tensors import Model

Engines = Mapping[tuple[str, int, Tier], synthesis_pb2.EngineStatistics]


class Calls(NamedTuple):
    """The calls for one table: successes, failures, their seconds, and the answered rows."""

    good: int = 0
    good_seconds: float = 0.0
    bad: int = 0
    bad_seconds: float = 0.0
    rows: int = 0


def calls_by_table(counts: list[CallCounts]) -> dict[str, Calls]:
    """Sum the calls that all processes have counted, by table."""
    durations, seconds, rows = added(counts)
    out: dict[str, Calls] = {}
    for (table, _, _, code), of, took in zip(
        counts[0].keys, durations.sum(axis=1).tolist(), seconds.tolist(), strict=True
    ):
        have = out.get(table, Calls())
        if code is OK:
            have = have._replace(good=have.good + of, good_seconds=have.good_seconds + took)
        else:
            have = have._replace(bad=have.bad + of, bad_seconds=have.bad_seconds + took)
        out[table] = have
    for (table, _, _), number in zip(counts[0].row_keys, rows.tolist(), strict=True):
        out[table] = out[table]._replace(rows=out[table].rows + number)
    return out


def engines_by_key(found: Iterable[synthesis_pb2.EngineStatistics]) -> Engines:
    """Index a server's engines by table, version and tier."""
    tiers = {number: tier for tier, number in TIERS.items()}
    return {(each.table, each.version, tiers[each.tier]): each for each in found}


def fill(
    out: inference_pb2.ModelStatisticsResponse,
    model: Model,
    version: int,
    latest: int,
    calls: Mapping[str, Calls],
    engines: Engines,
) -> None:
    """Add the statistics of one version of a model."""
    stats = out.model_stats.add(name=model.name, version=str(version))
    tiers = tuple(Tier) if model.tier is None else (model.tier,)
    ran = [engines[model.table, version, tier] for tier in tiers]
    stats.execution_count = sum(engine.runs for engine in ran)
    stats.last_inference = max(engine.last_run for engine in ran) // 1000
    spent = stats.inference_stats
    spent.queue.ns = sum(engine.queue_nanoseconds for engine in ran)
    spent.compute_infer.ns = sum(engine.run_nanoseconds for engine in ran)
    spent.queue.count = spent.compute_infer.count = stats.execution_count
    if model.tier is not None:
        stats.inference_count = ran[0].rows
        return
    if version == latest:
        counted = calls.get(model.table, Calls())
        stats.inference_count = counted.rows
        spent.success.count, spent.success.ns = counted.good, round(1e9 * counted.good_seconds)
        spent.fail.count, spent.fail.ns = counted.bad, round(1e9 * counted.bad_seconds)
