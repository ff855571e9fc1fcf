"""Which columns may add up: found in single rows by sorting, not by trying all of them.

The columns of one row are C numbers. That one of them is the sum of two others is seen by looking
C²/2 sums up among the C numbers; that three add up to a fourth, or two to two, by looking them up
among C² differences. Which columns were hit in several rows are candidates. Where numbers repeat so
much that chance hits would drown the rest, several rows are hashed into one: a sum that holds in
each holds for the hashes, and chance has no part in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
# Columns of a wider table that one row's search takes, other ones each time.
MOST_TOGETHER = 320
# Single rows that are searched for sums of three columns, and for sums of four in a table of 300
# columns; of fewer columns more rows take as long.
ROWS_OF_THREE = 512
ROWS_OF_FOUR, MOST_ROWS_OF_FOUR, COLUMNS = 160, 1024, 300
# Groups of rows that are searched for what always holds, and the rows of each.
GROUPS, GROUP_ROWS = 24, 8
# More hits of one group than this are chance: the next ones are of more rows.
MOST_HITS = 30_000
# Groups in which a candidate is hit, of the rows above.
FEWEST_HITS = {"three": 3, "one_three": 2, "two_two": 2}
FEWEST_ALWAYS = 2
# Candidates that are looked at closely, those that are hit most.
MOST_CANDIDATES = 3000

Signed = tuple[tuple[int, int], ...]


@dataclass
class Hits:
    """How often each candidate was hit, counted by one number that stands for its columns."""

    columns: int
    parts: dict[str, list[Ints]] = field(
        default_factory=lambda: {"three": [], "one_three": [], "two_two": []}
    )

    def add(self, shape: str, *places: Ints) -> None:
        code = np.zeros(len(places[0]), np.int64)
        for place in places:
            code = code * self.columns + place
        self.parts[shape].append(code)

    def most(self, shape: str, fewest: int) -> list[tuple[int, ...]]:
        """Columns that were hit at least so often, most often first."""
        if not self.parts[shape]:
            return []
        codes, counts = np.unique(np.concatenate(self.parts[shape]), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MOST_CANDIDATES]
        codes = codes[order[counts[order] >= fewest]]
        width = 3 if shape == "three" else 4
        places = [(codes // self.columns**power) % self.columns for power in range(width)]
        return [tuple(int(p) for p in row) for row in np.stack(places[::-1], axis=1)]


def pairs(values: Ints, usable: Mask, fewest: int) -> list[Signed]:
    """Columns that are equal in at least so many rows: all pairs are tried, O(n·C²).

    Args:
        values: int64 [n, C].
        usable: bool [n, C], where a value is there and says something.
        fewest: rows.
    """
    found: list[tuple[int, int, int]] = []
    for first in range(values.shape[1] - 1):
        rest = slice(first + 1, None)
        same = values[:, first : first + 1] == values[:, rest]
        same &= usable[:, first : first + 1] & usable[:, rest]
        counts = same.sum(axis=0)
        found += [
            (int(counts[begin]), first, first + 1 + int(begin))
            for begin in np.flatnonzero(counts >= fewest)
        ]
    found.sort(key=lambda each: -each[0])
    return [((a, 1), (b, -1)) for _, a, b in found[:MOST_CANDIDATES]]


def sums(
    values: Ints, known: Mask, informative: Mask, rng: np.random.Generator, lone: bool = True
) -> list[Signed]:
    """Three and four columns of which a signed sum is zero in some rows, most often hit first.

    Takes O(C² log C) for each of some 700 rows (1,600 in narrow tables), and at most
    `MOST_TOGETHER` columns at once.

    Args:
        values: int64 [n, C].
        known: bool [n, C], where there is a value.
        informative: bool [n, C], where it is one that few other rows have. Of three columns one may
            have a value that many rows have; of four none.
        rng: chooses rows.
        lone: whether one column may be the sum of others; false for dates, of which only
            differences mean something: two against two.

    Returns:
        Columns with their signs, each once.
    """
    found: list[Signed] = []
    always, mixed = Hits(values.shape[1]), Hits(values.shape[1])
    for group in _alike(known, rng):
        _search(_hashed(values, group, rng), _all(known, group), always, lone, True, rng)
    rows = rng.permutation(len(values))
    # Rows are hashed together once chance hits are too many, separately for three and four.
    of_four = round(ROWS_OF_FOUR * (COLUMNS / max(values.shape[1], 1)) ** 2)
    of_four = min(max(of_four, ROWS_OF_FOUR), MOST_ROWS_OF_FOUR)
    for shape, most in (("three", ROWS_OF_THREE), ("four", of_four)):
        together, begin = 1, 0
        if shape == "three" and not lone:
            continue
        for _ in range(most):
            group = rows[begin : begin + together]
            begin += together
            if len(group) < together or together > GROUP_ROWS:
                break
            usable = _all(informative, group)
            hashes = _hashed(values, group, rng)
            if not _search(hashes, usable, mixed, lone, shape == "four", rng, shape == "three"):
                together += 1
            if shape == "three" and together == 1:
                narrow = _all(known & ~informative, group)
                _search_narrow(hashes, usable, narrow, mixed)
    for shape in ("three", "one_three", "two_two"):
        columns = always.most(shape, FEWEST_ALWAYS)
        columns += mixed.most(shape, FEWEST_HITS[shape])
        found += [_signed(shape, each) for each in dict.fromkeys(columns)]
    return found


def _signed(shape: str, columns: tuple[int, ...]) -> Signed:
    plus = 2 if shape == "two_two" else 1
    return tuple((column, 1 if begin < plus else -1) for begin, column in enumerate(columns))


def _alike(known: Mask, rng: np.random.Generator) -> Iterator[Ints]:
    """Groups of rows that lack the same columns, as far as there are such."""
    n = len(known)
    if n < GROUP_ROWS:
        return
    weights = rng.integers(1, 2**62, known.shape[1])
    order = np.lexsort((rng.random(n), known @ weights))
    for _ in range(GROUPS):
        begin = int(rng.integers(0, n - GROUP_ROWS + 1))
        yield order[begin : begin + GROUP_ROWS]


def _all(mask: Mask, group: Ints) -> Mask:
    """bool [C], the columns for which a mask [n, C] holds in each row of a group."""
    return np.asarray(mask[group].all(axis=0))


def _hashed(values: Ints, group: Ints, rng: np.random.Generator) -> Ints:
    """One number a column: of one row its values, of several a random sum of them, modulo 2^64."""
    if len(group) == 1:
        return values[group[0]]
    weights = rng.integers(1, 2**62, len(group)) * 2 + 1
    hashed: Ints = (values[group] * weights[:, None]).sum(axis=0)
    return hashed


def _search(
    hashes: Ints,
    usable: Mask,
    hits: Hits,
    lone: bool,
    four: bool,
    rng: np.random.Generator,
    three: bool = True,
) -> bool:
    """Add what a group's columns add up to; false, and nothing added, where chance hits are too
    many. Of columns that are equal the first stands for all: that they are equal is known."""
    columns = np.flatnonzero(usable & (hashes != 0))
    if len(columns) > MOST_TOGETHER:
        columns = np.sort(rng.choice(columns, MOST_TOGETHER, replace=False))
    numbers, first = np.unique(hashes[columns], return_index=True)
    columns = columns[first]
    if len(columns) < 3:
        return True
    low, high = _below(len(columns))
    added = numbers[low] + numbers[high]
    found: list[tuple[str, tuple[Ints, ...]]] = []
    if lone and three:
        asked, hit = _joined(added, numbers)
        if asked is None or hit is None:
            return False
        found.append(("three", (columns[hit], columns[low[asked]], columns[high[asked]])))
    if four:
        if lone:
            # One is the sum of three: one less the last of them is the sum of the others.
            ahead = np.concatenate([high, low])
            behind = np.concatenate([low, high])
            apart = numbers[ahead] - numbers[behind]
            order = np.argsort(apart, kind="stable")
            asked, hit = _joined(added, apart[order])
            if asked is None or hit is None:
                return False
            whole, third = ahead[order[hit]], behind[order[hit]]
            a, b = low[asked], high[asked]
            # Each sum of three is met with each of the three as the last: kept once.
            keep = (third > a) & (third > b) & (whole != a) & (whole != b)
            parts = (whole[keep], a[keep], b[keep], third[keep])
            found.append(("one_three", tuple(columns[p] for p in parts)))
        order = np.argsort(added, kind="stable")
        asked, hit = _joined(added, added[order])
        if asked is None or hit is None:
            return False
        other = order[hit]
        keep = asked < other
        a, b, c, d = (p[keep] for p in (low[asked], high[asked], low[other], high[other]))
        apart_all = (a != c) & (a != d) & (b != c) & (b != d)
        parts = tuple(p[apart_all] for p in (a, b, c, d))
        found.append(("two_two", tuple(columns[p] for p in parts)))
    for shape, places in found:
        hits.add(shape, *_sorted(shape, places))
    return True


def _search_narrow(hashes: Ints, wide: Mask, narrow: Mask, hits: Hits) -> None:
    """Add the columns that are another one and a number that many rows have, such as a deductible:
    those are looked up with the wide ones only, among which chance hits are few."""
    ends = np.flatnonzero(wide)
    numbers, first = np.unique(hashes[ends], return_index=True)
    ends = ends[first]
    steps = np.flatnonzero(narrow & (hashes != 0))[:MOST_TOGETHER]
    if len(ends) < 2 or len(ends) > MOST_TOGETHER or len(steps) == 0:
        return
    asked, hit = _joined((numbers[:, None] + hashes[steps]).ravel(), numbers)
    if asked is not None and hit is not None:
        begin, step = np.divmod(asked, len(steps))
        hits.add("three", *_sorted("three", (ends[hit], ends[begin], steps[step])))


def _sorted(shape: str, places: tuple[Ints, ...]) -> tuple[Ints, ...]:
    """Columns in one order, so that what is the same is counted together."""
    if shape == "three":
        whole, *parts = places
        return (whole, *np.sort(np.stack(parts), axis=0))
    if shape == "one_three":
        whole, *parts = places
        return (whole, *np.sort(np.stack(parts), axis=0))
    left, right = np.sort(np.stack(places[:2]), axis=0), np.sort(np.stack(places[2:]), axis=0)
    swap = left[0] > right[0]
    first, second = np.where(swap, right, left), np.where(swap, left, right)
    return (*first, *second)


def _joined(asked: Ints, among: Ints) -> tuple[Ints | None, Ints | None]:
    """Every pair of places at which two arrays are equal, the second being sorted; None where they
    are more than chance should make."""
    begin = np.searchsorted(among, asked, "left")
    count = np.searchsorted(among, asked, "right") - begin
    total = int(count.sum())
    # What is looked up among itself finds itself.
    if total > MOST_HITS + len(asked):
        return None, None
    where = np.repeat(np.arange(len(asked)), count)
    inside = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
    return where, begin[where] + inside


@lru_cache(maxsize=8)
def _below(columns: int) -> tuple[Ints, Ints]:
    """All pairs of places, the lower one first."""
    low, high = np.triu_indices(columns, 1)
    return low, high
