"""`CascadeImputer`: empty cells filled with what is plausible beside the rest of their row."""

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

    For pipelines whose features are missing at random moments. Where a median stands for any row, a
    draw is of this very row; the mean of several is what it says on average. A model that is to
    score what is missing well averages its scores over draws instead: see `Client.complete`.

    >>> imputer = CascadeImputer("127.0.0.1:8470", "credit", draws=8, random_state=0)
    >>> imputer.fit_transform(frame)

    Without `client` a table is learnt from the rows of `fit`, and served by a process of its own
    which ends with the estimator; this needs no server, and minutes. What was learnt goes along
    where the estimator is pickled or copied to. NaN, None, NaT, NA and null are empty. Frames come
    back as frames, arrays as arrays.

    Args:
        client: host and port of a server, or a function that makes a client; None: learn a table.
        table: of the server; None: the one that has the frame's columns.
        draws: 1: one draw for each empty cell; more: their mean, of categories the most frequent.
        fidelity: "fast", the student, or "full", the teacher.
        learner: what learns a table; None: `LocalLearner()`.
        random_state: of learning and of draws; an int gives equal results each time.

    Attributes:
        learnt_: the table that is asked.
        typical_: a value of each column, for cells for which nothing could be drawn: the table has
            no such column, since it was constant, or it was an identifier.
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
        """Learn a table of X, or look at what the server's has.

        Args:
            X: a frame, or an array of numbers; may have empty cells.
            y: is not looked at.

        Raises:
            ValueError: X is no such thing, or nothing can be learnt of it.
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
        """X with its empty cells filled.

        Args:
            X: as `fit` had it.

        Raises:
            ValueError: it is not.
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
        """The table's columns, for arrays, which have no names."""
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
