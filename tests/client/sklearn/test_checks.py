"""scikit-learn's and imbalanced-learn's own checks of estimators."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn")
from cascade_client.sklearn import CascadeImputer
from cascade_client.testing import FakeLearner
from sklearn.utils.estimator_checks import parametrize_with_checks

IMPUTERS = [
    CascadeImputer(learner=FakeLearner(), random_state=0),
    CascadeImputer(learner=FakeLearner(), draws=3, random_state=0),
]


@parametrize_with_checks(IMPUTERS)
def test_imputer(estimator: Any, check: Any) -> None:
    check(estimator)
