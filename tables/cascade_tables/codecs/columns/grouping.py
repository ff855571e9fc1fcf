"""Groups of categories with similar rows.

A network cannot have a token for each of 100,000 merchants, but it can have some for merchants that
are expensive, that are abroad, or that sell at night. A category's profile is the mean of each
feature over its rows, shrunk towards the mean of all rows as far as chance explains the difference
(empirical Bayes: Efron and Morris, "Stein's estimation rule and its competitors", JASA 1973). All
profiles are then split in two along the direction of largest variance, and the groups with the
largest remaining variance are split again and again (Boley, "Principal direction divisive
partitioning", 1998).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_tables.categories import as_text
from cascade_tables.codecs.columns.column_codec import numbers
from cascade_tables.frame import ColumnData, Frame
from cascade_tables.schema import Column, Kind, Schema

Real = NDArray[np.float64]

# Most rows used for profiles, spread evenly, and most features: those by which categories differ
# most.
MOST_ROWS, MOST_FEATURES = 500_000, 32
# Most other columns that are compared, chosen at random if there are more, and rows of such tables.
MOST_COMPARED, MOST_ROWS_OF_MANY, SEED = 48, 100_000, 0x6A0
# Most categories of another column that become features, most frequent first.
MOST_VALUES = 8
# Variance below which profiles are equal, for features of variance 1: rounding error.
NO_SPREAD = 1e-9


class Grouping:
    """Finds groups in columns of one table.

    In a table of many columns, each is compared with the same sample of columns, whose features are
    computed once; otherwise the work would grow with the square of the number of columns.

    Args:
        schema, frame: the table.
    """

    def __init__(self, schema: Schema, frame: Frame) -> None:
        self._frame = frame
        columns = schema.columns
        rows, apart = MOST_ROWS, np.arange(len(columns))
        self._many = len(columns) > MOST_COMPARED + 1
        if self._many:
            apart = np.random.default_rng(SEED).choice(apart, MOST_COMPARED + 1, replace=False)
            rows = MOST_ROWS_OF_MANY
        self._compared = [columns[index] for index in sorted(apart.tolist())]
        self._rows = np.unique(np.linspace(0, len(frame) - 1, rows).astype(np.intp))
        self._features: dict[str, list[Real]] = {}

    def groups(self, name: str, categories: Sequence[str], most: int) -> NDArray[np.intp]:
        """Return the group of each of a column's categories.

        Args:
            name: of the column.
            categories: the categories to group, k of them, at least one.
            most: most groups; there are fewer if categories do not differ.

        Returns:
            [k], from 0: group 0 is the one most similar to all categories together, the best guess
            for an unseen category. The others are sorted by their number of rows, most first.
        """
        if most == 1 or len(categories) == 1:
            return np.zeros(len(categories), np.intp)
        data = self._frame[name]
        place = {category: index for index, category in enumerate(categories)}
        codes = np.array(
            [place.get(text, -1) for text in as_text(data.values[self._rows])], np.intp
        )
        codes[data.null[self._rows]] = -1
        here = codes >= 0
        codes = codes[here]
        # A category may have no sampled row: it counts as one that is like all.
        counts = np.bincount(codes, minlength=len(categories)).astype(np.float64)
        found: list[tuple[float, Real]] = []
        for other in self._compared:
            if other.name != name:
                for feature in self._of(other, here):
                    found.append(_profile(feature.astype(np.float64), codes, counts))
                    found.sort(key=lambda each: -each[0])
                    del found[MOST_FEATURES:]
        profiles = np.column_stack([np.zeros(len(categories)), *(means for _, means in found)])
        weights = np.maximum(counts, 1)
        return _in_order(profiles, weights, _partition(profiles, weights, most))

    def _of(self, column: Column, here: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
        """Yield the features of a column in some of the rows."""
        if not self._many:
            return _features(column, self._frame[column.name], self._rows[here])
        if column.name not in self._features:
            every = _features(column, self._frame[column.name], self._rows)
            self._features[column.name] = list(every)
        return (feature[here] for feature in self._features[column.name])


def _features(column: Column, data: ColumnData, rows: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
    """Yield the features of a column, bool or float64 [n] each; 0 where NULL."""
    here = ColumnData(data.values[rows], data.null[rows], data.dtype)
    if here.null.any():
        yield here.null
    if column.kind is Kind.CATEGORICAL:
        text = np.array(as_text(here.values), object)
        text[here.null] = None
        for value, _ in Counter(text[~here.null].tolist()).most_common(MOST_VALUES):
            yield text == value
    elif column.kind is Kind.BOOLEAN:
        yield ~here.null & here.values
    else:
        # Use ranks, so that there are no outliers.
        values, ordered = numbers(column, here, present_only=False), np.sort(numbers(column, here))
        if len(ordered):
            ranks = np.searchsorted(ordered, values) + np.searchsorted(ordered, values, "right")
            yield np.where(here.null, 0.0, ranks / (2 * len(ordered)) - 0.5)


def _profile(feature: Real, codes: NDArray[np.intp], counts: Real) -> tuple[float, Real]:
    """Measure how much categories differ in a feature, and the mean of each.

    Args:
        feature: [n].
        codes: [n], each row's category.
        counts: [k], rows of each category.

    Returns:
        The variance between categories, for a feature whose variance is 1; and [k] means, where 0
        is that of all rows.
    """
    deviation = float(feature.std()) if len(feature) else 0.0
    if deviation == 0:
        return 0.0, np.zeros(len(counts))
    standard = (feature - feature.mean()) / deviation
    means = np.bincount(codes, standard, minlength=len(counts)) / np.maximum(counts, 1)
    rows, categories = len(codes), int(np.count_nonzero(counts))
    within = float(((standard - means[codes]) ** 2).sum()) / max(1, rows - categories)
    # The spread of means that chance does not explain.
    spread = max(0.0, float((counts * means**2).sum()) - (categories - 1) * within)
    between = spread / max(1.0, rows - float((counts**2).sum()) / rows)
    if between == 0:
        return 0.0, np.zeros(len(counts))
    return between, means * counts * between / (counts * between + within)


def _partition(profiles: Real, weights: Real, most: int) -> NDArray[np.intp]:
    """Return the group of each profile [k, P]; the group of largest variance is split in two,
    repeatedly.
    """
    out = np.zeros(len(profiles), np.intp)
    axes = {0: _axis(profiles, weights)}
    for new in range(1, most):
        widest = max(axes, key=lambda group: axes[group][0])
        spread, axis = axes[widest]
        if spread <= NO_SPREAD:
            break
        members = np.flatnonzero(out == widest)
        along = profiles[members] @ axis
        order = np.argsort(along, kind="stable")
        out[members[order[_best_cut(along[order], weights[members][order]) :]]] = new
        for group in (widest, new):
            here = out == group
            axes[group] = _axis(profiles[here], weights[here])
    return out


def _best_cut(along: Real, weights: Real) -> int:
    """Return how many of the increasing numbers [n] belong to the first part of the split with the
    least variance.
    """
    mass, moment = np.cumsum(weights)[:-1], np.cumsum(weights * along)[:-1]
    total, first = weights.sum(), weights @ along
    return int((moment**2 / mass + (first - moment) ** 2 / (total - mass)).argmax()) + 1


def _axis(profiles: Real, weights: Real) -> tuple[float, Real]:
    """Return the variance along the main direction of profiles, and that direction."""
    if len(profiles) < 2:
        return 0.0, np.zeros(profiles.shape[1])
    centre = weights @ profiles / weights.sum()
    around = (profiles - centre) * np.sqrt(weights)[:, None]
    values, vectors = np.linalg.eigh(around.T @ around)
    axis = vectors[:, -1]
    # The sign is arbitrary, so fix it.
    return float(values[-1]), axis * np.sign(axis[np.abs(axis).argmax()])


def _in_order(profiles: Real, weights: Real, groups: NDArray[np.intp]) -> NDArray[np.intp]:
    """Renumber groups; see `Grouping.groups`."""
    rows = np.bincount(groups, weights)
    centres = np.column_stack([np.bincount(groups, weights * column) for column in profiles.T])
    far = ((centres / rows[:, None]) ** 2).sum(axis=1)
    rows[int(far.argmin())] = np.inf
    rank = np.empty(len(rows), np.intp)
    rank[np.argsort(-rows, kind="stable")] = np.arange(len(rows))
    return rank[groups]
