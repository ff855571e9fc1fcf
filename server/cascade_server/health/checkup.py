"""Observes the results of calls, and draws a row itself if no calls have been answered.

It adds no work to a call: twice a second it reads the existing counts. A check takes the same path
as a caller's request, from the request to the row to send, and uses the student, which does not
depend on the teacher. A check does not count as a call.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np
from numpy.typing import NDArray

from cascade_server.cascade.answer import drawn_answer
from cascade_server.cascade.dispatch import Dispatcher
from cascade_server.cascade.repository import Repository
from cascade_server.cascade.request import check
from cascade_server.counts.shared.call_counts import OK, CallCounts
from cascade_server.deadline import Work
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import DeadlinePassed, TooMuch
from cascade_server.health.ability import (
    LOOP_CONFIG,
    Ability,
    AbilityConfig,
    CheckConfig,
    Look,
    Vitals,
    check_is_due,
    loop_look,
    vitals,
)
from cascade_server.terms import Wanted
from cascade_server.wire.synthesis_request import SynthesisRequest

log = logging.getLogger("cascade.server")

# Seconds between looks, and most checks begun at one look: there may be hundreds of tables.
LOOK_SECONDS, CHECKS_A_LOOK = 0.5, 8
# The statuses of calls that the server could not answer for reasons other than load.
FAILED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
STOPPED = "its engine has stopped: requests wait, and none is drawn"


@dataclass
class _Table:
    """The state of one table.

    Attributes:
        ability: whether it can be answered.
        quiet_since: when a call was last answered or a check last ended.
        asked: whether calls have ended since.
        runs: number of runs of its students, at the last look.
        answered, failed: number of checks since the last look.
        why: why it could not be answered last.
        checking: the running check.
    """

    ability: Ability
    quiet_since: float
    asked: bool = False
    runs: int = 0
    answered: int = 0
    failed: int = 0
    why: str = "calls fail"
    checking: asyncio.Task[None] | None = None


class Checkup:
    """Tracks what can be answered, and reports each change.

    Attributes:
        vitals: what can be answered.
        checks: when the server checks itself.

    Args:
        dispatcher, repository: the dispatcher that draws, and its releases.
        calls: the counts of this process.
        told: called with `vitals` whenever they have changed.
        own_networks: as for `ability.vitals`.
        config: the thresholds.
        checks: as the attribute.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        repository: Repository,
        calls: CallCounts,
        told: Callable[[Vitals], None],
        own_networks: bool = True,
        config: AbilityConfig | None = None,
        checks: CheckConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.vitals = Vitals()
        self._dispatcher, self._repository, self._calls = dispatcher, repository, calls
        self._told, self._own_networks, self._clock = told, own_networks, clock
        self._config, self.checks = config or AbilityConfig(), checks or CheckConfig()
        now = clock()
        self._loop = Ability(since=now)
        self._tables = {name: _Table(Ability(since=now), now) for name in repository.tables}
        self._counted = _Counted(calls, list(repository.tables))
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to look periodically, in the running event loop."""
        self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Stop looking, and wait until running checks have ended."""
        underway = self._checks_underway()
        if self._task is not None:
            underway.append(self._task)
        for task in underway:
            task.cancel()
        await asyncio.gather(*underway, return_exceptions=True)

    def _checks_underway(self) -> list[asyncio.Task[None]]:
        return [each.checking for each in self._tables.values() if each.checking is not None]

    async def checked(self) -> None:
        """Wait for the running checks."""
        if underway := self._checks_underway():
            await asyncio.wait(underway)

    async def _keep_looking(self) -> None:
        while True:
            due = self._clock() + LOOK_SECONDS
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self.look(due)
            except Exception:  # a defect here must not look like a failure of the server
                log.exception("the server's health could not be looked at")

    def look(self, due: float) -> None:
        """Observe the calls since the last look, and report changes.

        Args:
            due: when the look was due, on the clock.
        """
        now = self._clock()
        self._loop = self._loop.after(loop_look(due, now), LOOP_CONFIG)
        begun = 0
        for (name, table), (answered, failed, others) in zip(
            self._tables.items(), self._counted.since(), strict=True
        ):
            answered, failed = answered + table.answered, failed + table.failed
            table.answered = table.failed = 0
            if answered:
                table.quiet_since, table.asked = now, False
            else:
                table.asked = table.asked or bool(failed or others)
                if self._has_stopped(name, table):
                    failed, table.why = failed + 1, STOPPED
            self._believe(name, table, Look(now, answered, failed))
            quiet = now - table.quiet_since
            if (
                table.checking is None
                and begun < CHECKS_A_LOOK
                and not answered
                and check_is_due(table.ability, quiet, table.asked, self.checks)
            ):
                begun += 1
                table.checking = asyncio.create_task(self._check(name, table))
        found = vitals(
            {name: each.ability for name, each in self._tables.items()},
            self._loop,
            now,
            self._own_networks,
            self._config,
        )
        if found != self.vitals:
            self.vitals = found
            self._told(found)

    def _believe(self, name: str, table: _Table, look: Look) -> None:
        before, table.ability = table.ability, table.ability.after(look, self._config)
        if before.able and not table.ability.able:
            log.error("%s cannot be answered any more: %s", name, table.why)
        elif not before.able and table.ability.able:
            away = look.now - before.since
            log.warning("%s is answered again, after %.1f s", name, away)

    def _has_stopped(self, name: str, table: _Table) -> bool:
        """Return whether requests wait for a table's student that has been idle since then."""
        found = [
            self._dispatcher.engines[runtime].student.statistics()
            for runtime in self._repository.tables[name].values()
        ]
        before, table.runs = table.runs, sum(each.runs for each in found)
        return table.runs == before and any(each.waiting for each in found)

    async def _check(self, name: str, table: _Table) -> None:
        try:
            # The release that answers requests without a version.
            first = self._repository.find(name)
            others = [each for each in self._repository.tables[name].values() if each is not first]
            for runtime in (first, *others):
                if await self._answers(runtime, table):
                    table.answered += 1
                    return
        finally:
            table.checking = None
            table.quiet_since, table.asked = self._clock(), False

    async def _answers(self, runtime: Runtime, table: _Table) -> bool:
        try:
            async with asyncio.timeout(self.checks.seconds):
                await drawn_row(self._dispatcher, runtime, self.checks.seconds, self._clock)
        except (TooMuch, DeadlinePassed):
            # An overload is not a failure. `_has_stopped` detects an engine that does nothing.
            return False
        except TimeoutError:
            table.failed, table.why = table.failed + 1, f"no row in {self.checks.seconds:g} s"
            return False
        except Exception as exc:  # whatever callers would get is what makes a table unwell
            table.failed, table.why = table.failed + 1, f"{type(exc).__name__}: {exc}"
            return False
        return True


async def drawn_row(
    dispatcher: Dispatcher,
    runtime: Runtime,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Draw a row with the student, without given values, and decode it.

    Raises:
        DeadlinePassed, TooMuch, NotReady: as `Dispatcher.draw`.
    """
    work = Work(clock() + seconds, clock)
    request = check(SynthesisRequest(1, wanted=Wanted.FAST), runtime, work, max_rows=1)
    answer = drawn_answer(request, await dispatcher.draw(request))
    _ = answer.values


class _Counted:
    """Counts the calls of some tables that have ended since the last count."""

    def __init__(self, calls: CallCounts, tables: list[str]) -> None:
        names = [key[0] for key in calls.keys]
        endings = [key[3] for key in calls.keys]
        answered = np.array([ending is OK for ending in endings])
        failed = np.array([ending in FAILED for ending in endings])
        self._calls = calls
        self._masks: list[tuple[NDArray[np.intp], ...]] = []
        for table in tables:
            own = np.array([name == table for name in names])
            masks = (own & answered, own & failed, own & ~answered & ~failed)
            self._masks.append(tuple(np.flatnonzero(mask) for mask in masks))
        self._before = self._count()

    def _count(self) -> list[list[int]]:
        calls = self._calls.durations.sum(axis=1)
        return [[int(calls[places].sum()) for places in masks] for masks in self._masks]

    def since(self) -> list[list[int]]:
        """Return, for each table, the calls answered, failed and otherwise ended since then."""
        before, self._before = self._before, self._count()
        return [
            [count - earlier for count, earlier in zip(*pair, strict=True)]
            for pair in zip(self._before, before, strict=True)
        ]
