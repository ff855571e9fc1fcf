"""A made-up server's usage, with numbers that are easy to reckon with."""

from __future__ import annotations

from cascade_cost import Compute, Processes, Usage

GIB, HOUR = 2**30, 3600.0
SINCE = 1_796_000_000.0


def usage(*compute: Compute, hours: float = 1.0, processes: tuple[Processes, ...] = ()) -> Usage:
    return Usage(SINCE, SINCE + hours * HOUR, hours * HOUR, compute, processes, ("credit",))


def busy() -> Usage:
    """An hour of one worker and a teacher: half of each hour is computed in."""
    return usage(
        Compute("credit", "student", "a", 900.0, 0.0, 9_000, 9_000, 27_000),
        Compute("credit", "student", "b", 100.0, 0.0, 1_000, 1_000, 3_000),
        Compute("credit", "pool", "a", 50.0, 0.0, 2_000, 2_000, 6_000),
        Compute("credit", "refill", "", 360.0, 0.0, 40, 4_000, 12_000),
        Compute("credit", "teacher", "", 720.0, 0.0, 100, 4_000, 24_000),
        Compute("adult", "cache", "", 10.0, 0.0, 500, 500, 1_000),
        Compute("adult", "job", "a", 300.0, 0.0, 3, 10_000, 160_000),
        processes=(
            Processes("worker", 1, 1_400.0, GIB, GIB, byte_seconds=GIB * HOUR),
            Processes("teacher", 1, 1_200.0, 2 * GIB, 2 * GIB, byte_seconds=2 * GIB * HOUR),
            Processes("executor", 0, 200.0, 0, GIB, byte_seconds=GIB * 400.0),
            Processes("keeper", 1, 10.0, GIB // 4, GIB // 4, byte_seconds=GIB * HOUR / 4),
        ),
    )
