"""Conversion of estimators' inputs, arrays and frames, to frames with named columns, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from cascade_client.errors import MissingDependency
from cascade_client.frames.opened import Opened, opened
from cascade_client.frames.operations import Source
from cascade_client.messages.frames import ARROW, PANDAS, POLARS, kind_of
from cascade_client.values.date_times import from_microseconds, to_microseconds

MOST_SEED = 2**31 - 1


@dataclass(frozen=True)
class Input:
    """An estimator's X, as a frame.

    Attributes:
        frame: its column names are strings.
        columns: pandas' own names, if they are no strings; else None.
        dtype: of the original array; None: it was a frame.
    """

    frame: Any
    columns: Any = None
    dtype: Any = None

    def like_given(self, frame: Any) -> Any:
        """Convert rows to an array or a frame, as X was."""
        if self.dtype is not None:
            return frame.to_numpy(dtype=self.dtype)
        return frame if self.columns is None else frame.set_axis(self.columns, axis=1)


def checked(estimator: Any, X: Any, *, reset: bool, names: Sequence[str] | None = None) -> Input:
    """Validate X as scikit-learn does: frames of any columns, or arrays of numbers; both with
    holes.

    Args:
        estimator: whose `n_features_in_` and `feature_names_in_` X must match.
        X: a DataFrame of pandas or polars, a pyarrow Table, or array-like numbers.
        reset: whether to set these attributes from this X.
        names: of an array's columns; None: x0, x1 and so on.

    Raises:
        ValueError: it has the wrong type, no rows or no columns, or differs from the one of `fit`.
    """
    if kind_of(X) in (PANDAS, POLARS, ARROW):
        operations = opened(X).operations
        rows, columns = operations.count(X), operations.names(X)
        if twice := [name for name, times in Counter(columns).items() if times > 1]:
            raise ValueError(f"X has two columns {twice[0]!r}; one of each name is allowed")
        validate_data(estimator, X=X, reset=reset, skip_check_array=True)
        if not columns or (reset and not rows):
            raise ValueError(
                f"Found array with {rows} sample(s) and {len(columns)} feature(s) "
                f"(shape=({rows}, {len(columns)})) while a minimum of 1 is required."
            )
        if kind_of(X) is PANDAS:
            X = _dense(X)
        if all(isinstance(name, str) for name in columns):
            return Input(X)
        own = [f"x{place}" for place in range(len(columns))]
        return Input(X.set_axis(own, axis=1), columns=X.columns)
    array = validate_data(
        estimator,
        X=X,
        reset=reset,
        dtype=[np.float64, np.float32],
        ensure_all_finite="allow-nan",
    )
    width = array.shape[1]
    if names is not None and len(names) != width:
        raise ValueError(
            f"X has {width} columns without names, and the table has {len(names)}: "
            f"{', '.join(names)}; give a DataFrame, whose columns are named"
        )
    own = list(names or (f"x{place}" for place in range(width)))
    return Input(pandas().DataFrame(array, columns=own), dtype=array.dtype)


def _dense(frame: Any) -> Any:
    """Return a frame without sparse columns, which no file of rows supports."""
    sparse = [
        place for place, dtype in enumerate(frame.dtypes) if isinstance(dtype, pandas().SparseDtype)
    ]
    if sparse:
        frame = frame.copy(deep=False)
        for place in sparse:
            frame.isetitem(place, frame.iloc[:, place].sparse.to_dense())
    return frame


def sparse_as(frame: Any, like: Any) -> Any:
    """Make columns sparse like those of another frame, if these can hold the values."""
    for place, dtype in enumerate(like.dtypes):
        if isinstance(dtype, pandas().SparseDtype):
            with suppress(TypeError, ValueError):  # an empty cell among whole numbers
                frame.isetitem(place, frame.iloc[:, place].astype(dtype))
    return frame


def pandas() -> Any:
    """Import pandas.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import pandas as pd
    except ImportError as exc:
        raise MissingDependency("pandas is not installed; pip install pandas") from exc
    return pd


def arrow_of(frame: Any) -> Any:
    """Convert a frame to a pyarrow Table, for training.

    Raises:
        ValueError: a column mixes types, which no file of rows supports.
        MissingDependency: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as exc:
        raise MissingDependency("pyarrow is not installed; pip install pyarrow") from exc
    try:
        if kind_of(frame) is PANDAS:
            return pa.Table.from_pandas(frame, preserve_index=False)
        return pa.table(frame)
    except pa.ArrowException as exc:
        raise ValueError(f"X has a column that mixes types: {exc}") from exc


def seed_of(random_state: Any) -> int:
    """Derive a seed from scikit-learn's random state."""
    return int(check_random_state(random_state).randint(MOST_SEED))


def typical(frame: Any) -> dict[str, Any]:
    """Return a default value for each column: the mean of floats, else the most frequent value.

    Raises:
        ValueError: a column has no values.
    """
    given = opened(frame)
    out: dict[str, Any] = {}
    for name in given.operations.names(given.frame):
        values = given.operations.cells(given.frame, name).observed
        if not values:
            raise ValueError(f"column {name!r} has no value to learn from; leave it out")
        if isinstance(values[0], float):
            out[name] = float(np.mean(values))
        else:
            ((value, _),) = Counter(values).most_common(1)  # the first seen of several
            # Of date-times one of UTC without a zone, which NumPy has not.
            out[name] = from_microseconds(to_microseconds(value)) if _is_time(value) else value
    return out


def _is_time(value: Any) -> bool:
    return isinstance(value, datetime)


def with_typical(frame: Any, values: dict[str, Any]) -> Any:
    """Fill a frame's empty cells with the default values of their columns."""
    given = opened(frame)
    return given.closed(_filled(given, values))


def _filled(given: Opened, values: dict[str, Any]) -> Any:
    operations, out = given.operations, given.frame
    for name in operations.names(out):
        places = np.flatnonzero(operations.empty(out, name))
        if not len(places):
            continue
        value = values[name]
        dtype = object if isinstance(value, str) else "datetime64[us]" if _is_time(value) else None
        column = np.full(len(places), value, dtype)
        like = operations.take(out, places, [name])
        cells = operations.made([(name, column, np.zeros(len(places), np.bool_))], like)
        out = operations.filled(out, cells, {name: Source(places, np.arange(len(places)))})
    return out
