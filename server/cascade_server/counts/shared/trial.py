"""Events of the two versions of a trial, counted in memory that all processes see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_server.memory import Memory
from cascade_server.objectives.burn import Events
from cascade_server.objectives.canary import Outcome
from cascade_server.objectives.objective import Objective

# Counts per objective: calls, for fidelity too, and good ones.
PAIR = 2
ARMS = 2


class Trial:
    """One process's counts; they only grow, and a trial counts from its start.

    Attributes:
        counts: int64 [arms, 2 x objectives], for the stable version and the canary. As in
            `Ledger.tally`, each total is followed by the good ones.
    """

    def __init__(self, objectives: int, memory: Memory) -> None:
        width = PAIR * objectives
        self.counts = memory.integers(ARMS * width).reshape(ARMS, width)
        # Adding to an element of a memoryview takes a third of NumPy's time.
        self.arms = [self.counts[arm].data for arm in range(ARMS)]


def outcomes(
    objectives: Sequence[Objective], table: str, counts: NDArray[np.int64]
) -> list[Outcome]:
    """Return the outcomes of a table's objectives.

    Args:
        objectives: objectives of all tables, in the order of their counters.
        table: the table whose version is on trial.
        counts: as `Trial.counts`, since the trial began.
    """
    out = []
    for number, objective in enumerate(objectives):
        if objective.table == table:
            pairs = counts[:, PAIR * number : PAIR * (number + 1)].tolist()
            stable, canary = (Events(good, total) for total, good in pairs)
            out.append(Outcome(objective, stable, canary))
    return out
