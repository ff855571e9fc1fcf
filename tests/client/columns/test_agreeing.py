"""Whatever a column has and whatever was drawn for it: one type in the end, and nothing lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from cascade_client.columns import arrow_columns, lists, pandas_columns, polars_columns
from cascade_client.columns.sorts import text

NOON = datetime(2026, 1, 2, 12)
GIVEN: dict[str, list[Any]] = {
    "whole": [1, 2],
    "real": [1.5, 2.0],
    "large": [2**60 + 1, 3],
    "flags": [True, False],
    "text": ["Rome", "a"],
    "numbers as text": ["1", "2"],
    "moments": [NOON, NOON],
    "moments with a zone": [NOON.replace(tzinfo=UTC)] * 2,
    "dates": [date(2026, 1, 2), date(2026, 1, 3)],
    "decimals": [Decimal("0.1"), Decimal("2.25")],
    "durations": [timedelta(1), timedelta(2)],
    "times": [time(1), time(2)],
    "bytes": [b"a", b"b"],
}
DRAWN: dict[str, list[Any]] = {
    "whole": [40, 300],
    "real": [0.5, 70.25],
    "flag": [True, False],
    "text": ["Oslo", "1"],
    "number": ["1", "7"],
    "moment": [datetime(2026, 7, 2, 12, 0, 0, 500), datetime(2026, 7, 2)],
}


def pandas_objects(values: list[Any]) -> Any:
    return pd.Series(values, dtype=object)


def pandas_dtypes(values: list[Any]) -> Any:
    return pd.Series(values)


def pandas_extensions(values: list[Any]) -> Any:
    return pd.Series(values).convert_dtypes()


def pandas_of_arrow(values: list[Any]) -> Any:
    return pd.Series(pd.array(values, dtype=pd.ArrowDtype(pa.array(values).type)))


def pandas_categories(values: list[Any]) -> Any:
    return pd.Series(pd.Categorical(values))


def arrow(values: list[Any]) -> Any:
    return pa.chunked_array([values])


def arrow_dictionary(values: list[Any]) -> Any:
    return pa.chunked_array([pa.array(values).dictionary_encode()])


def polars(values: list[Any]) -> Any:
    return pl.Series("x", values)


def as_list(values: list[Any]) -> Any:
    return values


Make = Callable[[list[Any]], Any]
KINDS: list[tuple[Make, Make, Any]] = [
    (as_list, as_list, lists),
    *(
        (make, pandas_dtypes, pandas_columns)
        for make in (
            pandas_objects,
            pandas_dtypes,
            pandas_extensions,
            pandas_of_arrow,
            pandas_categories,
        )
    ),
    (arrow, arrow, arrow_columns),
    (arrow_dictionary, arrow, arrow_columns),
    (polars, polars, polars_columns),
]


def values_of(column: Any) -> list[Any]:
    if isinstance(column, pa.ChunkedArray):
        return list(column.to_pylist())
    return list(column) if isinstance(column, list) else list(column.to_list())


def same(one: Any, other: Any) -> bool:
    """Whether a value is what it was, in whatever form: a date its midnight, text what says it."""
    if isinstance(one, timedelta):
        return bool(pd.Timedelta(one) == pd.Timedelta(other))
    if isinstance(other, datetime) and type(one) is date:
        return other == datetime(one.year, one.month, one.day)
    if isinstance(other, datetime) and isinstance(one, datetime):
        return bool(pd.Timestamp(one).tz_localize(None) == pd.Timestamp(other).tz_localize(None))
    if isinstance(one, Decimal) != isinstance(other, Decimal) and not isinstance(one, str):
        return Decimal(str(+one)) == Decimal(str(other))
    moment = datetime(1970, 1, 1)
    if isinstance(one, datetime) and isinstance(other, (int, float)):
        return (one - moment) // timedelta(microseconds=1) == other
    return bool(one == other) or text(other).startswith(text(one)) or str(one) == other


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize(
    ("make", "make_drawn", "kind"), KINDS, ids=[make.__name__ for make, _, _ in KINDS]
)
def test_one_type_and_nothing_lost(
    make: Make, make_drawn: Make, kind: Any, given: str, drawn: str
) -> None:
    column, cells = kind.agreed(make(GIVEN[given]), make_drawn(DRAWN[drawn]))
    one, other = values_of(column), values_of(cells)
    if kind is not lists:
        assert getattr(column, "dtype", None) == getattr(cells, "dtype", None)
        assert getattr(column, "type", None) == getattr(cells, "type", None)
    types = {type(value) for value in (*one, *other)}
    assert len(types) == 1 or types == {int, float}
    for mine, theirs in zip([*one, *other], [*GIVEN[given], *DRAWN[drawn]], strict=True):
        assert same(theirs, mine), (theirs, mine)


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (pandas_objects, pandas_columns),
        (lambda values: pd.Series(values, dtype="float64"), pandas_columns),
        (lambda values: pd.Series(values, dtype="datetime64[ns, UTC]"), pandas_columns),
        (lambda values: pd.Series(values, dtype="Int8"), pandas_columns),
        (lambda values: pd.Series(values, dtype="string"), pandas_columns),
        (lambda values: pd.Series(values, dtype="category"), pandas_columns),
        (lambda values: pa.chunked_array([pa.nulls(2)]), arrow_columns),
        (lambda values: pa.chunked_array([pa.nulls(2, pa.timestamp("s", "UTC"))]), arrow_columns),
        (lambda values: pl.Series("x", values, dtype=pl.Null), polars_columns),
        (lambda values: pl.Series("x", values, dtype=pl.Datetime("ms")), polars_columns),
    ],
)
def test_a_column_without_a_value_takes_what_comes(make: Make, kind: Any, drawn: str) -> None:
    module = {pandas_columns: pandas_dtypes, arrow_columns: arrow, polars_columns: polars}
    out = kind.put(make([None, None]), [1, 0], module[kind](DRAWN[drawn]))
    assert [str(value) for value in values_of(out)] in (
        [str(value) for value in reversed(DRAWN[drawn])],
        [str(float(value)) for value in reversed(DRAWN[drawn]) if isinstance(value, int)],
        [f"{value}+00:00" for value in reversed(DRAWN[drawn])],
    )


def test_what_the_caller_has_mixed_stays_mixed() -> None:
    column, cells = pandas_columns.agreed(pandas_objects([1, "a"]), pandas_dtypes(["Rome"]))
    assert [*column, *cells] == [1, "a", "Rome"]
