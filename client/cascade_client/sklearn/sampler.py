"""`CascadeSampler`: adds synthetic rows of rare classes, as an imbalanced-learn sampler."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cascade_client.errors import InvalidRequest, MissingDependency

try:
    from imblearn.over_sampling.base import BaseOverSampler
    from imblearn.utils import check_target_type
except ImportError as exc:
    raise MissingDependency(
        "imbalanced-learn is not installed; pip install imbalanced-learn"
    ) from exc

from cascade_client.client import Client
from cascade_client.frames.opened import opened
from cascade_client.messages.frames import ARROW, PANDAS, POLARS, kind_of
from cascade_client.messages.wire import Fidelity
from cascade_client.sklearn.inputs import arrow_of, checked, pandas, seed_of, sparse_as
from cascade_client.sklearn.learner import Learner, Learnt, LocalLearner, Served

TARGET = "target"
FRAMES = (PANDAS, POLARS, ARROW)


class CascadeSampler(BaseOverSampler):
    """Adds synthetic rows of rare classes, drawn from p(features | class).

    For a pipeline of imbalanced-learn, as a replacement for SMOTE: rows of a class are drawn from
    the model, not interpolated between two existing ones, and may have categories, dates and empty
    cells like X.

    >>> sampler = CascadeSampler("127.0.0.1:8470", "credit", target="default_payment_next_month")
    >>> X_resampled, y_resampled = sampler.fit_resample(X, y)

    Without `client`, a table is trained on X and y, and served from a separate process while rows
    are drawn: in a pipeline, only on the rows of the current fold.

    Args:
        client: host and port of a server, or a function that makes a client; None: train a table.
        table: of the server; None: the one that has the frame's columns.
        target: the table's column for y; None: y's own name.
        sampling_strategy: as of any over-sampler: "auto" (all classes as many as the most frequent
            has), a ratio, or rows by class.
        fidelity: "fast", the student, or "full", the teacher.
        learner: trains a table; None: `LocalLearner()`.
        random_state: of training and of draws; an int gives equal results each time.

    Attributes:
        sampling_strategy_: number of added rows by class.
        learnt_: the table in use.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseOverSampler._parameter_constraints,
        "client": "no_validation",
        "table": [str, None],
        "target": [str, None],
        "fidelity": [str],
        "learner": "no_validation",
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        client: str | Callable[[], Client] | None = None,
        table: str | None = None,
        *,
        target: str | None = None,
        sampling_strategy: Any = "auto",
        fidelity: Fidelity = "fast",
        learner: Learner | None = None,
        random_state: Any = None,
    ) -> None:
        super().__init__(sampling_strategy=sampling_strategy)
        self.client = client
        self.table = table
        self.target = target
        self.fidelity = fidelity
        self.learner = learner
        self.random_state = random_state

    def fit_resample(self, X: Any, y: Any, **params: Any) -> Any:
        """Return X and y with new rows of the rare classes appended.

        Args:
            X: a frame, or an array of numbers; may have empty cells.
            y: the class of each row.

        Returns:
            Both in their original form: frames and Series of pandas or polars, Tables, arrays. A
            column whose dtype cannot hold the drawn values gets one that can.

        Raises:
            InvalidRequest: y's name cannot be a column of a server's table.
            ValueError: X has the wrong type, or nothing can be learnt from it.
            CascadeError: the server refused values, or does not answer.
        """
        is_polars = _is_polars_series(y)
        of_pandas = pandas().Series(y.to_numpy(), name=y.name) if is_polars else y
        # imbalanced-learn forces what it recognises as a pandas frame into the dtypes of X: a newly
        # drawn category would become empty, and an empty cell does not fit a column of whole
        # numbers.
        given = _Frame(X) if kind_of(X) in FRAMES else X
        more, classes = super().fit_resample(given, of_pandas, **params)
        if kind_of(X) is PANDAS:
            more = sparse_as(more, X)
            if hasattr(classes, "index"):
                classes.index = more.index
        return more, type(y)(y.name, classes.tolist(), y.dtype) if is_polars else classes

    def _check_X_y(self, X: Any, y: Any, accept_sparse: Any = None) -> Any:  # noqa: N802 - theirs
        self._target = self._named(y)
        if isinstance(X, _Frame):
            X = X.frame
        y, binarize_y = check_target_type(y, indicate_one_vs_all=True)
        self._given = checked(self, X, reset=True)
        if len(y) != (rows := _count(self._given.frame)):
            raise ValueError(
                f"Found input variables with inconsistent numbers of samples: [{rows}, {len(y)}]"
            )
        is_frame = kind_of(X) in FRAMES
        return (X if is_frame else np.asarray(self._given.frame)), np.asarray(y), binarize_y

    def _named(self, y: Any) -> str:
        """Return the column for y: in a trained table it may have any name."""
        name = getattr(y, "name", None)
        if self.target or (isinstance(name, str) and name):
            return self.target or str(name)
        if self.client is not None and name not in (None, ""):
            raise InvalidRequest(
                f"y is named {name!r}, a {type(name).__name__}; columns of a table are named by a "
                "str: say which one it is, as target='NAME'"
            )
        return TARGET

    def _fit_resample(self, X: Any, y: Any, **_: Any) -> Any:
        given, wanted = self._given, {k: n for k, n in self.sampling_strategy_.items() if n}
        del self._given
        names = opened(given.frame).operations.names(given.frame)
        target = self._target
        while target in names and self.client is None:
            target += "_"
        frame = _with_column(given.frame, target, y, by_name=self.client is None)
        seed = seed_of(self.random_state)
        if self.client is not None:
            self.learnt_: Learnt = Served(self.client, self.table)
        else:
            learner = LocalLearner() if self.learner is None else self.learner
            self.learnt_ = learner.learn(arrow_of(frame), [target], seed)
        counts = {_label(k) if self.client is None else k: int(n) for k, n in wanted.items()}
        answer = self.learnt_.client().augment(
            frame,
            target,
            counts=counts,
            table=self.learnt_.table,
            seed=seed,
            fidelity=self.fidelity,
        )
        rows = opened(answer.data)
        out = rows.operations.take(rows.frame, np.arange(rows.operations.count(rows.frame)), names)
        classes = np.array(list(wanted), dtype=y.dtype)
        more = np.repeat(classes, list(counts.values()))
        return given.like_given(out), np.concatenate([y, more])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.input_tags.allow_nan = True
        return tags


@dataclass(frozen=True)
class _Frame:
    """Wrapper that keeps imbalanced-learn from recognising a pandas frame."""

    frame: Any


def _is_polars_series(y: Any) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(y, polars.Series)


def _label(value: Any) -> str:
    return str(value)


def _count(frame: Any) -> int:
    given = opened(frame)
    return given.operations.count(given.frame)


def _with_column(frame: Any, name: str, y: Any, *, by_name: bool) -> Any:
    """Return the frame with its classes; `by_name`: as text, so that they are categories."""
    values = [_label(value) for value in y.tolist()] if by_name else y.tolist()
    kind = kind_of(frame)
    if kind is PANDAS:
        return frame.assign(**{name: values})
    if kind is POLARS:
        import polars as pl

        return frame.with_columns(pl.Series(name, values))
    import pyarrow as pa

    return frame.append_column(name, pa.array(values))
