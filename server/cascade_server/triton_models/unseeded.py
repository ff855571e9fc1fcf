"""Makes noise for requests without a seed.

Nobody can verify which number was used where, so only the numbers that the student reads are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from cascade_server.engines.runtime import Mask, Noise, Runtime

# Stands for numbers that are not read; in (0, 1), so that its logarithms are finite.
UNREAD = 0.5
# Share of a batch's slots from which on all numbers are made: selecting would take longer.
MOST = 0.5


class Unseeded:
    """Uniform numbers, different at every call.

    Args:
        runtime: provides the student. A slot has one number for each of its tokens and one more, in
            the order of the slots.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._rng = np.random.default_rng()
        self._ends = np.cumsum([0, *(size + 1 for size in runtime.layout.sizes)]).tolist()
        self._width = runtime.student_noise
        assert self._ends[-1] == self._width

    def student(self, observed: Mask) -> Noise:
        """Float32 [n, student_noise] for n rows.

        Args:
            observed: bool [n, T]; for slots that all rows have, the numbers are `UNREAD`.
        """
        rows, slots = observed.shape
        missing = np.flatnonzero(~observed.all(axis=0)).tolist()
        if len(missing) > MOST * slots:
            return self._rng.random((rows, self._width), np.float32)
        noise = np.full((rows, self._width), UNREAD, np.float32)
        for begin, end in runs(missing):
            part = slice(self._ends[begin], self._ends[end])
            noise[:, part] = self._rng.random((rows, part.stop - part.start), np.float32)
        return noise

    def inside(self, columns: int, rows: int) -> NDArray[np.float64]:
        """Places inside bins, [columns, rows]."""
        return self._rng.random((columns, rows))


def runs(places: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Increasing places as ranges [begin, end) of neighbours."""
    begin = end = -1
    for place in places:
        if place != end:
            if end > 0:
                yield begin, end
            begin = place
        end = place + 1
    if end > 0:
        yield begin, end
