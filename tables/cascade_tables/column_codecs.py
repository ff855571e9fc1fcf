"""One column to and from its tokens: listed values, or bins with a place inside them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_tables.errors import SchemaError, ValueNotAllowed, listing
from cascade_tables.frame import ColumnData
from cascade_tables.infer import MAX_EXACT, as_text
from cascade_tables.layout import Role
from cascade_tables.schema import Column, Kind, bound_text

COARSE, FINE = 64, 16

Tokens = NDArray[np.int32]


class ColumnCodec(Protocol):
    """What `Codec` asks of a column's codec."""

    column: Column
    sizes: tuple[int, ...]
    roles: tuple[Role, ...]
    positions: tuple[NDArray[np.float32] | None, ...]
    # By token, where one says all there is to say of a value: Python's own, None for NULL.
    listed: Sequence[Any] | None

    def encode(self, data: ColumnData) -> Tokens:
        """Values of a table to tokens [n, slots]; numbers not seen in fitting take the nearest.

        Raises:
            ValueNotAllowed: NULL, or a category, that the column does not have.
        """

    def encode_value(self, value: Any, notices: list[str]) -> tuple[int, ...]:
        """One value from outside (None: NULL), checked, to its tokens.

        Raises:
            ValueNotAllowed: the column cannot have it.
        """

    def decode(self, tokens: Tokens, rng: np.random.Generator) -> ColumnData:
        """Tokens [n, slots] to values."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe state, without the schema's."""


def allowed_values(column: Column) -> str:
    """What a column may hold, in words, for an error."""
    if column.kind is Kind.CATEGORICAL:
        allowed = "one of " + listing(column.categories)
    elif column.kind is Kind.BOOLEAN:
        allowed = "true or false"
    else:
        noun = {
            Kind.INTEGER: "whole numbers",
            Kind.CONTINUOUS: "numbers",
            Kind.DATETIME: "date-times",
        }[column.kind]
        low, high = bound_text(column, column.minimum), bound_text(column, column.maximum)
        allowed = f"{noun} from {low} to {high}"
    return allowed + (" or NULL" if column.nullable else "; not NULL")


def check_number(column: Column, value: Any) -> float | int:
    """A number within the column's bounds, as the column stores it.

    Raises:
        ValueNotAllowed: not a number, not whole where it must be, not finite, out of bounds.
    """
    plain = type(value) is int or type(value) is float
    number = value if plain else _as_number(column.kind, value)
    assert column.minimum is not None
    assert column.maximum is not None
    # NaN fails both comparisons.
    allowed = number is not None and column.minimum <= number <= column.maximum
    if column.kind is Kind.CONTINUOUS and allowed:
        return float(number)
    if not allowed or number != int(number):
        raise ValueNotAllowed(column.name, value, allowed_values(column))
    return int(number)


def _as_number(kind: Kind, value: Any) -> Any:
    """What stands for a number as a Python number: NumPy's numbers, and date-times where they are
    the column's; None: nothing else does."""
    numeric = isinstance(value, int | float | np.integer | np.floating)
    if numeric and not isinstance(value, bool | np.timedelta64):
        return value.item() if isinstance(value, np.generic) else value
    if kind is not Kind.DATETIME or not isinstance(value, datetime | np.datetime64):
        return None
    ahead = timedelta(0)
    if isinstance(value, datetime) and value.tzinfo is not None:
        ahead, value = value.utcoffset() or ahead, value.replace(tzinfo=None)
    return int(np.datetime64(value, "us").astype(np.int64)) - ahead // timedelta(microseconds=1)


def _refuse_null(column: Column) -> ValueNotAllowed:
    return ValueNotAllowed(column.name, None, allowed_values(column))


def _check_nulls(column: Column, data: ColumnData) -> None:
    if not column.nullable and data.null.any():
        raise _refuse_null(column)


class ListedCodec:
    """A token a value: categories, booleans, and numbers with few distinct values."""

    roles: tuple[Role, ...] = ("value",)

    def __init__(self, column: Column, values: Sequence[Any], ranks: Sequence[float]) -> None:
        self.column = column
        self.values = list(values)
        self._offset = int(column.nullable)
        self._token = {value: i + self._offset for i, value in enumerate(self.values)}
        # Of values of these very types, those that are listed need no other check.
        plain = {Kind.CATEGORICAL: (str,), Kind.BOOLEAN: (bool,)}
        self._plain = frozenset(plain.get(column.kind, (int, float)))
        self._other = None
        if column.other is not None:
            self._other = len(self.values) + self._offset
        self.sizes: tuple[int, ...] = (self._offset + len(self.values) + (self._other is not None),)
        self.ranks = [float(rank) for rank in ranks]
        self.positions: tuple[NDArray[np.float32] | None, ...] = (None,)
        if column.kind.is_number:
            null = [np.nan] * self._offset
            self.positions = (np.array([*null, *self.ranks], np.float32),)
        self._table = self._decoded()
        whole = self._table.astype(np.int64) if column.kind is Kind.DATETIME else self._table
        self.listed: Sequence[Any] | None = [
            *[None] * self._offset,
            *whole[self._offset :].tolist(),
        ]

    @classmethod
    def fit(cls, column: Column, data: ColumnData) -> ListedCodec:
        if column.kind is Kind.BOOLEAN:
            return cls(column, [False, True], [])
        if column.kind is Kind.CATEGORICAL:
            return cls(column, column.categories, [])
        values, counts = np.unique(numbers(column, data), return_counts=True)
        upto = np.cumsum(counts)
        return cls(column, values.tolist(), ((upto - counts / 2) / upto[-1]).tolist())

    def _decoded(self) -> NDArray[Any]:
        """Values by token; NULL's is a placeholder."""
        kind = self.column.kind
        null: list[Any]
        if kind is Kind.CATEGORICAL:
            extra = [] if self._other is None else [self.column.other]
            out = np.empty(self.sizes[0], object)
            out[:] = [""] * self._offset + self.values + extra
            return out
        null = [self.values[0]] * self._offset
        return typed(kind, np.array(null + self.values))

    def encode(self, data: ColumnData) -> Tokens:
        _check_nulls(self.column, data)
        kind = self.column.kind
        if kind is Kind.CATEGORICAL:
            fallback = -1 if self._other is None else self._other
            get = self._token.get
            tokens = np.fromiter(
                (get(v, fallback) for v in as_text(data.values)), np.int32, len(data)
            )
        elif kind is Kind.BOOLEAN:
            tokens = data.values.astype(np.int32) + self._offset
        else:
            known = np.array(self.values)
            values = numbers(self.column, data, present_only=False)
            tokens = np.searchsorted(known, values).clip(0, len(known) - 1).astype(np.int32)
            unseen = known[tokens] != values
            tokens += self._offset
            for row in np.flatnonzero(unseen & ~data.null).tolist():
                tokens[row] = self._nearest(values[row].item())
        tokens = np.where(data.null, 0, tokens).astype(np.int32)
        if (tokens < 0).any():
            bad = data.values[int(np.flatnonzero(tokens < 0)[0])]
            raise ValueNotAllowed(self.column.name, bad, allowed_values(self.column))
        return tokens[:, None]

    def encode_value(self, value: Any, notices: list[str]) -> tuple[int, ...]:
        if type(value) in self._plain:
            token = self._token.get(value)
            if token is not None:
                return (token,)
        column = self.column
        if value is None:
            if not column.nullable:
                raise _refuse_null(column)
            return (0,)
        if column.kind.is_number:
            number = check_number(column, value)
            token = self._token.get(number)
            if token is None:
                token = self._nearest(number)
                nearest = bound_text(column, self.values[token - self._offset])
                notices.append(
                    f"column {column.name!r}: {bound_text(column, number)} was not seen in "
                    f"training; conditioned on the nearest value, {nearest}"
                )
            return (token,)
        wanted = bool if column.kind is Kind.BOOLEAN else str
        if isinstance(value, np.bool_):
            value = bool(value)
        if not isinstance(value, wanted):
            raise ValueNotAllowed(column.name, value, allowed_values(column))
        token = self._token.get(value)
        if token is None:
            if self._other is None:
                raise ValueNotAllowed(column.name, value, allowed_values(column))
            token = self._other
            if value != column.other:
                notices.append(
                    f"column {column.name!r}: {value!r} is not one of its "
                    f"{len(self.values)} categories; conditioned on {column.other!r}"
                )
        return (token,)

    def _nearest(self, number: float | int) -> int:
        after = bisect_right(self.values, number)
        around = [i for i in (after - 1, after) if 0 <= i < len(self.values)]
        return min(around, key=lambda i: abs(self.values[i] - number)) + self._offset

    def decode(self, tokens: Tokens, rng: np.random.Generator) -> ColumnData:
        token = tokens[:, 0]
        null = token == 0 if self._offset else np.zeros(len(token), bool)
        return ColumnData(self._table[token], null, self.column.dtype)

    def to_dict(self) -> dict[str, Any]:
        if not self.column.kind.is_number:
            return {"codec": "listed"}
        return {"codec": "listed", "values": self.values, "ranks": self.ranks}

    @classmethod
    def from_dict(cls, column: Column, content: dict[str, Any]) -> ListedCodec:
        if column.kind is Kind.BOOLEAN:
            return cls(column, [False, True], [])
        if column.kind is Kind.CATEGORICAL:
            return cls(column, column.categories, [])
        values, ranks = content["values"], content["ranks"]
        if not 0 < len(values) == len(ranks):
            raise SchemaError(
                f"column {column.name!r}: {len(values)} values have {len(ranks)} ranks"
            )
        return cls(column, values, ranks)


class BinnedCodec:
    """Two tokens a number: NULL, a point mass or a quantile bin; then the place inside the bin.

    `edges` are COARSE * FINE + 1 order statistics of the values that are not point masses. Tied
    edges leave bins of no width, which `encode` never chooses.
    """

    roles: tuple[Role, ...] = ("coarse", "fine")
    listed: Sequence[Any] | None = None

    def __init__(
        self, column: Column, edges: Sequence[float | int], ranks: Sequence[float]
    ) -> None:
        self.column = column
        self.edges = list(edges)
        self.ranks = [float(rank) for rank in ranks]
        self._null = int(column.nullable)
        self._masses = list(column.point_masses)
        self._mass_token = {value: i + self._null for i, value in enumerate(self._masses)}
        self._bins_from = self._null + len(self._masses)
        self._edges = np.array(self.edges)
        if column.kind is not Kind.CONTINUOUS:
            # Whole numbers a fine bin: those below the next edge, which is the next bin's; the
            # last edge is the last bin's. In uint64, where differences of int64 do not overflow.
            edge = self._edges.astype(np.uint64)
            self._step = np.uint64(column.step or 1)
            self._count = (edge[1:] - edge[:-1]) // self._step
            self._count[-1:] += np.uint64(1)
            self._count = np.maximum(self._count, np.uint64(1))
        self.sizes: tuple[int, ...] = (self._bins_from + COARSE, FINE)
        # Of values of this very type, those within the bounds need no other check.
        self._plain = float if column.kind is Kind.CONTINUOUS else int
        self._low = math.inf if column.minimum is None else column.minimum
        self._high = -math.inf if column.maximum is None else column.maximum
        # By how many edges a value is not below.
        last = COARSE * FINE - 1
        places = [min(max(count - 1, 0), last) for count in range(len(self.edges) + 1)]
        self._tokens = [(self._bins_from + p // FINE, p % FINE) for p in places]
        coarse = np.array([*[np.nan] * self._null, *self.ranks], np.float32)
        fine = ((np.arange(FINE) + 0.5) / FINE).astype(np.float32)
        self.positions: tuple[NDArray[np.float32] | None, ...] = (coarse, fine)

    @classmethod
    def fit(cls, column: Column, data: ColumnData) -> BinnedCodec:
        values = np.sort(numbers(column, data))
        masses = np.array(column.point_masses, values.dtype)
        rest = values[~np.isin(values, masses)]
        if len(rest) == 0:
            rest = values
        at = np.round(np.linspace(0, len(rest) - 1, COARSE * FINE + 1)).astype(int)
        edges = rest[at]
        middles = edges[FINE // 2 :: FINE][:COARSE]
        spots = np.concatenate([masses, middles])
        left, right = np.searchsorted(values, spots), np.searchsorted(values, spots, "right")
        return cls(column, edges.tolist(), ((left + right) / 2 / len(values)).tolist())

    def encode(self, data: ColumnData) -> Tokens:
        _check_nulls(self.column, data)
        values = numbers(self.column, data, present_only=False)
        place = (np.searchsorted(self._edges, values, "right") - 1).clip(0, COARSE * FINE - 1)
        coarse, fine = self._bins_from + place // FINE, place % FINE
        if self._masses:
            masses = np.array(self._masses)
            nearest = np.searchsorted(masses, values).clip(0, len(masses) - 1)
            is_mass = masses[nearest] == values
            coarse = np.where(is_mass, nearest + self._null, coarse)
            fine = np.where(is_mass, 0, fine)
        coarse, fine = np.where(data.null, 0, coarse), np.where(data.null, 0, fine)
        return np.stack([coarse, fine], axis=1).astype(np.int32)

    def encode_value(self, value: Any, notices: list[str]) -> tuple[int, ...]:
        if value is None:
            if not self._null:
                raise _refuse_null(self.column)
            return (0, 0)
        plain = type(value) is self._plain and self._low <= value <= self._high
        number = value if plain else check_number(self.column, value)
        token = self._mass_token.get(number)
        if token is not None:
            return (token, 0)
        return self._tokens[bisect_right(self.edges, number)]

    def decode(self, tokens: Tokens, rng: np.random.Generator) -> ColumnData:
        coarse = tokens[:, 0]
        # NULL and point masses, which are put in below, count as the first bin here.
        place = np.maximum((coarse - self._bins_from) * FINE + tokens[:, 1], 0)
        low = self._edges[place]
        uniform = rng.random(len(coarse))
        column = self.column
        values: NDArray[Any]
        if column.kind is Kind.CONTINUOUS:
            high = self._edges[place + 1]
            # Not low + u * (high - low), which overflows where the bounds are far apart.
            values = low * (1 - uniform) + high * uniform
            if column.decimals is not None:
                values = np.round(values, column.decimals)
            values = np.clip(values, low, high)
        else:
            count = self._count[place]
            above = np.minimum((uniform * count).astype(np.uint64), count - np.uint64(1))
            values = (low.astype(np.uint64) + above * self._step).astype(np.int64)
        if self._masses:
            mass = np.array(self._masses)[(coarse - self._null).clip(0, len(self._masses) - 1)]
            values = np.where(coarse < self._bins_from, mass, values)
        null = coarse < self._null
        return ColumnData(typed(column.kind, values), null, column.dtype)

    def to_dict(self) -> dict[str, Any]:
        return {"codec": "binned", "edges": self.edges, "ranks": self.ranks}

    @classmethod
    def from_dict(cls, column: Column, content: dict[str, Any]) -> BinnedCodec:
        edges, ranks = content["edges"], content["ranks"]
        wanted = COARSE * FINE + 1, len(column.point_masses) + COARSE
        if not column.kind.is_number or (len(edges), len(ranks)) != wanted:
            raise SchemaError(
                f"column {column.name!r} ({column.kind.value}): {len(edges)} edges and "
                f"{len(ranks)} ranks do not fit it"
            )
        return cls(column, edges, ranks)


def numbers(column: Column, data: ColumnData, present_only: bool = True) -> NDArray[Any]:
    """A number column's values as float64 (continuous) or int64 (whole; date-times as µs)."""
    # A NULL's placeholder may be NaN, which no whole number is.
    zero = np.zeros(1, data.values.dtype)
    values = data.present() if present_only else np.where(data.null, zero, data.values)
    return values.astype(np.float64 if column.kind is Kind.CONTINUOUS else np.int64)


def typed(kind: Kind, values: NDArray[Any]) -> NDArray[Any]:
    """Values in the element type that a Frame holds this kind in."""
    if kind is Kind.DATETIME:
        return values.astype(np.int64).astype("datetime64[us]")
    if kind is Kind.INTEGER:
        return values.astype(np.int64)
    if kind is Kind.CONTINUOUS:
        return values.astype(np.float64)
    return values


def fit_column(column: Column, data: ColumnData) -> ColumnCodec:
    """The codec that suits a column."""
    if column.kind.is_number and len(np.unique(data.present())) > MAX_EXACT:
        return BinnedCodec.fit(column, data)
    return ListedCodec.fit(column, data)


def column_from_dict(column: Column, content: dict[str, Any]) -> ColumnCodec:
    """What a column codec's `to_dict` gave."""
    kinds: dict[str, type[BinnedCodec] | type[ListedCodec]] = {
        "listed": ListedCodec,
        "binned": BinnedCodec,
    }
    return kinds[content["codec"]].from_dict(column, content)
