"""`Form`: how the cells of a column are written, and what they stand for.

A form is chosen once for a column, kept with the run, and used to read every later file of the
table. Cells in another notation are odd: `convert` reports them, and the caller decides about them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cascade_tables.errors import SchemaError
from cascade_tables.files.dates import Order, read_dates, read_times
from cascade_tables.files.numbers import Mark, read_numbers
from cascade_tables.schema import Kind

# Values that stand for NULL in a CSV file, in any column.
NULLS = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
# Additional ones in columns that are not text; case and surrounding blanks are ignored.
TYPED_NULLS = ("", "na", "n/a", "nan", "null", "none")
PLAIN_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)")
TRUE, FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")


class Type(StrEnum):
    """What the cells of a column stand for."""

    TEXT = "text"
    BOOLEAN = "boolean"
    WHOLE = "whole"
    REAL = "real"
    DATE = "date"
    TIME = "time"


NUMPY_TYPES = {
    Type.TEXT: "object",
    Type.BOOLEAN: "bool",
    Type.WHOLE: "int64",
    Type.REAL: "float64",
    Type.DATE: "datetime64[us]",
    Type.TIME: "float64",
}

# Cell types from which a column of each kind can be made.
OF_KIND = {
    Kind.CATEGORICAL: (Type.TEXT,),
    Kind.BOOLEAN: (Type.BOOLEAN,),
    Kind.INTEGER: (Type.WHOLE, Type.REAL, Type.TIME),
    Kind.CONTINUOUS: (Type.WHOLE, Type.REAL, Type.TIME),
    Kind.DATETIME: (Type.DATE,),
}


@dataclass(frozen=True)
class Form:
    """How a column's cells are written.

    Attributes:
        type: what they stand for.
        mark: for numbers, the decimal and thousands marks.
        affix: for numbers, text before or after them, such as "%" or "$".
        padded: for numbers, whether leading zeros are allowed.
        order: for dates, what comes first.
        null_values: cells that stand for NULL besides the usual ones.
        odd_share: share of odd cells in the rows that it was chosen for; a later file may have
            about as many. Forms that predate this field have 0.
    """

    type: Type
    mark: Mark = Mark.POINT
    affix: str = ""
    padded: bool = False
    order: Order = Order.YEAR_FIRST
    null_values: tuple[str, ...] = ()
    odd_share: float = 0.0

    @property
    def is_usual(self) -> bool:
        """Whether the form is so common that it need not be explained."""
        usual = Form(self.type, null_values=self.null_values, odd_share=self.odd_share)
        return self == usual and self.type is not Type.TIME

    def describe(self) -> str:
        """Describe the form, so that the user can check it."""
        if self.type in (Type.WHOLE, Type.REAL):
            noun = "whole numbers" if self.type is Type.WHOLE else "numbers"
            parts = [self.mark.describe()] if self.mark is not Mark.POINT else []
            parts += [f"{self.affix!r} taken off"] if self.affix else []
            parts += ["zeros before them taken off"] if self.padded else []
            return f"{noun}, {', '.join(parts)}" if parts else noun
        return {
            Type.TEXT: "text",
            Type.BOOLEAN: "true or false",
            Type.DATE: f"dates, {self.order.describe()}",
            Type.TIME: "times of day, as seconds since midnight",
        }[self.type]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-safe content; `from_dict` restores an equal form."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Form:
        """Restore the output of `to_dict`.

        Raises:
            SchemaError: it is invalid.
        """
        try:
            return cls(
                **{
                    **content,
                    "type": Type(content["type"]),
                    "mark": Mark(content["mark"]),
                    "order": Order(content["order"]),
                    "null_values": tuple(content["null_values"]),
                    "odd_share": float(content.get("odd_share", 0.0)),
                }
            )
        except (KeyError, TypeError, ValueError) as exc:
            raise SchemaError(f"this does not say how cells are written: {exc!r}") from exc


TEXT = Form(Type.TEXT)


@dataclass(frozen=True, eq=False)
class Converted:
    """Cells that were read in a form.

    Attributes:
        values: [n], of the element type of `NUMPY_TYPES`; placeholders where `null` or `odd`.
        null: bool [n], cells that stand for NULL.
        odd: bool [n], cells that are not written in this form.
    """

    values: NDArray[Any]
    null: NDArray[np.bool_]
    odd: NDArray[np.bool_]


def is_null(cells: pa.Array, type_: Type, null_values: tuple[str, ...] = ()) -> NDArray[np.bool_]:
    """Return which cells stand for NULL in a column of this type: bool [n]."""
    exact = pc.is_in(cells, pa.array([*NULLS, *null_values], pa.string()))
    null = np.asarray(exact).astype(bool)
    if type_ is not Type.TEXT:
        bare = pc.utf8_lower(pc.utf8_trim_whitespace(cells))
        wanted = [*TYPED_NULLS, *(value.strip().lower() for value in null_values)]
        null |= np.asarray(pc.is_in(bare, pa.array(wanted, pa.string()))).astype(bool)
        numbers = _shortest(pa.array(wanted, pa.string()).filter(_are_numbers(wanted)))
        if len(numbers):
            null |= np.asarray(pc.is_in(_shortest(bare), numbers)).astype(bool)
    return null


def _are_numbers(texts: Sequence[str]) -> pa.Array:
    return pa.array([PLAIN_NUMBER.fullmatch(text) is not None for text in texts], pa.bool_())


def _shortest(texts: pa.Array) -> pa.Array:
    """Strip redundant trailing zeros of numbers, so that equal values have equal text: a column of
    reals has -999.0 where a user writes -999.
    """
    texts = pc.replace_substring_regex(texts, r"^([-+]?[0-9]*\.[0-9]*[1-9])0+$", r"\1")
    return pc.replace_substring_regex(texts, r"^([-+]?[0-9]+)(?:\.0*|,0{1,2})$", r"\1")


def convert(form: Form, cells: pa.Array) -> Converted:
    """Read cells; most efficient if each distinct one occurs once.

    Args:
        form: how they are written.
        cells: text [n], no Arrow NULLs.
    """
    null = is_null(cells, form.type, form.null_values)
    if form.type is Type.TEXT:
        values = np.array([*cells.to_pylist(), None], object)[:-1]
        values[null] = ""
        return Converted(values, null, np.zeros(len(cells), bool))
    bare = pc.utf8_trim_whitespace(cells)
    values, fits = _read(form, bare)
    return Converted(values, null, ~fits & ~null)


def _read(form: Form, cells: pa.Array) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return values, and which of the cells are written in this form."""
    if form.type is Type.BOOLEAN:
        true = np.asarray(pc.is_in(cells, pa.array(TRUE))).astype(bool)
        return true, true | np.asarray(pc.is_in(cells, pa.array(FALSE))).astype(bool)
    if form.type is Type.DATE:
        return read_dates(cells, form.order)
    if form.type is Type.TIME:
        return read_times(cells)
    numbers = read_numbers(cells)
    fits = numbers.fits(form.mark, form.affix, form.padded)
    if form.type is Type.WHOLE:
        fits &= numbers.is_whole(form.mark)
        return numbers.whole(form.mark, fits), fits
    values = numbers.real(form.mark, fits)
    return values, fits & np.isfinite(values)
