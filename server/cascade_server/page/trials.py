"""Shows people how a version on trial compares with the stable one; the supervisor decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.trial import outcomes
from cascade_server.objectives.canary import CanaryConfig, Outcome, allowed_ratio, answered

# Least calls of a canary before its state is shown.
FEW = 20


class TrialsSeen:
    """Trials, each since it was first seen here.

    Args:
        books: provide the counts.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._begun: dict[tuple[str, int], NDArray[np.int64]] = {}

    def look(self, canaries: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """Return the state of each trial, by table.

        Args:
            canaries: the version on trial, by table.
        """
        counts = self._books.trial()
        live = set(canaries.items())
        self._begun = {key: begun for key, begun in self._begun.items() if key in live}
        out = {}
        for table, version in canaries.items():
            begun = self._begun.setdefault((table, version), counts)
            out[table] = standing(outcomes(self._books.objectives, table, counts - begun))
        return out


def standing(
    found: list[Outcome],
    config: CanaryConfig | None = None,
    allowed: Callable[[Outcome, CanaryConfig], float] = allowed_ratio,
) -> dict[str, Any]:
    """Return whether a canary is worse, by the objective in which it is worst.

    Args:
        found: one outcome for each objective of its table.
        config, allowed: how many bad events it may have.
    """
    config = config or CanaryConfig()
    out: dict[str, Any] = {"calls": answered(found), "is_worse": False, "objective": None}
    excess = 0.0
    for each in found:
        if each.canary.total < FEW:
            continue
        over = each.canary.error_ratio - allowed(each, config)
        if over > excess:
            excess = over
            out |= {
                "is_worse": True,
                "objective": each.objective.name,
                "canary_bad_share": round(each.canary.error_ratio, 6),
                "stable_bad_share": round(each.stable.error_ratio, 6),
            }
    return out
