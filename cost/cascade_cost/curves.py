"""Measured curves: the time of each kind of call, and the delay of calls by a worker's utilisation.

`python -m benchmarks.sizing` measures them; those included in cascade are of one machine.
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
# The curves included in cascade.
MEASURED = Path(__file__).with_name("curves.json")


@dataclass(frozen=True)
class Point:
    """Time of one kind of call in a worker that does nothing else.

    Attributes:
        table: the table; columns: its number of columns.
        late: columns that are drawn; rows, draws: of the request.
        core_ms: processor milliseconds of a worker per call, with many calls in flight.
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
        """Number of drawn values."""
        return self.late * self.rows * self.draws


@dataclass(frozen=True)
class Busy:
    """Delay of calls at a utilisation: p99 relative to that of single calls."""

    utilisation: float
    p99_ratio: float


@dataclass(frozen=True)
class Curves:
    """All measurements of one machine.

    Attributes:
        machine: description, with the date.
        points: by kind of call.
        busy: by increasing utilisation.
        worker_mib, teacher_mib: memory of a process.
        scaling: by n, calls per second of n workers over n times those of one.
    """

    machine: str
    points: tuple[Point, ...]
    busy: tuple[Busy, ...]
    worker_mib: float
    teacher_mib: float
    scaling: Mapping[int, float]

    @property
    def tables(self) -> tuple[str, ...]:
        """The measured tables."""
        return tuple(dict.fromkeys(each.table for each in self.points))

    def of(self, table: str) -> tuple[Point, ...]:
        """Return the points of a table; all points if it was not measured."""
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
    """Parse the curves in a document.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is invalid.
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
    # An integer of hundreds of digits does not fit a float.
    if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
        raise ValueError(f"{key} is {shown(value)}; allowed: a number above 0")
    return float(value)


def _count(value: Any, key: str) -> int:
    if type(value) is not int or not 1 <= value <= 10**9:
        raise ValueError(f"{key} is {shown(value)}; allowed: a whole number from 1 on")
    return value
