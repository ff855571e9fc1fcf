"""What fills late features in the place of Cascade: medians, neighbours, regressions."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.learning.utility.scoring import Matrix

NEIGHBOURS = 5
# Rows of which chained regressions learn; in half of them the late features are hidden.
ITERATIVE_ROWS, ITERATIVE_SEED = 8_000, 20_095


class Imputer(Protocol):
    """Fills the late features of rows."""

    def fill(self, rows: Matrix) -> Matrix:
        """Rows of which the late features are NaN, [rows, features], with something there."""


class MedianMode:
    """The median of a number, the most frequent of a category; the same for every row."""

    def __init__(self, train: Matrix, types: list[str], late: list[int]) -> None:
        self._late = late
        # The most frequent category has the first code.
        self._values = [0.0 if types[at] == "c" else np.nanmedian(train[:, at]) for at in late]

    def fill(self, rows: Matrix) -> Matrix:
        out = rows.copy()
        out[:, self._late] = self._values
        return out


class Wide:
    """Rows as scikit-learn's imputers take them: numbers scaled, a column a category, of which NULL
    is one; and back."""

    def __init__(self, train: Matrix, types: list[str]) -> None:
        self._scale: list[tuple[float, float]] = []
        self.places: list[slice] = []
        begin = 0
        for at, kind in enumerate(types):
            known = train[:, at][~np.isnan(train[:, at])]
            width = int(known.max()) + 2 if kind == "c" else 1
            self._scale.append((float(known.mean()), float(known.std()) or 1.0))
            self.places.append(slice(begin, begin + width))
            begin += width
        self._types, self._width = types, begin

    def out(self, rows: Matrix, late: list[int]) -> NDArray[np.float64]:
        """[rows, columns]; all of a late feature's are NaN."""
        wide = np.zeros((len(rows), self._width))
        for at, place in enumerate(self.places):
            values = rows[:, at]
            if at in late:
                wide[:, place] = np.nan
            elif self._types[at] == "c":
                codes = np.where(np.isnan(values), place.stop - place.start - 1, values)
                # Half of a squared distance each, so that another category is one away.
                wide[np.arange(len(rows)), place.start + codes.astype(int)] = np.sqrt(0.5)
            else:
                mean, deviation = self._scale[at]
                wide[:, place.start] = (np.nan_to_num(values, nan=mean) - mean) / deviation
        return wide

    def back(self, wide: NDArray[Any], rows: Matrix, late: list[int]) -> Matrix:
        """`rows` with the late features that `wide` has."""
        out = rows.copy()
        for at in late:
            place = self.places[at]
            if self._types[at] == "c":
                codes = wide[:, place].argmax(axis=1)
                is_null = codes == place.stop - place.start - 1
                out[:, at] = np.where(is_null, np.nan, codes)
            else:
                mean, deviation = self._scale[at]
                out[:, at] = wide[:, place.start] * deviation + mean
        return out


class Neighbours:
    """scikit-learn's KNNImputer: the mean of the five nearest rows, a category by their vote."""

    def __init__(self, train: Matrix, types: list[str], late: list[int]) -> None:
        from sklearn.impute import KNNImputer

        self._wide, self._late = Wide(train, types), late
        self._imputer = KNNImputer(n_neighbors=NEIGHBOURS).fit(self._wide.out(train, []))

    def fill(self, rows: Matrix) -> Matrix:
        filled = self._imputer.transform(self._wide.out(rows, self._late))
        return self._wide.back(filled, rows, self._late)


class Iterative:
    """scikit-learn's IterativeImputer: a Bayesian ridge regression of each late column on all."""

    def __init__(self, train: Matrix, types: list[str], late: list[int]) -> None:
        from sklearn.experimental import enable_iterative_imputer  # noqa: F401
        from sklearn.impute import IterativeImputer

        self._wide, self._late = Wide(train, types), late
        rng = np.random.default_rng(ITERATIVE_SEED)
        known = self._wide.out(train[rng.permutation(len(train))[:ITERATIVE_ROWS]], [])
        hidden = np.concatenate([np.arange(known.shape[1])[self._wide.places[at]] for at in late])
        known[np.ix_(rng.random(len(known)) < 0.5, hidden)] = np.nan
        # The columns that are never late need no regression.
        self._imputer = IterativeImputer(skip_complete=True, random_state=0).fit(known)

    def fill(self, rows: Matrix) -> Matrix:
        filled = self._imputer.transform(self._wide.out(rows, self._late))
        return self._wide.back(filled, rows, self._late)


IMPUTERS: dict[str, type[MedianMode] | type[Neighbours] | type[Iterative]] = {
    "median_mode": MedianMode,
    "knn": Neighbours,
    "iterative": Iterative,
}
