"""Columns of few values: categories, booleans, and numbers with few distinct values; a token a
value, and one for all rare categories together."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import as_text
from cascade_tables.codecs.column_codec import (
    NULL_TOKEN,
    Tokens,
    check_nulls,
    numbers,
    typed,
    within_bounds,
)
from cascade_tables.codecs.folded import FoldedCategories
from cascade_tables.codecs.layout import Role
from cascade_tables.codecs.outside import Outside, OutsideKind, allowed_values
from cascade_tables.errors import SchemaError, ValueNotAllowed
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Column, Kind


class ListedCodec:
    """A token a value; NULL has the first, the label that other categories fold into the last.

    Attributes:
        labels: of categories and booleans, all values that the column may have, by their places:
            those with a token, the label that others fold into, the folded ones that answers may
            have. Empty: the column's numbers stand for themselves.
        places: of each label, its place.
        folded: what an answer has in place of the label; None: the label itself.
    """

    roles: tuple[Role, ...] = ("value",)

    def __init__(
        self,
        column: Column,
        values: Sequence[Any],
        ranks: Sequence[float],
        folded: FoldedCategories | None = None,
    ) -> None:
        self.column = column
        self.values = list(values)
        self._null_tokens = int(column.nullable)
        self._token = {value: i + self._null_tokens for i, value in enumerate(self.values)}
        # Of values of these very types, those that are listed need no other check.
        plain = {Kind.CATEGORICAL: (str,), Kind.BOOLEAN: (bool,)}
        self._plain = frozenset(plain.get(column.kind, (int, float)))
        self._other = None
        if column.other is not None:
            self._other = len(self.values) + self._null_tokens
        self.folded = folded
        self.labels: tuple[Any, ...] = ()
        if not column.kind.is_number:
            others = () if column.other is None else (column.other,)
            self.labels = (*self.values, *others, *(folded.categories if folded else ()))
        self.places: dict[Any, int] = {label: place for place, label in enumerate(self.labels)}
        self.sizes: tuple[int, ...] = (
            self._null_tokens + len(self.values) + (self._other is not None),
        )
        self.ranks = [float(rank) for rank in ranks]
        self.positions: tuple[NDArray[np.float32] | None, ...] = (None,)
        if column.kind.is_number:
            null = [np.nan] * self._null_tokens
            self.positions = (np.array([*null, *self.ranks], np.float32),)
        self._table = self._decoded()
        whole = self._table.astype(np.int64) if column.kind is Kind.DATETIME else self._table
        self._listed = [*[None] * self._null_tokens, *whole[self._null_tokens :].tolist()]
        self.listed: Sequence[Any] | None = None if folded else self._listed

    @classmethod
    def fit(cls, column: Column, data: ColumnData) -> ListedCodec:
        """The codec of a column, with the ranks of its values among the table's rows."""
        if column.kind is Kind.BOOLEAN:
            return cls(column, [False, True], [])
        if column.kind is Kind.CATEGORICAL:
            return cls(column, column.categories, [], FoldedCategories.fit(column, data))
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
            out[:] = [""] * self._null_tokens + self.values + extra
            return out
        null = [self.values[0]] * self._null_tokens
        return typed(kind, np.array(null + self.values))

    def encode(self, data: ColumnData) -> Tokens:
        check_nulls(self.column, data)
        kind = self.column.kind
        if kind is Kind.CATEGORICAL:
            fallback = -1 if self._other is None else self._other
            get = self._token.get
            tokens = np.fromiter(
                (get(v, fallback) for v in as_text(data.values)), np.int32, len(data)
            )
        elif kind is Kind.BOOLEAN:
            tokens = data.values.astype(np.int32) + self._null_tokens
        else:
            known = np.array(self.values)
            values = numbers(self.column, data, present_only=False)
            tokens = np.searchsorted(known, values).clip(0, len(known) - 1).astype(np.int32)
            unseen = known[tokens] != values
            tokens += self._null_tokens
            for row in np.flatnonzero(unseen & ~data.null).tolist():
                tokens[row] = self._nearest(values[row].item())
        tokens = np.where(data.null, NULL_TOKEN, tokens).astype(np.int32)
        if (tokens < 0).any():
            bad = data.values[int(np.flatnonzero(tokens < 0)[0])]
            raise ValueNotAllowed(self.column.name, bad, allowed_values(self.column))
        return tokens[:, None]

    def encode_value(self, value: Any, outside: list[Outside]) -> tuple[int, ...]:
        if type(value) in self._plain:
            token = self._token.get(value)
            if token is not None:
                return (token,)
        column = self.column
        if value is None:
            if column.nullable:
                return (NULL_TOKEN,)
            outside.append(Outside(column, OutsideKind.NULL))
            return (0,)
        if column.kind.is_number:
            return self._encode_number(value, outside)
        if isinstance(value, np.bool_):
            value = bool(value)
        if not isinstance(value, bool if column.kind is Kind.BOOLEAN else str):
            outside.append(Outside(column, OutsideKind.WRONG))
            return (0,)
        token = self._token.get(value, self._other)
        if value not in self.places:
            outside.append(Outside(column, OutsideKind.CATEGORY, column.other))
        return (token or 0,)

    def _encode_number(self, value: Any, outside: list[Outside]) -> tuple[int, ...]:
        column, beyond = self.column, len(outside)
        number = within_bounds(column, value, outside)
        if number is None:
            return (0,)
        token = self._token.get(number)
        if token is None:
            token = self._nearest(number)
        nearest = self.values[token - self._null_tokens]
        if len(outside) > beyond:
            outside[-1] = outside[-1]._replace(conditioned_on=nearest)
        elif nearest != number:
            outside.append(Outside(column, OutsideKind.BETWEEN, nearest))
        return (token,)

    def _nearest(self, number: float | int) -> int:
        after = bisect_right(self.values, number)
        around = [i for i in (after - 1, after) if 0 <= i < len(self.values)]
        return min(around, key=lambda i: abs(self.values[i] - number)) + self._null_tokens

    def decode(self, tokens: Tokens, uniform: NDArray[np.float64] | None = None) -> ColumnData:
        token = tokens[:, 0]
        null = token == NULL_TOKEN if self._null_tokens else np.zeros(len(token), bool)
        values = self._table[token]
        if self.folded is not None and uniform is not None:
            rows = np.flatnonzero(token == self._other)
            drawn = self.folded.draw(uniform[rows]).tolist()
            values[rows] = [self.folded.categories[place] for place in drawn]
        return ColumnData(values, null, self.column.dtype)

    def decode_value(self, token: int, uniform: float) -> Any:
        """What `decode` makes of one value, as Python's own; None for NULL."""
        if self.folded is None or token != self._other:
            return self._listed[token]
        return self.folded.categories[self.folded.draw_one(uniform)]

    def draw_places(self, places: NDArray[np.float64], uniform: NDArray[np.float64]) -> None:
        """Write, over the label's place, those of the categories that answers have instead.

        Args:
            places: [n], of the column's labels.
            uniform: [n], the numbers that `decode` draws by.
        """
        assert self.folded is not None
        label = len(self.values)
        rows = np.flatnonzero(places == label)
        places[rows] = label + 1 + self.folded.draw(uniform[rows])

    def to_dict(self) -> dict[str, Any]:
        if not self.column.kind.is_number:
            folded = {} if self.folded is None else {"folded": self.folded.to_dict()}
            return {"codec": "listed"} | folded
        return {"codec": "listed", "values": self.values, "ranks": self.ranks}

    @classmethod
    def from_dict(cls, column: Column, content: dict[str, Any]) -> ListedCodec:
        if column.kind is Kind.BOOLEAN:
            return cls(column, [False, True], [])
        if column.kind is Kind.CATEGORICAL:
            entry = content.get("folded")
            folded = None if entry is None else FoldedCategories.from_dict(column, entry)
            return cls(column, column.categories, [], folded)
        values, ranks = content["values"], content["ranks"]
        if not 0 < len(values) == len(ranks):
            raise SchemaError(
                f"column {column.name!r}: {len(values)} values have {len(ranks)} ranks"
            )
        return cls(column, values, ranks)
