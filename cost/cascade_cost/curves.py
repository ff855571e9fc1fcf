"""Measured curves: what a call takes, by what it asks for, and how late it is, by how busy a worker
is. `python -m benchmarks.sizing` measures them; those that come with cascade are of one machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade_tables.errors import FileRefused, shown
from cascade_tables.yaml_files import read_text

from cascade_cost.errors import CurvesRefused

FORMAT = 1
# Those that come with cascade.
MEASURED = Path(__file__).with_name("curves.json")


@dataclass(frozen=True)
class Point:
    """What one kind of call takes of a worker that does nothing else.

    Attributes:
        table: whose rows; columns: it has so many.
        late: columns that are drawn; rows, draws: of the request.
        core_ms: processor milliseconds of a worker, of one call, with many in flight.
        p50_ms, p99_ms: latency with one call in flight.
    """

    table: str
    columns: int
    late: int
    rows: int
    draws: int
    core_ms: float
    p50_ms: float
    p99_ms: float

    @property
    def values(self) -> int:
        """Values that are drawn."""
        return self.late * self.rows * self.draws


@dataclass(frozen=True)
class Busy:
    """How late calls are where a worker is so busy: p99 over that of calls that are alone."""

    utilisation: float
    p99_ratio: float


@dataclass(frozen=True)
class Curves:
    """All that was measured on one machine.

    Attributes:
        machine: in words, with the day.
        points: by kind of call.
        busy: by utilisation, which grows.
        worker_mib, teacher_mib: memory of a process.
        scaling: calls a second of n workers over n times those of one, by n.
    """

    machine: str
    points: tuple[Point, ...]
    busy: tuple[Busy, ...]
    worker_mib: float
    teacher_mib: float
    scaling: Mapping[int, float]

    @property
    def tables(self) -> tuple[str, ...]:
        """Those that were measured."""
        return tuple(dict.fromkeys(each.table for each in self.points))

    def of(self, table: str) -> tuple[Point, ...]:
        """The points of a table; all there are where it was not measured."""
        mine = tuple(each for each in self.points if each.table == table)
        return mine or self.points


def load_curves(path: Path = MEASURED) -> Curves:
    """Read a file of curves.

    Raises:
        CurvesRefused: names the file and what is wrong.
    """
    try:
        content = json.loads(read_text(path))
    except FileRefused as exc:
        raise CurvesRefused(str(exc)) from exc
    except (ValueError, RecursionError) as exc:
        raise CurvesRefused(f"{path} is not JSON: {exc}") from exc
    try:
        return parse_curves(content)
    except KeyError as exc:
        raise CurvesRefused(f"{path} has no {exc.args[0]}; {MADE_BY}") from exc
    except (TypeError, ValueError, AttributeError) as exc:
        raise CurvesRefused(f"{path} is not a file of curves: {exc}; {MADE_BY}") from exc


MADE_BY = "python -m benchmarks.sizing --curves FILE writes one"


def parse_curves(content: Any) -> Curves:
    """Curves of a document.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    if content["format"] != FORMAT:
        raise ValueError(f"format is {shown(content['format'])}; {FORMAT} is known")
    points = tuple(
        Point(
            str(each["table"]),
            *(_count(each[key], key) for key in ("columns", "late", "rows", "draws")),
            *(_amount(each[key], key) for key in ("core_ms", "p50_ms", "p99_ms")),
        )
        for each in content["points"]
    )
    if not points:
        raise ValueError("points is empty; allowed: one or more")
    busy = sorted(
        (
            Busy(_amount(each["utilisation"], "utilisation"), _amount(each["p99_ratio"], "p99"))
            for each in content["busy"]
        ),
        key=lambda each: each.utilisation,
    )
    scaling = {
        _count(int(workers), "scaling"): _amount(share, "scaling")
        for workers, share in content["scaling"].items()
    }
    return Curves(
        str(content["machine"]),
        points,
        tuple(busy),
        _amount(content["worker_mib"], "worker_mib"),
        _amount(content["teacher_mib"], "teacher_mib"),
        scaling,
    )


def _amount(value: Any, key: str) -> float:
    # A whole number of hundreds of digits is none that a float can be.
    if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{key} is {shown(value)}; allowed: a number above 0")
    return float(value)


def _count(value: Any, key: str) -> int:
    if type(value) is not int or not 1 <= value <= 10**9:
        raise ValueError(f"{key} is {shown(value)}; allowed: a whole number from 1 on")
    return value
