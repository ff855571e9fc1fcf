"""Augmentation of a frame: added rows that give a column's values the wanted frequencies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from cascade_client.errors import InvalidRequest
from cascade_client.frames.flows import Flow
from cascade_client.frames.opened import Opened, opened
from cascade_client.frames.operations import without_value
from cascade_client.frames.tables import check_written, described
from cascade_client.messages.given import check_once
from cascade_client.messages.wire import Fidelity
from cascade_client.progress import Progress
from cascade_client.values.answers import Synthesis
from cascade_client.values.provenance import Provenance, Tier

T = TypeVar("T")
# Most values of a target: a column with more does not hold classes.
MOST_VALUES = 1000


@dataclass(frozen=True, eq=False, repr=False)
class Augmentation(Synthesis[T]):
    """A frame with rows added; what `Client.augment` returns.

    Attributes:
        data: the frame followed by the new rows, with the frame's columns and dtypes.
        rows: number of the frame's own rows: all rows from this one on are synthetic.
        added: number of new rows, by value of the target.
    """

    rows: int = 0
    added: Mapping[Any, int] | None = None
    # `data` in the form that supports operations; `data` itself may be readable only once.
    _whole: Opened | None = field(default=None, repr=False)

    @property
    def synthetic(self) -> T:
        """The new rows alone."""
        assert self._whole is not None
        frame, operations = self._whole.frame, self._whole.operations
        new = np.arange(self.rows, operations.count(frame))
        out: T = self._whole.closed(operations.take(frame, new))
        return out


def augmenting(
    data: T,
    target: str,
    ratio: float,
    counts: Mapping[Any, int] | None,
    table: str | None,
    seed: int | None,
    fidelity: Fidelity,
    version: int | None,
    timeout: float | None,
    progress: Progress | bool | None,
) -> Flow[Augmentation[T]]:
    """Implement `Client.augment` for both clients."""
    given = opened(data)
    operations = given.operations
    names = operations.names(given.frame)
    if names.count(target) != 1:
        raise InvalidRequest(
            f"target is {target!r}, and data has {names.count(target) or 'no'} column"
            f"{'s' * (names.count(target) > 1)} of that name; its columns: "
            f"{', '.join(map(str, names))}"
        )
    schema = yield from described(table, names, version, timeout)
    if schema.column(target) is None:
        raise InvalidRequest(
            f"target is {target!r}, which table {schema.table!r} has not; its columns: "
            f"{', '.join(schema.by_name)}"
        )
    examples, present = _values(given, target)
    wanted = balanced(present, ratio) if counts is None else _checked(counts, examples, target)
    wanted = {value: more for value, more in wanted.items() if more}
    rows = operations.count(given.frame)
    if not wanted:
        made = Provenance(True, schema.table, schema.version, Tier.UNKNOWN, 0, 0)
        return Augmentation(given.closed(given.frame), made, None, 1, rows, {}, given)
    places = np.repeat([examples[value] for value in wanted], list(wanted.values()))
    known: list[str] = []
    others: list[Any] = []
    for name in names:
        (known if isinstance(name, str) and schema.column(name) else others).append(name)
    check_once(known)
    check_written(given, [schema.by_name[name] for name in known if name != target], {})
    asked = operations.take(given.frame, places, [target])
    answer = yield lambda client: client.synthesize(
        schema.table,
        asked,
        columns=known,
        seed=seed,
        fidelity=fidelity,
        strict=True,
        version=version,
        timeout=math.inf if timeout is None else timeout,
        progress=progress,
    )
    made = answer.provenance
    if others:
        listed = ", ".join(map(str, others))
        words = f"new rows are empty in what table {schema.table!r} has not: {listed}"
        made = replace(made, notices=(*made.notices, words))
    whole = given._replace(frame=operations.extended(given.frame, answer.data))
    return Augmentation(whole.closed(whole.frame), made, None, 1, rows, wanted, whole)


def balanced(present: Mapping[Any, int], ratio: float) -> dict[Any, int]:
    """Return the rows to add of each value to reach `ratio` times the count of the most frequent
    one.

    >>> balanced({0: 70, 1: 30}, 0.5)
    {0: 0, 1: 5}

    Raises:
        InvalidRequest: `ratio` is no number above 0 and up to 1.
    """
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio <= 1:
        raise InvalidRequest(f"ratio is {ratio!r}; a number above 0 and up to 1 is allowed")
    least = math.ceil(ratio * max(present.values()) - 1e-9)
    return {value: max(0, least - count) for value, count in present.items()}


def _values(given: Opened, target: str) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return one row and the row count for each value of the target; skip empty cells."""
    cells = given.operations.cells(given.frame, target)
    known = np.flatnonzero(~without_value(cells))
    examples: dict[Any, int] = {}
    present: dict[Any, int] = {}
    for row, value in zip(known.tolist(), cells.observed, strict=True):
        examples.setdefault(value, row)
        present[value] = present.get(value, 0) + 1
    if not present:
        raise InvalidRequest(f"target {target!r} has no value in data; at least one is needed")
    if len(present) > MOST_VALUES:
        raise InvalidRequest(
            f"target {target!r} has {len(present):,} values; {MOST_VALUES:,} at most can be "
            "balanced, as classes are"
        )
    return examples, present


def _checked(counts: Mapping[Any, int], examples: Mapping[Any, int], target: str) -> dict[Any, int]:
    for value, more in counts.items():
        if value not in examples:
            known = ", ".join(repr(each) for each in list(examples)[:12])
            raise InvalidRequest(
                f"counts names {value!r}, which is no value of {target!r} in data: {known}"
            )
        if isinstance(more, bool) or not isinstance(more, (int, np.integer)) or more < 0:
            raise InvalidRequest(
                f"counts is {more!r} for {value!r}; a whole number from 0 on is allowed"
            )
    return {value: int(more) for value, more in counts.items()}
