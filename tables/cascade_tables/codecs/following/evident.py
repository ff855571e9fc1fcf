"""Numbers of few values that are evident once all others of their relation are given.

If the total minus the payment is one of four deductibles to the cent, it is the deductible: chance
would hardly produce it. A network sees only the bins of both numbers, and cannot tell; arithmetic
can. How rarely chance produces such a number is measured in the training rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cascade_tables.codecs.columns.binned_codec import BinnedCodec
from cascade_tables.codecs.columns.column_codec import ColumnCodec
from cascade_tables.codecs.following.sums import Cells, Mask, Sum, cells_of
from cascade_tables.errors import SchemaError
from cascade_tables.frame import Frame
from cascade_tables.schema import Schema

# The relation must hold in this share of the rows in which the others give a listed value.
CERTAIN = 0.98


class Evident(NamedTuple):
    """A column of few values that follows from the others of a relation if they give one of these
    values.

    Attributes:
        relation: its index among the schema's.
        column: its name.
    """

    relation: int
    column: str


class Followed:
    """Arithmetic of an evident column.

    Args:
        schema: of the table.
        codecs: of its columns.
        evident: the column and the relation.
    """

    def __init__(self, schema: Schema, codecs: Sequence[ColumnCodec], evident: Evident) -> None:
        self._sum = Sum(schema.relations[evident.relation], schema)
        #: All columns of the relation, by their places.
        self.places = self._sum.places
        self._at = self.places.index(schema.names.index(evident.column))
        self.place = self.places[self._at]
        values = [value for value in codecs[self.place].listed or () if value is not None]
        self._values = self._whole(np.array(values))

    def _whole(self, values: NDArray[Any]) -> NDArray[np.int64]:
        nothing = np.zeros(len(values), np.bool_)
        return self._sum.whole(self._sum.terms[self._at], values, nothing).values

    def made(self, cells: Mapping[int, Cells], rows: NDArray[np.intp]) -> tuple[Mask, NDArray[Any]]:
        """Compute the column from the others in some rows.

        Args:
            cells: by index; none is NULL there.
            rows: their indices, m of them.

        Returns:
            bool [m], where the result is one of the listed values; and the numbers [m].
        """
        values, _, within = self._sum.computed(self._at, cells, rows)
        is_listed = np.zeros(len(rows), np.bool_)
        is_listed[within] = np.isin(self._whole(values[within]), self._values)
        return is_listed, values

    def share(self, cells: Mapping[int, Cells]) -> float:
        """Return the share of rows with the column's own value among those in which the others give
        a listed value; 0 if there are none.
        """
        null = np.logical_or.reduce([cells[place].null for place in self.places])
        rows = np.flatnonzero(~null)
        is_listed, values = self.made(cells, rows)
        if not is_listed.any():
            return 0.0
        own = self._whole(cells[self.place].values[rows[is_listed]])
        return float((self._whole(values[is_listed]) == own).mean())

    def follow(self, cells: Mapping[int, Cells]) -> None:
        """Overwrite the column where it was drawn and all others were given."""
        if not all(place in cells for place in self.places):
            return
        own = cells[self.place]
        asked = own.drawn.copy()
        for place in self.places:
            if place != self.place:
                asked &= ~cells[place].drawn & ~cells[place].null
        rows = np.flatnonzero(asked)
        if len(rows):
            is_listed, values = self.made(cells, rows)
            found = rows[is_listed]
            own.values[found], own.null[found] = values[is_listed], False


def evident_columns(
    schema: Schema, codecs: Sequence[ColumnCodec], frame: Frame
) -> tuple[Evident, ...]:
    """Find the evident columns of few values in the training rows."""
    found = []
    for number, relation in enumerate(schema.relations):
        if relation.always:
            continue
        places = [schema.names.index(name) for name in relation.formula.columns]
        cells = {
            place: cells_of(schema.columns[place], frame[schema.names[place]], None, len(frame))
            for place in places
        }
        for place in places:
            evident = Evident(number, schema.names[place])
            if isinstance(codecs[place], BinnedCodec):
                continue
            if Followed(schema, codecs, evident).share(cells) >= CERTAIN:
                found.append(evident)
    return tuple(found)


def check_evident(schema: Schema, codecs: Sequence[ColumnCodec], evident: Sequence[Any]) -> None:
    """Refuse entries that are not a column of few values in a relation of the schema.

    Raises:
        SchemaError: names it.
    """
    listed = {c.column.name for c in codecs if not isinstance(c, BinnedCodec)}
    for each in evident:
        known = len(each) == 2 and type(each[0]) is int and 0 <= each[0] < len(schema.relations)
        if not known or each[1] not in listed & set(schema.relations[each[0]].formula.columns):
            raise SchemaError(
                f"{each!r} is no relation of this codec's and a column of few values in it"
            )
