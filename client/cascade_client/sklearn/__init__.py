"""Estimators of scikit-learn and imbalanced-learn that call a Cascade server, or train a table of
their own.

>>> from cascade_client.sklearn import CascadeImputer
>>> imputer = CascadeImputer("127.0.0.1:8470", "credit", random_state=0)
>>> filled = imputer.fit_transform(frame)

`CascadeImputer` is a transformer that fills empty cells; `CascadeSampler` is a sampler that adds
rows of rare classes. Needs scikit-learn, pandas and pyarrow; `CascadeSampler` also
imbalanced-learn; training a table also the extras `distill` and `server`. See docs/sdk.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cascade_client.sklearn.imputer import CascadeImputer
from cascade_client.sklearn.learner import Learner, Learnt, LearntTable, LocalLearner

if TYPE_CHECKING:
    from cascade_client.sklearn.sampler import CascadeSampler

__all__ = [
    "CascadeImputer",
    "CascadeSampler",
    "Learner",
    "Learnt",
    "LearntTable",
    "LocalLearner",
]


def __getattr__(name: str) -> Any:
    # Imported late: imbalanced-learn is only needed for sampling.
    if name == "CascadeSampler":
        from cascade_client.sklearn.sampler import CascadeSampler

        return CascadeSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
