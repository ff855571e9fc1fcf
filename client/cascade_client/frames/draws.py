"""Summaries of the draws of one column's holes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from cascade_proto.cells import OBSERVED_STATE
from numpy.typing import NDArray

from cascade_client.messages.cells import Cells
from cascade_client.values.date_times import to_microseconds
from cascade_client.values.descriptions import ColumnDescription

MICROSECOND = 1e-6


@dataclass(frozen=True)
class Draws:
    """Draws of a column's holes.

    Attributes:
        kind: of the column.
        numbers: float64 [holes, draws]: numbers, microseconds of date-times, or indices into
            `labels`; NaN: the draw is NULL.
        labels: values that have no distances; empty for other columns.
    """

    kind: str
    numbers: NDArray[np.float64]
    labels: tuple[Any, ...] = ()

    @property
    def is_named(self) -> bool:
        """Whether the values have no distances."""
        return self.kind in ("categorical", "boolean")

    def centre(self) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the mean or most frequent value of each hole's draws, and where there is none."""
        null: NDArray[np.bool_] = np.asarray(np.isnan(self.numbers).all(axis=1))
        if self.is_named:
            codes, _ = self._most_frequent()
            is_text = any(isinstance(label, str) for label in self.labels)
            labels = np.array(self.labels or (None,), object if is_text else None)
            return labels[codes], null
        means = np.where(null, 0.0, self._known().sum(axis=1) / self._counts())
        if self.kind == "datetime":
            return np.rint(means).astype("int64").view("datetime64[us]"), null
        return means, null

    def distance(self) -> NDArray[np.float64]:
        """Return the standard deviation of each hole's draws, or the share of those that are not
        the most frequent.
        """
        if self.is_named:
            _, times = self._most_frequent()
            return 1 - times / self._counts()
        known, counts = ~np.isnan(self.numbers), self._counts()
        means = self._known().sum(axis=1) / counts
        squares = np.where(known, np.square(self.numbers - means[:, None]), 0.0).sum(axis=1)
        out: NDArray[np.float64] = np.sqrt(squares / np.maximum(counts - 1, 1))
        return out * MICROSECOND if self.kind == "datetime" else out

    def _known(self) -> NDArray[np.float64]:
        return np.where(np.isnan(self.numbers), 0.0, self.numbers)

    def _counts(self) -> NDArray[np.intp]:
        return np.maximum((~np.isnan(self.numbers)).sum(axis=1), 1)

    def _most_frequent(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the index of each hole's most frequent label, and its count; ties go to the label
        that was drawn first anywhere.
        """
        # Loop over draws and not over labels: there may be as many labels as draws in total.
        best, most, run = (np.zeros(len(self.numbers), np.intp) for _ in range(3))
        before = np.full(len(self.numbers), np.nan)
        for codes in np.sort(self.numbers, axis=1).T:  # NULL, which is NaN, comes last
            run = np.where(codes == before, run + 1, 1)
            more = (run > most) & ~np.isnan(codes)
            best, most = np.where(more, codes, best).astype(np.intp), np.where(more, run, most)
            before = codes
        return best, most


def draws_of(column: ColumnDescription, cells: Cells, draws: int) -> Draws:
    """Collect the draws of a column's holes.

    Args:
        column: of the table's schema.
        cells: the filled cells, hole by hole, draw by draw.
        draws: per hole.
    """
    numbers = np.full(len(cells.states), np.nan)
    known = np.frombuffer(cells.states, np.uint8) == OBSERVED_STATE
    if column.kind in ("categorical", "boolean"):
        places: dict[Any, int] = {}
        numbers[known] = [places.setdefault(value, len(places)) for value in cells.observed]
        return Draws(column.kind, numbers.reshape(-1, draws), tuple(places))
    if column.kind == "datetime":
        numbers[known] = [_microseconds(value) for value in cells.observed]
    else:
        numbers[known] = [float(value) for value in cells.observed]  # text too, which says a number
    return Draws(column.kind, numbers.reshape(-1, draws))


def _microseconds(value: Any) -> float:
    """Convert a date-time in a frame, as a date-time or as text, to microseconds."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return to_microseconds(value) if isinstance(value, datetime) else float(value)
