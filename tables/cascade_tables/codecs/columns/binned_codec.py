"""Codec for numbers with many distinct values: a quantile bin, and the place inside it."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.column_codec import (
    NULL_TOKEN,
    Role,
    Tokens,
    check_nulls,
    numbers,
    typed,
    within_bounds,
)
from cascade_tables.codecs.columns.edges import between_rows
from cascade_tables.codecs.columns.outside import Outside, OutsideKind
from cascade_tables.column_fields import are_increasing, are_reals, number_of
from cascade_tables.errors import SchemaError
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Column, Kind

COARSE, FINE = 64, 16
# Parts of a column's numbers, of equally many bins each: the resolution of a marked number's rough
# position.
ROUGH = 8


@lru_cache(maxsize=64)
def bin_tokens(bins_from: int, edges: int) -> Sequence[tuple[int, int]]:
    """Return the tokens of a value, by the number of a column's edges that it is not below.

    Shared by all columns with as many tokens before their bins, so that a table of hundreds has
    them once.
    """
    last = COARSE * FINE - 1
    places = [min(max(count - 1, 0), last) for count in range(edges + 1)]
    return tuple((bins_from + place // FINE, place % FINE) for place in places)


@dataclass(frozen=True, eq=False)
class TokenPairs:
    """Values of a binned column's token pairs; a pair is coarse * FINE + fine.

    NULL and point masses are one number each, whatever the fine token is. Bins of real numbers
    reach from `low` to `high`; bins of whole ones have `count` numbers, `step` apart.

    Attributes:
        low: float64 or int64 [pairs].
        high: float64 [pairs]; for whole numbers as `low`.
        count: uint64 [pairs]; for real numbers 1.
        scale: 10 to the number of digits behind the decimal point; NaN: not limited.
        step: see above; for real numbers 1.
    """

    low: NDArray[Any]
    high: NDArray[Any]
    count: NDArray[np.uint64]
    scale: float
    step: np.uint64

    @classmethod
    def between(cls, column: Column, edges: Sequence[float | int]) -> TokenPairs:
        """Build the pairs of a column whose bins have these edges."""
        real = column.kind is Kind.CONTINUOUS
        edge = np.array(edges, np.float64 if real else np.int64)
        single = [edges[0]] * column.nullable + list(column.point_masses)
        points = np.array(single, edge.dtype).repeat(FINE)
        step, count = np.uint64(1), np.ones(len(edges) - 1, np.uint64)
        if not real:
            # A bin has the numbers below the next edge, which belongs to the next bin; the last
            # edge belongs to the last bin. In uint64, where differences of int64 do not overflow.
            step, unsigned = np.uint64(column.step or 1), edge.astype(np.uint64)
            count = (unsigned[1:] - unsigned[:-1]) // step
            count[-1:] += np.uint64(1)
            count = np.maximum(count, np.uint64(1))
        return cls(
            np.concatenate([points, edge[:-1]]),
            np.concatenate([points, edge[1:] if real else edge[:-1]]),
            np.concatenate([np.ones(len(points), np.uint64), count]),
            math.nan if column.decimals is None else 10.0**column.decimals,
            step,
        )


def real_numbers(
    low: NDArray[np.float64], high: NDArray[np.float64], scale: Any, uniform: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return real numbers inside of bins, of any shape.

    Args:
        low, high: of each number's bin.
        scale: see `TokenPairs`; for all, or of a shape that broadcasts.
        uniform: [0, 1), position in the bin.
    """
    # Not low + u * (high - low), which overflows where the bounds are far apart.
    values = low * (1 - uniform) + high * uniform
    limited = scale == scale
    if np.any(limited):
        values = np.where(limited, np.rint(values * scale) / scale, values)
    return np.minimum(np.maximum(values, low), high)


def whole_numbers(
    low: NDArray[np.int64], count: NDArray[np.uint64], step: Any, uniform: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return whole numbers inside of bins, of any shape.

    Args:
        low, count: of each number's bin: its first number, and how many it has.
        step: uint64, between them; for all, or of a shape that broadcasts.
        uniform: [0, 1), position in the bin.
    """
    above = np.minimum((uniform * count).astype(np.uint64), count - np.uint64(1))
    return (low.astype(np.uint64) + above * step).astype(np.int64)


def unmarked(
    coarse: NDArray[Any], fine: NDArray[Any], uniform: NDArray[np.float64], marks_from: Any
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Replace marks by ordinary tokens, and rescale the position in the bin.

    A marked number is placed anywhere in the rough part of the column that its fine token names.

    Args:
        coarse, fine: tokens of one shape.
        uniform: [0, 1), likewise.
        marks_from: the first coarse token that is a mark, for all or of a shape that broadcasts.
    """
    marked = coarse >= marks_from
    odd = marked | (fine >= FINE)
    if not np.count_nonzero(odd):
        return coarse, fine, uniform
    within = COARSE // ROUGH * FINE
    rough = np.where(fine >= FINE, fine - FINE, fine * ROUGH // FINE)
    anywhere = uniform * np.where(marked, within, FINE)
    part = anywhere.astype(np.int32)
    place = np.where(marked, rough * within + part, part)
    coarse = np.where(marked, marks_from - COARSE + place // FINE, coarse)
    return coarse, np.where(odd, place % FINE, fine), np.where(odd, anywhere - part, uniform)


def unmarked_one(coarse: int, fine: int, uniform: float, marks_from: int) -> tuple[int, int, float]:
    """Compute `unmarked` for one number."""
    marked = coarse >= marks_from
    if not marked and fine < FINE:
        return coarse, fine, uniform
    within = COARSE // ROUGH * FINE
    anywhere = uniform * (within if marked else FINE)
    part = int(anywhere)
    if marked:
        rough = fine - FINE if fine >= FINE else fine * ROUGH // FINE
        bins, place = divmod(rough * within + part, FINE)
        return marks_from - COARSE + bins, place, anywhere - part
    return coarse, part % FINE, anywhere - part


class BinnedCodec:
    """Codec with two tokens per number: NULL, a point mass or a quantile bin; then the place inside
    the bin.

    After the bins come the column's marks (see `marks`). In a column with marks, `ROUGH` tokens for
    the rough position of a marked number come after the places inside a bin. `encode` never uses
    either. `arithmetic` computes a marked number; if that is impossible, the number is placed
    anywhere in that part of the column.

    `edges` are COARSE * FINE + 1 quantiles of the values that are not point masses; the module
    `edges` describes how they are chosen. Tied edges leave bins of no width, which `encode` never
    uses.
    """

    roles: tuple[Role, ...] = ("coarse", "fine")
    listed: Sequence[Any] | None = None

    def __init__(
        self,
        column: Column,
        edges: Sequence[float | int],
        ranks: Sequence[float],
        marks: Sequence[int] = (),
    ) -> None:
        self.column, self.marks = column, tuple(marks)
        self.edges = list(edges)
        self.ranks = [float(rank) for rank in ranks]
        self._null_tokens = int(column.nullable)
        self._masses = list(column.point_masses)
        self._mass_token = {value: i + self._null_tokens for i, value in enumerate(self._masses)}
        self._bins_from = self._null_tokens + len(self._masses)
        self._edges = np.array(self.edges)
        self.pairs = TokenPairs.between(column, self.edges)
        self._pairs_low = self.pairs.low.tolist()
        self._pairs_high, self._pairs_count = self.pairs.high.tolist(), self.pairs.count.tolist()
        #: The first coarse tokens that are a bin, and a mark.
        self.bins_from, self.marks_from = self._bins_from, self._bins_from + COARSE
        rough = ROUGH if self.marks else 0
        self.sizes: tuple[int, ...] = (self.marks_from + len(self.marks), FINE + rough)
        # Values of exactly this type within the bounds need no other check.
        self._plain = float if column.kind is Kind.CONTINUOUS else int
        self._low = math.inf if column.minimum is None else column.minimum
        self._high = -math.inf if column.maximum is None else column.maximum
        self._tokens = bin_tokens(self._bins_from, len(self.edges))
        coarse = [*[np.nan] * self._null_tokens, *self.ranks, *[np.nan] * len(self.marks)]
        # A rough position is not a place inside of a bin: use the middle.
        fine = np.append((np.arange(FINE) + 0.5) / FINE, [0.5] * rough)
        self.positions: tuple[NDArray[np.float32] | None, ...] = (
            np.array(coarse, np.float32),
            fine.astype(np.float32),
        )

    @classmethod
    def fit(cls, column: Column, data: ColumnData) -> BinnedCodec:
        """Fit the codec of a column, with equally many of the table's rows per bin."""
        values = np.sort(numbers(column, data))
        masses = np.array(column.point_masses, values.dtype)
        rest = values[~np.isin(values, masses)]
        if len(rest) == 0:
            rest = values
        cut_rows = np.round(np.linspace(0, len(rest) - 1, COARSE * FINE + 1)).astype(int)
        edges = between_rows(column, rest, cut_rows)
        middles = edges[FINE // 2 :: FINE][:COARSE]
        spots = np.concatenate([masses, middles])
        left, right = np.searchsorted(values, spots), np.searchsorted(values, spots, "right")
        return cls(column, edges.tolist(), ((left + right) / 2 / len(values)).tolist())

    def with_marks(self, marks: Sequence[int]) -> BinnedCodec:
        """Return the same codec with marks of these relations, by their index in the schema."""
        return BinnedCodec(self.column, self.edges, self.ranks, marks)

    @property
    def rough_parts(self) -> tuple[int, ...]:
        """The rough part of the column, of `ROUGH`, for each coarse token without marks; for NULL
        the first.
        """
        places = np.searchsorted(self._edges, np.array(self._masses, self._edges.dtype), "right")
        masses = (places - 1).clip(0, COARSE * FINE - 1) // FINE
        bins = [*[0] * self._null_tokens, *masses.tolist(), *range(COARSE)]
        return tuple(place * ROUGH // COARSE for place in bins)

    def encode(self, data: ColumnData) -> Tokens:
        check_nulls(self.column, data)
        values = numbers(self.column, data, present_only=False)
        place = (np.searchsorted(self._edges, values, "right") - 1).clip(0, COARSE * FINE - 1)
        coarse, fine = self._bins_from + place // FINE, place % FINE
        if self._masses:
            masses = np.array(self._masses)
            nearest = np.searchsorted(masses, values).clip(0, len(masses) - 1)
            is_mass = masses[nearest] == values
            coarse = np.where(is_mass, nearest + self._null_tokens, coarse)
            fine = np.where(is_mass, 0, fine)
        coarse = np.where(data.null, NULL_TOKEN, coarse)
        fine = np.where(data.null, NULL_TOKEN, fine)
        return np.stack([coarse, fine], axis=1).astype(np.int32)

    def encode_value(self, value: Any, outside: list[Outside]) -> tuple[int, ...]:
        if type(value) is self._plain and self._low <= value <= self._high:
            number = value
        elif value is None:
            if self._null_tokens:
                return (NULL_TOKEN, NULL_TOKEN)
            outside.append(Outside(self.column, OutsideKind.NULL))
            return (0, 0)
        else:
            bounded = within_bounds(self.column, value, outside)
            if bounded is None:
                return (0, 0)
            number = bounded
        token = self._mass_token.get(number)
        if token is not None:
            return (token, 0)
        return self._tokens[bisect_right(self.edges, number)]

    def decode(self, tokens: Tokens, uniform: NDArray[np.float64] | None) -> ColumnData:
        assert uniform is not None
        pairs, column = self.pairs, self.column
        coarse, fine, uniform = unmarked(tokens[:, 0], tokens[:, 1], uniform, self.marks_from)
        pair = coarse * FINE + fine
        values: NDArray[Any]
        if column.kind is Kind.CONTINUOUS:
            values = real_numbers(pairs.low[pair], pairs.high[pair], pairs.scale, uniform)
        else:
            values = whole_numbers(pairs.low[pair], pairs.count[pair], pairs.step, uniform)
        return ColumnData(typed(column.kind, values), coarse < self._null_tokens, column.dtype)

    def decode_value(self, coarse: int, fine: int, uniform: float) -> float | int | None:
        """Decode one value to Python numbers: None for NULL, microseconds since 1970-01-01 UTC for
        date-times.
        """
        if coarse < self._null_tokens:
            return None
        if coarse >= self.marks_from or fine >= FINE:
            coarse, fine, uniform = unmarked_one(coarse, fine, uniform, self.marks_from)
        pair, pairs = coarse * FINE + fine, self.pairs
        low = self._pairs_low[pair]
        if self.column.kind is not Kind.CONTINUOUS:
            count = self._pairs_count[pair]
            return int(low + min(int(uniform * count), count - 1) * int(pairs.step))
        high = self._pairs_high[pair]
        value = low * (1 - uniform) + high * uniform
        if pairs.scale == pairs.scale:
            scaled = value * pairs.scale
            value = (round(scaled) if abs(scaled) < 2**52 else scaled) / pairs.scale
        return float(min(max(value, low), high))

    def to_dict(self) -> dict[str, Any]:
        content = {"codec": "binned", "edges": self.edges, "ranks": self.ranks}
        return content | ({"marks": list(self.marks)} if self.marks else {})

    @classmethod
    def from_dict(cls, column: Column, content: dict[str, Any]) -> BinnedCodec:
        edges, ranks = content["edges"], content["ranks"]
        wanted = COARSE * FINE + 1, len(column.point_masses) + COARSE
        if not column.kind.is_number or (len(edges), len(ranks)) != wanted:
            raise SchemaError(
                f"column {column.name!r} ({column.kind.value}): {len(edges)} edges and "
                f"{len(ranks)} ranks do not fit it"
            )
        if not (are_increasing(edges, column.kind, strictly=False) and are_reals(ranks)):
            raise SchemaError(
                f"column {column.name!r}: its edges and ranks are not what they should be; "
                f"allowed: edges that never decrease, each {number_of(column.kind)[1]}, and finite "
                "ranks"
            )
        return cls(column, edges, ranks, content.get("marks", ()))
