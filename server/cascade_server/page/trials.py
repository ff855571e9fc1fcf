"""How a version on trial stands beside the stable one, for people: the supervisor decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade_server.counts.shared.books import Books
from cascade_server.counts.shared.trial import outcomes
from cascade_server.objectives.canary import CanaryConfig, Outcome, allowed_ratio, answered

# Calls of a canary before anything is said of it.
FEW = 20


class TrialsSeen:
    """Trials from when they were first seen here on.

    Args:
        books: where they are counted.
    """

    def __init__(self, books: Books) -> None:
        self._books = books
        self._begun: dict[tuple[str, int], NDArray[np.int64]] = {}

    def look(self, canaries: Mapping[str, int]) -> dict[str, dict[str, Any]]:
        """How each trial stands, by table.

        Args:
            canaries: the version that is on trial, by table.
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
    """Whether a canary is worse, by the objective in which it is worst.

    Args:
        found: of each objective of its table.
        config, allowed: what bad events it may have.
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
