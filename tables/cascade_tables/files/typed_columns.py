"""Conversion of typed files' columns to columns that can be modelled.

Arrow's times and durations become seconds, like a time of day in a text file. If the user names a
column's kind, text is parsed as in text files, because programs store dates and numbers as text in
typed files too. A number that is not finite is an odd cell, as in text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cascade_tables.errors import DataError, SchemaError, shown
from cascade_tables.files.choosing import Counts, choose
from cascade_tables.files.dates import Order
from cascade_tables.files.findings import NAMED, Misfits
from cascade_tables.files.forms import NUMPY_TYPES, Form, Type, convert
from cascade_tables.frame import ColumnData, column_from_arrow
from cascade_tables.overrides import ColumnOverride
from cascade_tables.schema import Kind

PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
FINITE = "finite numbers"


@dataclass
class Odd:
    """Cells of a column that count as NULL because they differ from the others.

    Attributes:
        count: number of such cells.
        present: cells that are not NULL, including these.
        cells: the first of them, and their rows.
    """

    count: int = 0
    present: int = 0
    cells: list[tuple[int, str]] = field(default_factory=list)

    def add(self, rows: NDArray[np.int64], values: Iterable[Any], present: int) -> None:
        """Add odd cells of some rows."""
        self.count += len(rows)
        self.present += present
        room = NAMED - len(self.cells)
        self.cells += zip(rows[:room].tolist(), map(str, list(values)[:room]), strict=True)


class TypedColumns:
    """Reads columns, and records their odd cells.

    Args:
        forms: notation of text that stands for something else, and values that stand for NULL.
        finite: whether a number that is not finite is odd; else it is kept.
    """

    def __init__(self, forms: Mapping[str, Form] | None = None, finite: bool = False) -> None:
        self._forms, self._finite = forms or {}, finite
        self.odd: dict[str, Odd] = {}
        self._seconds: dict[str, str] = {}

    def read(self, name: str, array: Any, begin: int = 0) -> ColumnData:
        """Read a column of an Arrow table, or some rows of it.

        Args:
            name: the column's.
            array: its cells.
            begin: the row of the first.

        Raises:
            DataError: its type cannot be modelled, or its values cannot be read.
        """
        form = self._forms.get(name)
        if form is not None and is_text(array.type, form):
            return self._written(name, form, array, begin)
        if pa.types.is_time(array.type) or pa.types.is_duration(array.type):
            of_day = pa.types.is_time(array.type)
            self._seconds[name] = (
                "times of day, as seconds since midnight"
                if of_day
                else "lengths of time, as seconds"
            )
        data = column_from_arrow(name, _plain(array))
        if form is not None and form.null_values:
            data = replace(data, null=data.null | _stand_for_null(data, form.null_values))
        if not self._finite or data.values.dtype.kind != "f":
            return data
        odd = ~np.isfinite(data.values) & ~data.null
        self._notice(name, odd, data.values[odd], ~data.null, begin)
        if not odd.any():
            return data
        return replace(data, values=np.where(odd, 0.0, data.values), null=data.null | odd)

    def _written(self, name: str, form: Form, array: Any, begin: int) -> ColumnData:
        """Parse text in its form; each distinct cell is parsed once."""
        distinct, where, missing = _distinct(name, array)
        read = convert(form, distinct)
        values, null = read.values[where], read.null[where] | missing
        odd = read.odd[where] & ~missing
        cells = distinct.take(pa.array(where[odd][:NAMED])).to_pylist()
        self._notice(name, odd, cells, ~null, begin)
        values = values.astype(NUMPY_TYPES[form.type], copy=False)
        if form.type is Type.TIME and bool((values == np.floor(values)).all()):
            values = values.astype(np.int64)
        return ColumnData(values, null | odd)

    def _notice(
        self,
        name: str,
        odd: NDArray[np.bool_],
        values: Iterable[Any],
        present: NDArray[np.bool_],
        begin: int,
    ) -> None:
        rows = np.flatnonzero(odd)
        self.odd.setdefault(name, Odd()).add(rows + begin, values, int(present.sum()))

    def notes(self) -> tuple[str, ...]:
        """Return a line for each column that was converted."""
        return tuple(f"{name}: {what}" for name, what in self._seconds.items())

    def forms(self, rows: int) -> dict[str, Form]:
        """Return the forms for later files of the table, with the share of odd cells."""
        shares = {name: odd.count / rows for name, odd in self.odd.items() if odd.count}
        forms = {**{name: Form(Type.REAL) for name in shares}, **self._forms}
        return {
            name: replace(form, odd_share=shares.get(name, 0.0)) for name, form in forms.items()
        }

    def misfits(self) -> tuple[Misfits, ...]:
        """Return the findings about odd cells."""
        return tuple(
            Misfits(
                name,
                self._forms[name].describe() if name in self._forms else FINITE,
                odd.count,
                odd.present,
                tuple(dict.fromkeys(cell for _, cell in odd.cells)),
                tuple(f"row {row + 1:,}" for row, _ in odd.cells),
            )
            for name, odd in self.odd.items()
            if odd.count
        )


def is_text(kind: pa.DataType, form: Form) -> bool:
    """Return whether a column of this type is parsed as text of this form; this includes numbers
    that are days such as 20241231.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return form.type is Type.DATE
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return (text or pa.types.is_string_view(kind)) and form.type is not Type.TEXT


def forms_of(
    types: Mapping[str, pa.DataType],
    overrides: Mapping[str, ColumnOverride],
    cells: Callable[[str], Iterable[Any]],
    called: str,
    must_fit: bool,
) -> dict[str, Form]:
    """Determine the forms of columns whose kind the user has named.

    Args:
        types: of the columns.
        overrides: the user's corrections.
        cells: yields a column's cells, in one or more arrays.
        called: the file, in messages.
        must_fit: whether to refuse a column of which no cell can be read as its kind; else it is
            text.

    Raises:
        SchemaError: see `must_fit`; or an override does not apply to columns of its type.
    """
    forms = {}
    for name, override in overrides.items():
        if name not in types or override.drop:
            continue
        nulls = override.null_values or ()
        kind = override.kind or (Kind.DATETIME if override.dates else None)
        kind = kind or (Kind.CONTINUOUS if override.decimal_mark else None)
        if kind is Kind.CATEGORICAL:
            kind = None
        if kind is None or not is_text(types[name], Form(_type_of(kind))):
            _check_typed(name, types[name], override)
            if nulls:
                forms[name] = Form(Type.TEXT, null_values=nulls)
            continue
        counts = Counts()
        for part in cells(name):
            distinct, where, missing = _distinct(name, part)
            weights = np.bincount(where[~missing], minlength=len(distinct))
            counts.add(distinct, weights.astype(np.int64), nulls)
        order = Order(override.dates) if override.dates else None
        choice = choose(counts, kind, order, nulls, decimal_mark=override.decimal_mark)
        if choice is None and must_fit:
            raise SchemaError(
                f"column {name!r}: kind {kind} in the overrides, but none of its "
                f"{counts.typed:,} cells in {called} can be read so"
            )
        if choice is not None and choice.form.type is not Type.TEXT:
            forms[name] = choice.form
    return forms


def check_few(odd: Iterable[Misfits], named: Mapping[str, ColumnOverride], most: float) -> None:
    """Refuse columns in which many numbers are not finite, unless the user named their kind.

    Raises:
        DataError: names the first, and what can be done.
    """
    for each in odd:
        asked = named.get(each.column, ColumnOverride()).kind is not None
        if not asked and each.share > most:
            raise DataError(
                f"column {each.column!r} holds {shown(each.values[0])}: {each.describe()} are not "
                f"{each.form}; to count them as NULL, name a kind for it in the file of --schema, "
                "such as continuous"
            )


def _type_of(kind: Kind) -> Type:
    """Return a cell type of this kind other than text; for dates the date type."""
    return Type.DATE if kind is Kind.DATETIME else Type.REAL


def _check_typed(name: str, kind: pa.DataType, override: ColumnOverride) -> None:
    for key in ("dates", "decimal_mark"):
        if getattr(override, key):
            raise SchemaError(
                f"column {name!r}: {key} in the overrides is for text; the column has type {kind}"
            )
    types = pa.types
    held = types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind)
    text = types.is_dictionary(kind) or types.is_string(kind) or types.is_large_string(kind)
    if override.null_values and not (held or text or types.is_string_view(kind)):
        raise SchemaError(
            f"column {name!r}: null_values in the overrides is for text and numbers; the column "
            f"has type {kind}"
        )


def _stand_for_null(data: ColumnData, wanted: Iterable[str]) -> NDArray[np.bool_]:
    """Return which values stand for NULL, bool [n]."""
    if data.values.dtype.kind == "O":
        return np.isin(data.values.astype(str), list(wanted))
    numbers = []
    for text in wanted:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return np.isin(data.values, numbers)


def _distinct(name: str, array: Any) -> tuple[Any, NDArray[np.int64], NDArray[np.bool_]]:
    """Return distinct text [m]; the index of each cell into it, int64 [n]; and which cells are
    empty, bool [n].

    Raises:
        DataError: a cell is no text.
    """
    try:
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        if pa.types.is_dictionary(array.type):
            array = array.dictionary_decode()
        missing = np.asarray(array.is_null()).astype(bool)
        encoded = pc.dictionary_encode(pc.fill_null(array.cast(pa.string()), ""))
        encoded.validate(full=True)
    except (pa.ArrowException, UnicodeError) as exc:
        raise DataError(f"column {name!r} of type {array.type} cannot be read: {exc}") from exc
    where = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return encoded.dictionary, where, missing


def _plain(array: Any) -> Any:
    """Convert times and durations to seconds, and decimals without fractional digits to whole
    numbers, if these fit.
    """
    kind = array.type
    types = pa.types
    if types.is_decimal(kind) and kind.scale <= 0:
        try:
            return array.cast(pa.int64())
        except pa.ArrowInvalid:
            return array
    if not (types.is_time(kind) or types.is_duration(kind)):
        return array
    narrow = pa.int32() if types.is_time32(kind) else pa.int64()
    counts, per = array.cast(narrow).cast(pa.int64()), PER_SECOND[kind.unit]
    whole = pc.divide(counts, per)
    if pc.all(pc.equal(pc.multiply(whole, per), counts)).as_py() is not False:
        return whole
    return pc.divide(counts.cast(pa.float64(), safe=False), float(per))
