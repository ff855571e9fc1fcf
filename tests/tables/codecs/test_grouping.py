"""Categories that are alike in the rest of their rows share a token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from cascade_tables import Codec, ColumnData, ColumnOverride, Frame, infer_schema
from cascade_tables.codecs.columns.grouping import MOST_COMPARED, Grouping
from numpy.typing import NDArray

SHOPS, ROWS = 60, 6_000


def table(seed: int = 0, nulls: float = 0.0) -> tuple[Frame, NDArray[np.intp]]:
    """Shops of three kinds, which amounts, a category and a flag tell apart, and each shop's."""
    rng = np.random.default_rng(seed)
    shop = rng.integers(0, SHOPS, ROWS)
    kind = np.arange(SHOPS) % 3
    amount = rng.normal(10.0 * kind[shop], 5.0)
    country = np.array(["IT", "NO", "JP"], object)[
        np.where(rng.random(ROWS) < 0.7, kind[shop], rng.integers(0, 3, ROWS))
    ]
    none = np.zeros(ROWS, bool)
    frame = Frame(
        {
            "shop": ColumnData(np.array([f"shop {s}" for s in shop], object), none),
            "noise": ColumnData(rng.normal(size=ROWS), none),
            "amount": ColumnData(amount, rng.random(ROWS) < nulls),
            "country": ColumnData(country, rng.random(ROWS) < nulls),
            "abroad": ColumnData(rng.random(ROWS) < kind[shop] / 2.5, none),
        }
    )
    return frame, kind


def groups(frame: Frame, most: int) -> NDArray[np.intp]:
    names = tuple(f"shop {shop}" for shop in range(SHOPS))
    return Grouping(infer_schema(frame), frame).groups("shop", names, most)


@pytest.mark.parametrize("nulls", [0.0, 0.3])
def test_those_of_one_kind_are_together(nulls: float) -> None:
    frame, kind = table(nulls=nulls)
    found = groups(frame, 8)
    for group in range(8):
        assert len(set(kind[found == group])) == 1


def test_each_is_in_one_of_so_many_and_the_same_ones_again() -> None:
    frame, _ = table()
    found = groups(frame, 8)
    assert set(found) == set(range(8))
    np.testing.assert_array_equal(found, groups(frame, 8))


def test_the_first_is_the_most_average_and_then_the_largest() -> None:
    frame, kind = table()
    found = groups(frame, 8)
    # Of the kind in the middle.
    assert set(kind[found == 0]) == {1}
    shops = np.array([int(name.split()[1]) for name in frame["shop"].values])
    rows = np.bincount(found[shops])[1:]
    assert (np.diff(rows) <= 0).all()


def test_those_that_do_not_differ_are_one_group() -> None:
    """What is left of differences when chance has had its share is nothing."""
    frame, _ = table()
    alone = Frame({name: frame[name] for name in ("shop",)})
    assert set(groups(alone, 8)) == {0}


def test_there_are_no_more_than_categories() -> None:
    frame, _ = table()
    assert len(set(groups(frame, 500))) <= SHOPS


class Watched(Frame):
    """Counts how often each column is looked at."""

    def __init__(self, columns: Mapping[str, ColumnData]) -> None:
        super().__init__(columns)
        self.looks: Counter[str] = Counter()

    def __getitem__(self, name: str) -> ColumnData:
        self.looks[name] += 1
        return super().__getitem__(name)


def test_work_does_not_grow_with_the_square_of_the_columns() -> None:
    """Of a table of many columns of text each is looked at a few times, not once for each other."""
    rng = np.random.default_rng(1)
    none = np.zeros(1_500, bool)
    names = [f"c{at}" for at in range(2 * MOST_COMPARED)]
    texts = np.array([f"v{at}" for at in range(200)], object)
    frame = Watched({n: ColumnData(texts[rng.integers(0, 200, 1_500)], none) for n in names})
    schema = infer_schema(frame)
    assert all(column.other is not None for column in schema.columns)
    frame.looks.clear()
    Codec.fit(schema, frame)
    assert max(frame.looks.values()) < 10


def test_those_of_one_kind_are_together_in_a_table_of_many_columns() -> None:
    """Many of whose columns say it."""
    frame, kind = table()
    more = {
        f"{name} {at}": frame[name] for name in ("amount", "country") for at in range(MOST_COMPARED)
    }
    found = groups(Frame({**frame.columns, **more}), 8)
    np.testing.assert_array_equal(found, groups(Frame({**frame.columns, **more}), 8))
    for group in range(8):
        assert len(set(kind[found == group])) == 1


def test_a_network_is_told_the_group() -> None:
    """Given a category that folds, its token says of which kind it is; a draw stays inside."""
    frame, kind = table()
    codec = Codec.fit(infer_schema(frame, {"shop": ColumnOverride(max_categories=32)}), frame)
    first = len(codec.schema["shop"].categories)
    tokens = codec.encode(frame)
    drawn = codec.decode(tokens, np.random.default_rng(0))["shop"].values
    folds = tokens[:, 0] >= first
    assert 0.5 < folds.mean() < 0.8
    before, after = (
        kind[[int(name.split()[1]) for name in values]] for values in (frame["shop"].values, drawn)
    )
    assert (before == after).mean() > 0.99
    assert (frame["shop"].values != drawn)[folds].mean() > 0.4
