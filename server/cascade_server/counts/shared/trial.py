"""Events of the two versions of a trial, counted in memory that all processes see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade_server.memory import Memory
from cascade_server.objectives.burn import Events
from cascade_server.objectives.canary import Outcome
from cascade_server.objectives.objective import Objective

# What is counted of an objective: calls, of fidelity too, and good ones.
PAIR = 2
ARMS = 2


class Trial:
    """One process's counts; they only grow, and a trial is what was counted since it began.

    Attributes:
        counts: int64 [arms, 2 x objectives], the stable version's and the canary's: as those of
            `Ledger.tally`, each total followed by the good ones.
    """

    def __init__(self, objectives: int, memory: Memory) -> None:
        width = PAIR * objectives
        self.counts = memory.integers(ARMS * width).reshape(ARMS, width)
        # Adding to an element of a memoryview takes a third of what NumPy takes.
        self.arms = [self.counts[arm].data for arm in range(ARMS)]


def outcomes(
    objectives: Sequence[Objective], table: str, counts: NDArray[np.int64]
) -> list[Outcome]:
    """Of the objectives of a table.

    Args:
        objectives: of all tables, in the order of their counters.
        table: the one whose version is on trial.
        counts: as `Trial.counts`, since the trial began.
    """
    out = []
    for number, objective in enumerate(objectives):
        if objective.table == table:
            pairs = counts[:, PAIR * number : PAIR * (number + 1)].tolist()
            stable, canary = (Events(good, total) for total, good in pairs)
            out.append(Outcome(objective, stable, canary))
    return out
