"""The checks of scikit-learn and imbalanced-learn, against a real server.

What they fit is of any width and of names that they choose; so one table is learnt which has
columns of all of these, and stands for what each would have learnt.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

pytest.importorskip("torch")
pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
import imblearn.utils.estimator_checks as imblearn_checks
import sklearn.utils.estimator_checks as sklearn_checks
from cascade_client.sklearn import CascadeImputer, CascadeSampler, LearntTable, LocalLearner
from cascade_client.sklearn.learner import Served

from tests.made_once import made_once

NAMES = ("x", "col", "mycol", "feature", "")
MOST_COLUMNS = 12
# Compare a frame with an array of the same numbers.
NAMED_ALIKE = ("check_samplers_pandas", "check_samplers_pandas_sparse")
CLASSES = ("0", "1", "2", "3", "a", "b", "c")


class Already:
    """Learns nothing: a server has the table."""

    target = ""

    def __repr__(self) -> str:
        """Of which tests are named, alike in all processes that run them."""
        return "Already()"

    def learn(self, rows: Any, classes: Sequence[str], seed: int) -> Served:
        return Served(self.target, "learnt")


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    columns = {
        f"{name}{place}": rng.normal(scale=3, size=70)
        for name in NAMES
        for place in range(MOST_COLUMNS)
    }
    for name in ("target", "class", "y"):
        columns[name] = np.array(CLASSES * 10)
    return pa.Table.from_pandas(pd.DataFrame(columns))


def learn() -> bytes:
    """The table as a pickle has it."""
    learner = LocalLearner(steps=1, teacher_rows=64, threads=1)
    return pickle.dumps(learner.learn(table(), ["target", "class", "y"], 0))


@pytest.fixture(scope="module", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    learnt = pickle.loads(made_once(tmp_path_factory, "estimator_checks", learn))
    assert isinstance(learnt, LearntTable)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Already, "target", learnt.client().target)
        yield
    learnt.close()


@sklearn_checks.parametrize_with_checks([CascadeImputer(learner=Already(), random_state=0)])
def test_imputer(estimator: Any, check: Any) -> None:
    check(estimator)


# As they are, they have a generator, which pytest no longer takes.
CHECKS = imblearn_checks.parametrize_with_checks(
    [CascadeSampler(learner=Already(), random_state=0)]
)


@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_sampler(estimator: Any, check: Any) -> None:
    if check.func.__name__ in NAMED_ALIKE:
        pytest.skip("columns of other names are other columns here; of FakeLearner's they are not")
    check(estimator)
