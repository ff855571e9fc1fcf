"""Codec for columns of few values: categories, booleans, and numbers with few distinct values.

Each value has a token, and rare categories share some.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import as_text
from cascade_tables.codecs.columns.column_codec import (
    NULL_TOKEN,
    Role,
    Tokens,
    check_nulls,
    numbers,
    typed,
    within_bounds,
)
from cascade_tables.codecs.columns.folded import FoldedCategories
from cascade_tables.codecs.columns.outside import Outside, OutsideKind, allowed_values
from cascade_tables.column_fields import are_increasing, are_reals, number_of
from cascade_tables.errors import SchemaError, ValueNotAllowed
from cascade_tables.frame import ColumnData
from cascade_tables.schema import Column, Kind


class ListedCodec:
    """Codec with one token per value.

    NULL has the first token. The last tokens are shared: one by the label for other categories and
    the first group of those, and one by each further group.

    Attributes:
        labels: of categories and booleans, all values of the column in order: those with a token,
            the label for others, and the folded ones that answers may have. Empty for numbers,
            which represent themselves.
        places: of each label, its index.
        folded: draws a category for a shared token; None: answers have the label.
        other: the first shared token, if there are any.
        kept: number of values with a token of their own.
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
        self.kept = len(self.values)
        self._null_tokens = int(column.nullable)
        self._token = {value: i + self._null_tokens for i, value in enumerate(self.values)}
        # Listed values of exactly these types need no other check.
        plain = {Kind.CATEGORICAL: (str,), Kind.BOOLEAN: (bool,)}
        self._plain = frozenset(plain.get(column.kind, (int, float)))
        self.folded = folded
        self.labels: tuple[Any, ...] = ()
        if not column.kind.is_number:
            others = () if column.other is None else (column.other,)
            self.labels = (*self.values, *others, *(folded.categories if folded else ()))
        self.places: dict[Any, int] = {label: place for place, label in enumerate(self.labels)}
        self.other = self._null_tokens + self.kept
        shared = folded.groups if folded else int(column.other is not None)
        self.sizes: tuple[int, ...] = (self.other + shared,)
        self._token_of_place = self._tokens_of_places()
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
    def fit(
        cls, column: Column, data: ColumnData, folded: FoldedCategories | None = None
    ) -> ListedCodec:
        """Fit the codec of a column, with the ranks of its values among the table's rows."""
        if column.kind is Kind.BOOLEAN:
            return cls(column, [False, True], [])
        if column.kind is Kind.CATEGORICAL:
            return cls(column, column.categories, [], folded)
        values, counts = np.unique(numbers(column, data), return_counts=True)
        upto = np.cumsum(counts)
        return cls(column, values.tolist(), ((upto - counts / 2) / upto[-1]).tolist())

    @property
    def label_tokens(self) -> list[int]:
        """The token of each label, by its index."""
        tokens: list[int] = self._token_of_place[: len(self.labels)].tolist()
        return tokens

    @property
    def said(self) -> Sequence[Any]:
        """As `listed`, up to the first token whose value must be drawn."""
        return self._listed if self.folded is None else self._listed[: self.other]

    def _tokens_of_places(self) -> Tokens:
        """The token of each label, and at the end that of unknown values; -1: none."""
        kept = np.arange(self._null_tokens, self.other)
        if self.column.other is None:
            return np.array([*kept, -1], np.int32)
        groups = np.diff(self.folded.begin) if self.folded else np.zeros(0, np.intp)
        of_groups = self.other + np.repeat(np.arange(len(groups)), groups)
        return np.concatenate([kept, [self.other], of_groups, [self.other]]).astype(np.int32)

    def _decoded(self) -> NDArray[Any]:
        """Values by token; NULL's is a placeholder."""
        kind = self.column.kind
        null: list[Any]
        if kind is Kind.CATEGORICAL:
            out = np.empty(self.sizes[0], object)
            out[:] = self.column.other
            out[: self.other] = [""] * self._null_tokens + self.values
            return out
        null = [self.values[0]] * self._null_tokens
        return typed(kind, np.array(null + self.values))

    def encode(self, data: ColumnData) -> Tokens:
        check_nulls(self.column, data)
        kind = self.column.kind
        if kind is Kind.CATEGORICAL:
            get, texts = self.places.get, as_text(data.values)
            places = np.fromiter((get(text, -1) for text in texts), np.int32, len(data))
            tokens = self._token_of_place[places]
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
            place = self.places.get(value)
            if place is not None:
                return (self._token_of_place.item(place),)
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
        place = self.places.get(value)
        if place is not None:
            return (self._token_of_place.item(place),)
        outside.append(Outside(column, OutsideKind.CATEGORY, column.other))
        return (0 if column.other is None else self.other,)

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
            rows = np.flatnonzero(token >= self.other)
            drawn = self.folded.draw(token[rows] - self.other, uniform[rows]).tolist()
            values[rows] = [self.folded.categories[place] for place in drawn]
        return ColumnData(values, null, self.column.dtype)

    def decode_value(self, token: int, uniform: float) -> Any:
        """Decode one value to Python; None for NULL."""
        if self.folded is None or token < self.other:
            return self._listed[token]
        return self.folded.draw_one(token - self.other, uniform)

    def drawn_places(
        self, token: NDArray[np.int32], uniform: NDArray[np.float64]
    ) -> NDArray[np.intp]:
        """Return the label indices that `decode` draws for shared tokens.

        Args:
            token: [n], the label's or later ones.
            uniform: [n].
        """
        assert self.folded is not None
        return self.kept + 1 + self.folded.draw(token - self.other, uniform)

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
        if not (are_increasing(values, column.kind) and are_reals(ranks)):
            raise SchemaError(
                f"column {column.name!r}: its values and ranks are not what they should be; "
                f"allowed: increasing values, each {number_of(column.kind)[1]}, and finite ranks"
            )
        return cls(column, values, ranks)
