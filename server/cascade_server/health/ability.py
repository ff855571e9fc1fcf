"""Decides whether calls can still be answered, from the results of recent ones; pure functions.

A server that refuses calls because there are too many is healthy: refusals for load and deadlines
that were too near do not count. What counts are answered calls, and failures that are the server's
own: an unreachable network, a stopped engine, an unforeseen error. One answer proves ability.
Failures prove inability only after they have lasted a while without any answer. The event loop is
judged in the same way: a look at it that ran on time is an answer, a late one a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class AbilityConfig:
    """How long an observation must last before it counts.

    Attributes:
        unable_seconds: seconds of failures without an answer after which the state is unable.
        failures: least number of failures in that time.
        sure_seconds: seconds of answers without a break after which the state is able again.
        hopeless_seconds: seconds of being unable after which waiting does not help.
    """

    unable_seconds: float = 3.0
    failures: int = 3
    sure_seconds: float = 1.0
    hopeless_seconds: float = 30.0


class Look(NamedTuple):
    """The observations since the last look.

    Attributes:
        now: monotonic seconds.
        answered: number of answered calls and successful checks.
        failed: number of calls and checks that failed through the server's own fault.
    """

    now: float
    answered: int
    failed: int


class Ability(NamedTuple):
    """Whether calls can be answered.

    Attributes:
        able: whether calls can be answered.
        since: when that began, monotonic seconds.
        doubted: since when evidence against `able` has been seen without a break: failures if
            able, answers if not; None: there is none.
        failures: number of failures in that time.
    """

    able: bool = True
    since: float = 0.0
    doubted: float | None = None
    failures: int = 0

    def after(self, look: Look, config: AbilityConfig) -> Ability:
        """Return the state after one more look."""
        if look.answered:
            if self.able:
                return self if self.doubted is None else Ability(True, self.since)
            began = look.now if self.doubted is None else self.doubted
            if look.now - began >= config.sure_seconds:
                return Ability(True, look.now)
            return self._replace(doubted=began)
        if not look.failed:
            return self
        if not self.able:
            return self._replace(doubted=None)
        began = look.now if self.doubted is None else self.doubted
        failures = self.failures + look.failed
        if failures >= config.failures and look.now - began >= config.unable_seconds:
            return Ability(False, look.now)
        return Ability(True, self.since, began, failures)

    def hopeless(self, now: float, config: AbilityConfig) -> bool:
        """Return whether it has been unable for so long that waiting does not help."""
        return not self.able and now - self.since >= config.hopeless_seconds


# For the event loop. On a busy machine any process has a slow turn now and then.
LOOP_CONFIG = AbilityConfig(unable_seconds=5.0, failures=3, sure_seconds=2.0)
# Seconds of delay that make a look at the event loop late: no real-time caller waits so long.
LATE_LOOK = 0.5


def loop_look(due: float, now: float) -> Look:
    """Return the observation of the event loop from when a look was due and when it ran."""
    late = now - due > LATE_LOOK
    return Look(now, answered=not late, failed=late)


@dataclass(frozen=True)
class CheckConfig:
    """When the server checks itself by drawing a row.

    Attributes:
        quiet_seconds: seconds without an answer after which it checks.
        doubtful_seconds: the same if calls have ended meanwhile without an answer, for any reason.
            If calls have failed, it checks at every look.
        seconds: time for a check.
    """

    quiet_seconds: float = 30.0
    doubtful_seconds: float = 2.0
    seconds: float = 1.0


def check_is_due(ability: Ability, quiet: float, asked: bool, config: CheckConfig) -> bool:
    """Return whether the server must check a table by drawing a row.

    Args:
        ability: the state of the table.
        quiet: seconds since the last answer or check.
        asked: whether calls have ended in that time.
        config: the thresholds.
    """
    if ability.doubted is not None or not ability.able:
        return True
    return quiet >= (config.doubtful_seconds if asked else config.quiet_seconds)


@dataclass(frozen=True)
class Vitals:
    """The tables that can be answered.

    Attributes:
        unable: tables that cannot be answered.
        all_unable: whether no table can be answered.
        hopeless: whether that has lasted so long, for a reason in this process, that only a new
            process helps.
    """

    unable: frozenset[str] = frozenset()
    all_unable: bool = False
    hopeless: bool = False

    def can_answer(self, table: str = "") -> bool:
        """Return whether calls for a table can be answered; "": for any table."""
        return table not in self.unable if table else not self.all_unable


def vitals(
    tables: dict[str, Ability],
    loop: Ability,
    now: float,
    own_networks: bool,
    config: AbilityConfig,
) -> Vitals:
    """Combine the states of all tables and of the event loop.

    Args:
        tables: the state of each table.
        loop: the state of the event loop; while it is late, nothing is answered in time.
        now: monotonic seconds.
        own_networks: whether the networks run in this process, so that a new process would help.
        config: the thresholds.
    """
    unable = frozenset(name for name, each in tables.items() if not each.able)
    none_left = bool(tables) and len(unable) == len(tables)
    hopeless = loop.hopeless(now, config) or (
        own_networks and none_left and all(each.hopeless(now, config) for each in tables.values())
    )
    found = Vitals(unable, none_left, hopeless)
    return found if loop.able else replace(found, unable=frozenset(tables), all_unable=True)
