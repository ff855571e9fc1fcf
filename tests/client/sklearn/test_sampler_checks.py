"""imbalanced-learn's own checks of samplers."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("imblearn", reason="imbalanced-learn is not installed")
from cascade_client.sklearn import CascadeSampler
from cascade_client.testing import FakeLearner
from imblearn.utils.estimator_checks import parametrize_with_checks

SAMPLERS = [CascadeSampler(learner=FakeLearner(), random_state=0)]
# As it is, it has a generator, which pytest no longer takes.
CHECKS = parametrize_with_checks(SAMPLERS)
NAMES, CASES = CHECKS.args


@pytest.mark.parametrize(NAMES, list(CASES), **CHECKS.kwargs)
def test_sampler(estimator: Any, check: Any) -> None:
    check(estimator)
