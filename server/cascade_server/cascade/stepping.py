"""When AUTO steps down to a lower tier: while a real-time error budget burns too fast."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cascade_server.objectives.objective import Kind
from cascade_server.objectives.report import Report
from cascade_server.terms import ServiceClass

log = logging.getLogger("cascade.server")

WINDOW = "5m"
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class StepConfig:
    """Of stepping down and up again.

    Attributes:
        down_at: burn rate over five minutes that is too fast; that of the gravest page.
        up_at: burn rate below which there is nothing to save; far below `down_at`, or the tiers
            would go up and down.
        least_bad: bad events before a burn rate means anything: of ten calls one bad one burns a
            budget of a thousandth a hundred times too fast.
        settle, hold: seconds a step is given to show its effect before another one down, or up.
        most: steps; of two tiers that compute there is one.
    """

    down_at: float = 14.4
    up_at: float = 1.0
    least_bad: int = 10
    settle: float = 5.0
    hold: float = 30.0
    most: int = 1


@dataclass(frozen=True)
class Steps:
    """How many tiers AUTO leaves out, and since when (monotonic seconds)."""

    down: int = 0
    since: float = -math.inf


@dataclass(frozen=True)
class Burn:
    """Of the objective that burns fastest: its rate, and its bad events, over five minutes."""

    rate: float = 0.0
    bad: int = 0


def stepped(steps: Steps, config: StepConfig, now: float, burn: Burn) -> Steps:
    """What follows from a look at the budgets."""
    rested = now - steps.since
    too_fast = burn.rate > config.down_at and burn.bad >= config.least_bad
    if too_fast and steps.down < config.most and rested >= config.settle:
        return Steps(steps.down + 1, now)
    if burn.rate < config.up_at and steps.down > 0 and rested >= config.hold:
        return Steps(steps.down - 1, now)
    return steps


def burns(report: Report) -> dict[str, Burn]:
    """By table, the fastest burn of what real-time callers were promised.

    Not of fidelity: stepping down would burn it faster still.
    """
    found: dict[str, Burn] = {}
    for status in report.statuses:
        objective = status.objective
        if objective.service is not ServiceClass.REALTIME or objective.kind is Kind.FIDELITY:
            continue
        events = status.windows[WINDOW]
        burn = Burn(status.burn_rates[WINDOW], events.total - events.good)
        before = found.get(objective.table, Burn())
        found[objective.table] = max(before, burn, key=lambda each: each.rate)
    return found


class Stepping:
    """Keeps the steps of every table.

    Args:
        report: how the objectives are doing.
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
        """How many of the highest tiers AUTO leaves out now."""
        steps = self._steps.get(table)
        return 0 if steps is None else steps.down

    @property
    def steps(self) -> Mapping[str, int]:
        """By table, of those that have ever stepped."""
        return {table: steps.down for table, steps in self._steps.items()}

    def look(self) -> None:
        """Step where the budgets say so."""
        now = self._clock()
        for table, burn in burns(self._report()).items():
            before = self._steps.get(table, Steps())
            after = stepped(before, self._config, now, burn)
            if after is before:
                continue
            self._steps[table] = after
            way = "down to the student" if after.down > before.down else "up again"
            log.warning(
                "%s: AUTO steps %s; its fastest budget burns at %.3g over %s",
                table,
                way,
                burn.rate,
                WINDOW,
            )

    def start(self) -> None:
        """Begin to look, once a second, at how fast budgets burn."""
        self._task = asyncio.create_task(self._keep_looking())

    def stop(self) -> None:
        """Look no more; whatever was stepped down stays so."""
        if self._task is not None:
            self._task.cancel()

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_LOOKS)
            self.look()
