"""Values that were never learnt, as they are counted and exposed."""

from __future__ import annotations

from cascade_proto import synthesis_pb2 as pb
from cascade_server.counts.answer_metrics import AnswersCollector
from cascade_server.counts.outside_counts import MOST_SERIES, OTHER_COLUMNS, OutsideCounts
from cascade_server.counts.shared.merging import counted, merged
from prometheus_client import CollectorRegistry

BELOW, NULL = pb.OUTSIDE_KIND_BELOW, pb.OUTSIDE_KIND_NULL
METRIC = "cascade_outside_values_total"


def statistics(counts: OutsideCounts) -> pb.GetStatisticsResponse:
    out = pb.GetStatisticsResponse()
    counts.describe(out)
    return out


def totals(found: pb.GetStatisticsResponse) -> dict[tuple[str, str, int], int]:
    return {(each.table, each.column, each.kind): each.values for each in found.outside}


def test_they_are_added_up_over_answers_and_processes() -> None:
    one, other = OutsideCounts(), OutsideCounts()
    one.add("credit", [("age", BELOW, 2), ("age", NULL, 1)])
    one.add("credit", [("age", BELOW, 3)])
    other.add("credit", [("age", BELOW, 10)])
    other.add("adult", [("age", BELOW, 100)])
    # What a process counted stays when it ends.
    found = merged([statistics(one), counted(statistics(other))])
    assert totals(found) == {
        ("credit", "age", BELOW): 15,
        ("credit", "age", NULL): 1,
        ("adult", "age", BELOW): 100,
    }


def test_prometheus_sees_table_column_and_kind() -> None:
    counts, registry = OutsideCounts(), CollectorRegistry()
    registry.register(AnswersCollector(lambda: statistics(counts)))
    counts.add("credit", [("age", BELOW, 2), ("sex", NULL, 1)])

    def value(**labels: str) -> float | None:
        return registry.get_sample_value(METRIC, labels)

    assert value(table="credit", column="age", kind="below") == 2
    assert value(table="credit", column="sex", kind="null") == 1
    counts.add("credit", [("age", BELOW, 5)])
    assert value(table="credit", column="age", kind="below") == 7


def test_beyond_a_number_of_columns_they_are_counted_together() -> None:
    counts = OutsideCounts()
    names = [f"column {number}" for number in range(MOST_SERIES + 20)]
    for _ in range(2):
        counts.add("wide", [(name, BELOW, 1) for name in names])
    found = totals(statistics(counts))
    assert sum(found.values()) == 2 * len(names)
    assert found["wide", OTHER_COLUMNS, BELOW] == 40
    assert found["wide", names[0], BELOW] == 2
    assert len(found) == MOST_SERIES + 1
