"""Generated rows, complete or one part of a stream, as frozen values."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from cascade_client.values.provenance import Provenance

T = TypeVar("T")


@dataclass(frozen=True, eq=False, repr=False)
class Synthesis(Generic[T]):
    """Complete rows, in the form in which the request's came.

    Attributes:
        data: the rows; draw d of row i is row ``i * draws + d``. A DataFrame keeps the request's
            index, each label repeated `draws` times.
        provenance: how they were made.
        log_likelihood: float64 [rows of the request], ln p(observed columns) in nats; None if it
            was not requested.
        draws: answers for each row of the request.
    """

    data: T
    provenance: Provenance
    log_likelihood: NDArray[np.float64] | None = None
    draws: int = 1

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.provenance}; data:\n{self.data!r}>"

    def _repr_html_(self) -> str | None:
        """Return the rows as a notebook shows them, and their provenance."""
        shown = getattr(self.data, "_repr_html_", None)
        if shown is None:
            return None
        said = html.escape(f"{type(self).__name__}: {self.provenance}")
        return f"{shown()}<p>{said}</p>"

    def mean_over_draws(self, scores: Any) -> NDArray[np.float64]:
        """Average values computed from `data`, such as a model's scores, over each row's draws.

        The score of a row with late features is the mean over their plausible values.

        >>> answer = client.synthesize("credit", frame, draws=32)
        >>> risk = answer.mean_over_draws(model.predict_proba(answer.data)[:, 1])

        Args:
            scores: numbers, [rows x draws, ...], one or more for each row of `data`.

        Returns:
            float64 [rows of the request, ...].

        Raises:
            ValueError: the number of scores does not match.
        """
        values = np.asarray(scores, np.float64)
        if values.ndim == 0 or len(values) % self.draws:
            raise ValueError(
                f"scores have shape {values.shape}; one for each row of data is needed, "
                f"{self.draws} for each row of the request"
            )
        grouped = values.reshape(-1, self.draws, *values.shape[1:])
        means: NDArray[np.float64] = grouped.mean(axis=1)
        return means

    def by_draw(self) -> T:
        """Return `data` as a DataFrame of pandas with an additional index level "draw".

        ``answer.by_draw().groupby(level=0).mean(numeric_only=True)`` averages over the draws.

        Raises:
            TypeError: `data` is no DataFrame of pandas.
        """
        frame: Any = self.data
        if type(frame).__module__.partition(".")[0] != "pandas":
            raise TypeError(f"data is a {type(frame).__name__}; a DataFrame of pandas is allowed")
        draw = np.tile(np.arange(self.draws), len(frame) // self.draws)
        names = [*frame.index.names, "draw"]
        levels = [frame.index.get_level_values(at) for at in range(frame.index.nlevels)]
        import pandas as pd

        out: T = frame.set_axis(pd.MultiIndex.from_arrays([*levels, draw], names=names))
        return out


@dataclass(frozen=True, eq=False)
class Chunk(Generic[T]):
    """A part of a stream of generated rows.

    Attributes:
        data: the rows of this part.
        done: rows streamed so far, including these.
        total: total rows of the stream.
        provenance: how they were made.
    """

    data: T
    done: int
    total: int
    provenance: Provenance
