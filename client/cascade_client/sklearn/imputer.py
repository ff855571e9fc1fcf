"""`CascadeImputer`: fills empty cells with values that are plausible given the rest of
their row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from cascade_client.client import Client
from cascade_client.messages.wire import Fidelity
from cascade_client.sklearn.inputs import arrow_of, checked, seed_of, typical, with_typical
from cascade_client.sklearn.learner import Learner, Learnt, LocalLearner, Served


class CascadeImputer(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Fills empty cells with draws from p(empty | the rest of the row).

    For pipelines whose features are sometimes missing. A median is the same for every row; a draw
    is specific to the row, and the mean of several draws is its expectation. To score rows with
    missing features well, average a model's scores over draws instead: see `Client.complete`.

    >>> imputer = CascadeImputer("127.0.0.1:8470", "credit", draws=8, random_state=0)
    >>> imputer.fit_transform(frame)

    Without `client`, `fit` trains a table on its rows and serves it from a separate process, which
    ends with the estimator; this needs no server, but minutes. The trained table is part of a
    pickled or copied estimator. NaN, None, NaT, NA and null are empty. Frames come back as frames,
    arrays as arrays.

    Args:
        client: host and port of a server, or a function that makes a client; None: train a table.
        table: of the server; None: the one that has the frame's columns.
        draws: 1: one draw for each empty cell; more: their mean, for categories the most frequent.
        fidelity: "fast", the student, or "full", the teacher.
        learner: trains a table; None: `LocalLearner()`.
        random_state: of training and of draws; an int gives equal results each time.

    Attributes:
        learnt_: the table in use.
        typical_: a default value per column, for cells that cannot be drawn because the table lacks
            the column: it was constant, or an identifier.
        n_features_in_, feature_names_in_: as of any transformer.
    """

    def __init__(
        self,
        client: str | Callable[[], Client] | None = None,
        table: str | None = None,
        *,
        draws: int = 1,
        fidelity: Fidelity = "fast",
        learner: Learner | None = None,
        random_state: Any = None,
    ) -> None:
        self.client = client
        self.table = table
        self.draws = draws
        self.fidelity = fidelity
        self.learner = learner
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a table on X, or look up the server's table.

        Args:
            X: a frame, or an array of numbers; may have empty cells.
            y: ignored.

        Raises:
            ValueError: X has the wrong type, or nothing can be learnt from it.
            CascadeError: the server does not answer, or has no such table.
        """
        if self.client is not None:
            self.learnt_: Learnt = Served(self.client, self.table)
            given = checked(self, X, reset=True, names=self._names())
        else:
            given = checked(self, X, reset=True)
        self.typical_ = typical(given.frame)
        if self.client is None:
            learner = LocalLearner() if self.learner is None else self.learner
            rows = arrow_of(given.frame)
            self.learnt_ = learner.learn(rows, (), seed_of(self.random_state))
        return self

    def transform(self, X: Any) -> Any:
        """Return X with its empty cells filled.

        Args:
            X: in the form given to `fit`.

        Raises:
            ValueError: its form differs.
            CascadeError: the server refused values, or does not answer.
        """
        check_is_fitted(self)
        given = checked(self, X, reset=False, names=self._names())
        answer = self.learnt_.client().complete(
            given.frame,
            self.draws,
            table=self.learnt_.table,
            fidelity=self.fidelity,
            seed=seed_of(self.random_state),
        )
        filled = answer.data if self.draws == 1 else answer.mean()
        return given.like_given(with_typical(filled, self.typical_))

    def _names(self) -> list[str] | None:
        """Return the table's columns, for arrays, which have no names."""
        if self.client is None or self.table is None:
            return None
        described = self.learnt_.client().describe(self.table)
        return [column.name for column in described.columns]

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "typical_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
