"""Steps AUTO down to a lower tier while a real-time error budget burns too fast."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from cascade_server.objectives.objective import Kind
from cascade_server.objectives.report import Report
from cascade_server.terms import ServiceClass

log = logging.getLogger("cascade.server")

WINDOW = "5m"
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class StepConfig:
    """When to step down to a lower tier, and up again.

    Attributes:
        down_at: burn rate over five minutes above which to step down; that of the gravest alert.
        up_at: burn rate below which to step up; far below `down_at`, or the tiers would alternate.
        least_bad: number of bad events below which a burn rate is not significant: one bad call of
            ten burns a budget of a thousandth a hundred times too fast.
        settle: seconds for a step to show its effect before another step down.
        hold: seconds for a step to show its effect before a step up.
        most: most steps down; with two tiers that compute there is one.
    """

    down_at: float = 14.4
    up_at: float = 1.0
    least_bad: int = 10
    settle: float = 5.0
    hold: float = 30.0
    most: int = 1


@dataclass(frozen=True)
class Steps:
    """The number of tiers that AUTO leaves out, and since when (monotonic seconds)."""

    down: int = 0
    since: float = -math.inf


@dataclass(frozen=True)
class Burn:
    """The burn rate of one objective's budget, and its bad events, over five minutes."""

    rate: float = 0.0
    bad: int = 0


def stepped(steps: Steps, config: StepConfig, now: float, budgets: Sequence[Burn]) -> Steps:
    """Update the steps of a table from its budgets.

    A step down follows if any one budget burns too fast. A budget that burns faster still, but on
    too few events to be significant, does not prevent the step. A step up needs all budgets calm.

    Args:
        steps: the steps so far.
        config: when to step.
        now: monotonic seconds.
        budgets: the burn of the table's budgets.
    """
    rested = now - steps.since
    if too_fast(config, budgets) and steps.down < config.most and rested >= config.settle:
        return Steps(steps.down + 1, now)
    is_calm = all(burn.rate < config.up_at for burn in budgets)
    if is_calm and steps.down > 0 and rested >= config.hold:
        return Steps(steps.down - 1, now)
    return steps


def too_fast(config: StepConfig, budgets: Sequence[Burn]) -> list[Burn]:
    """Return the budgets that require a step down."""
    return [burn for burn in budgets if burn.rate > config.down_at and burn.bad >= config.least_bad]


def burns(report: Report) -> dict[str, list[Burn]]:
    """Return the burn of the budgets of real-time objectives, by table.

    Fidelity budgets are left out: stepping down would burn them faster still.
    """
    found: dict[str, list[Burn]] = {}
    for status in report.statuses:
        objective = status.objective
        if objective.service is not ServiceClass.REALTIME or objective.kind is Kind.FIDELITY:
            continue
        events = status.windows[WINDOW]
        burn = Burn(status.burn_rates[WINDOW], events.total - events.good)
        found.setdefault(objective.table, []).append(burn)
    return found


class Stepping:
    """Keeps the steps of every table, and checks the budgets once a second.

    Args:
        report: returns the current state of the objectives.
        config: when to step.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        report: Callable[[], Report],
        config: StepConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._report, self._config, self._clock = report, config or StepConfig(), clock
        self._steps: dict[str, Steps] = {}
        self._task: asyncio.Task[None] | None = None

    def down(self, table: str) -> int:
        """Return how many of a table's highest tiers AUTO leaves out now."""
        steps = self._steps.get(table)
        return 0 if steps is None else steps.down

    @property
    def steps(self) -> Mapping[str, int]:
        """The number of tiers left out, by table; tables that never stepped are missing."""
        return {table: steps.down for table, steps in self._steps.items()}

    def look(self) -> None:
        """Check the budgets once, and step if they require it."""
        now = self._clock()
        for table, found in burns(self._report()).items():
            before = self._steps.get(table, Steps())
            after = stepped(before, self._config, now, found)
            if after is before:
                continue
            self._steps[table] = after
            is_down = after.down > before.down
            why = too_fast(self._config, found) if is_down else found
            log.warning(
                "%s: AUTO steps %s; its fastest budget burns at %.3g over %s",
                table,
                "down to the student" if is_down else "up again",
                max(burn.rate for burn in why),
                WINDOW,
            )

    def start(self) -> None:
        """Start to check once a second, in a task of the running event loop."""
        self._task = asyncio.create_task(self._keep_looking())

    def stop(self) -> None:
        """Stop checking; tables that have stepped down stay so."""
        if self._task is not None:
            self._task.cancel()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            self.look()
