"""The student's noise of a request: each row's and draw's own numbers, made only if they are read.

A row has a uniform number for each token of each slot, some thousand in all, and reads those of its
missing columns. A counter-based generator (`philox`) can start anywhere. The compiled one, if it
was built, starts at no cost and makes only what is read. NumPy's takes as long to start as to make
a thousand numbers, so a single row saves nothing by skipping. Draws of one row miss the same
columns: their numbers of a column lie side by side, 32 or 8 draws together, and one start serves
them all.

The position of the numbers of a row's draw depends only on the row, the draw, the number of draws
per row and the table. So a seed gives the same rows whichever requests share its batch or frame.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from cascade_tables import TokenLayout
from numpy.typing import NDArray

from cascade_server.engines.native.library import Argument, Library
from cascade_server.engines.noise import NoiseSource, recycle, stream

Mask = NDArray[np.bool_]
Noise = NDArray[np.float32]

# How many draws of a row have their numbers together, column by column. Of the remaining draws,
# fewer than the smallest block, each has its own numbers together.
BLOCKS = (32, 8)
# Up to this many unused numbers, making them is cheaper than starting again behind them.
GAP = 1024
# Stands for numbers that are not read; in (0, 1), so that its logarithms are finite.
UNREAD = 0.5
# Bytes per number.
SINGLE_BYTES = 4


class _Layout(ctypes.Structure):
    """The struct `NoiseLayout` of student_noise.h, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("columns", "slots", "width")),
        *((name, ctypes.c_void_p) for name in ("first_slot", "ends")),
    ]


class StudentNoise:
    """Where the numbers of a release's student lie in the stream of a seed.

    Attributes:
        width: uniform numbers per row.

    Args:
        layout: layout of the release's rows. A slot has one number for each of its tokens and one
            more, in the order of the slots; the numbers of a column's slots lie together.
        library: makes the numbers. If it is None, or says why there is none, NumPy makes them.
    """

    def __init__(self, layout: TokenLayout, library: Library | str | None = None) -> None:
        ends = np.cumsum([0, *(size + 1 for size in layout.sizes)]).tolist()
        self.width: int = ends[-1]
        # In the order of the slots, which may differ from the order of the schema.
        self._first_slot = np.sort(layout.first_slot)
        # Where each column's numbers begin within a draw's, and where the last column's end.
        self._ends: list[int] = [*(ends[slot] for slot in self._first_slot), self.width]
        self._slots = len(layout.sizes)
        self._compiled: Any = None
        if isinstance(library, Library):
            kept = np.array(self._first_slot, np.int32), np.array(self._ends, np.int64)
            addresses = (int(array.ctypes.data) for array in kept)
            numbers = len(self._first_slot), self._slots, self.width
            self._layout, self._kept = _Layout(*numbers, *addresses), kept
            self._address, self._compiled = ctypes.addressof(self._layout), library.noise

    def fill(
        self, out: Noise, seed: int, first_row: int, draws: int, observed: Mask, begin: int = 0
    ) -> None:
        """Write the noise of some draws, one after another.

        Args:
            out: float32 [n, width], filled with numbers of [0, 1). Entries of known columns may
                keep their old values.
            seed: the request's seed.
            first_row: rows of the caller before those of the request.
            draws: draws of each row.
            observed: bool [rows, T], which slots of the request's rows are known.
            begin: draws of the request before these.
        """
        if (
            self._compiled is not None
            and out.flags.carray
            and observed.flags.carray
            and out.itemsize == SINGLE_BYTES
            and out.shape[1] == self.width
            and observed.shape[1] == self._slots
            and 0 <= begin <= len(observed) * draws - len(out)
        ):
            self._compiled(
                *(self._address, seed, first_row, draws, begin, len(out)),
                *(Argument.from_buffer(observed), Argument.from_buffer(out)),
            )
            return
        least = BLOCKS[-1]
        if draws < least:
            rng = stream(seed, start=(first_row * draws + begin) * self.width)
            rng.random(dtype=np.float32, out=out)
            recycle(rng)
            return
        filled = 0
        while filled < len(out):
            row, draw = divmod(begin + filled, draws)
            missing = np.flatnonzero(~observed[row, self._first_slot]).tolist()
            for start, size in blocks(draws):
                some = range(max(draw, start), min(start + size, draw + len(out) - filled))
                if len(some) <= 0:
                    continue
                base = ((first_row + row) * draws + start) * self.width
                inside = range(some.start - start, some.stop - start)
                part = out[filled : filled + len(some)]
                if size < least:
                    rng = stream(seed, start=base + inside.start * self.width)
                    rng.random(dtype=np.float32, out=part)
                    recycle(rng)
                else:
                    self._fill_block(part, seed, base, size, inside, missing)
                filled += len(some)
                draw = some.stop

    def _fill_block(
        self,
        out: Noise,
        seed: int,
        base: int,
        size: int,
        draws: range,
        missing: Sequence[int],
    ) -> None:
        """Write the numbers of some draws of a block that begins at `base` and has `size` draws."""
        ends, count = self._ends, len(draws)
        whole = count == size
        for first, last in self._together(missing, size if whole else 0):
            start = base + size * ends[first] + draws.start * (ends[first + 1] - ends[first])
            numbers = (ends[last + 1] - ends[first]) * count
            rng = stream(seed, start=start)
            made = rng.random(numbers, np.float32)
            recycle(rng)
            for column in range(first, last + 1):
                here = slice(
                    (ends[column] - ends[first]) * count, (ends[column + 1] - ends[first]) * count
                )
                out[:, ends[column] : ends[column + 1]] = made[here].reshape(count, -1)

    def _together(self, missing: Sequence[int], draws: int) -> Iterator[tuple[int, int]]:
        """Return missing columns as (first, last) ranges to make at once.

        If `draws` is 0, each column is a range.
        """
        first = last = -1
        for column in missing:
            if first < 0:
                first = column
            elif not draws or (self._ends[column] - self._ends[last + 1]) * draws > GAP:
                yield first, last
                first = column
            last = column
        if first >= 0:
            yield first, last

    def source(self, seed: int, first_row: int, draws: int, observed: Mask) -> NoiseSource:
        """Return the noise of a request, to be made in parts; arguments are those of `fill`."""
        begin = 0

        def noise(shape: tuple[int, int]) -> Noise:
            nonlocal begin
            out = np.full(shape, UNREAD, np.float32)
            self.fill(out, seed, first_row, draws, observed, begin)
            begin += len(out)
            return out

        return noise


def blocks(draws: int) -> Iterator[tuple[int, int]]:
    """Split a row's draws into blocks: the first draw of each, and its number of draws."""
    start = 0
    for size in BLOCKS:
        while draws - start >= size:
            yield start, size
            start += size
    if start < draws:
        yield start, draws - start
