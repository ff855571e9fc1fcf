"""Whether calls can still be answered, judged from what became of the last ones; pure decisions.

A server that refuses calls because there are too many of them is healthy: neither a refusal for
load nor a deadline that was too near counts for anything here. What counts is that calls are
answered, and that they fail for reasons that are the server's own: a network that is away, an
engine that has stopped, an error that nobody foresaw. One answer is proof; failures are none before
they have lasted a while and nothing was answered in it. The same holds for the event loop, where a
look at it that came in time is the answer, and one that came late is the failure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class AbilityConfig:
    """How long something has to last before it is believed.

    Attributes:
        unable_seconds: of failures without an answer, after which nothing can be answered.
        failures: that there are in them at least.
        sure_seconds: of answers without a break, after which what could not be answered can be.
        hopeless_seconds: for which nothing could be answered, after which waiting does not help.
    """

    unable_seconds: float = 3.0
    failures: int = 3
    sure_seconds: float = 1.0
    hopeless_seconds: float = 30.0


class Look(NamedTuple):
    """What has been seen since the last look.

    Attributes:
        now: monotonic seconds.
        answered: calls that were answered, and checks that succeeded.
        failed: calls and checks that failed for reasons of the server's own.
    """

    now: float
    answered: int
    failed: int


class Ability(NamedTuple):
    """Whether calls can be answered.

    Attributes:
        able: whether they can.
        since: when it became so, monotonic seconds.
        doubted: since when there have been failures without an answer, where they can be answered,
            or answers without a break, where they cannot; None: there are none.
        failures: in that time.
    """

    able: bool = True
    since: float = 0.0
    doubted: float | None = None
    failures: int = 0

    def after(self, look: Look, config: AbilityConfig) -> Ability:
        """What is to be believed after one more look."""
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
        """Whether it has not been able for so long that waiting does not help."""
        return not self.able and now - self.since >= config.hopeless_seconds


# The event loop: a turn that takes longer happens to any process on a full machine, now and then.
LOOP_CONFIG = AbilityConfig(unable_seconds=5.0, failures=3, sure_seconds=2.0)
# Seconds after which a look at it is late: no caller in real time waits so long.
LATE_LOOK = 0.5


def loop_look(due: float, now: float) -> Look:
    """The event loop, seen by when a look at it was due, and when it came."""
    late = now - due > LATE_LOOK
    return Look(now, answered=not late, failed=late)


@dataclass(frozen=True)
class CheckConfig:
    """When the server asks itself for a row.

    Attributes:
        quiet_seconds: without an answer, after which it does.
        doubtful_seconds: the same where calls have come meanwhile and none was answered, whatever
            the reason. Where calls have failed, it does at every look.
        seconds: that a check may take.
    """

    quiet_seconds: float = 30.0
    doubtful_seconds: float = 2.0
    seconds: float = 1.0


def check_is_due(ability: Ability, quiet: float, asked: bool, config: CheckConfig) -> bool:
    """Whether the server is to ask itself for a row of a table.

    Args:
        ability: what is believed of the table.
        quiet: seconds since the last answer, or the last check.
        asked: whether calls have ended in them.
        config: how patient it is.
    """
    if ability.doubted is not None or not ability.able:
        return True
    return quiet >= (config.doubtful_seconds if asked else config.quiet_seconds)


@dataclass(frozen=True)
class Vitals:
    """What can be answered.

    Attributes:
        unable: tables for which nothing can be.
        all_unable: whether nothing can be for any table.
        hopeless: whether that has lasted so long, for a reason that lies in this process, that only
            another one helps.
    """

    unable: frozenset[str] = frozenset()
    all_unable: bool = False
    hopeless: bool = False

    def can_answer(self, table: str = "") -> bool:
        """Whether calls for a table can be answered; "": for any."""
        return table not in self.unable if table else not self.all_unable


def vitals(
    tables: dict[str, Ability],
    loop: Ability,
    now: float,
    own_networks: bool,
    config: AbilityConfig,
) -> Vitals:
    """What can be answered, all in all.

    Args:
        tables: what is believed of each.
        loop: of the event loop; while it is late nothing is answered in time.
        now: monotonic seconds.
        own_networks: whether they run in this process, and would be others in another.
        config: how long is too long.
    """
    unable = frozenset(name for name, each in tables.items() if not each.able)
    none_left = bool(tables) and len(unable) == len(tables)
    hopeless = loop.hopeless(now, config) or (
        own_networks and none_left and all(each.hopeless(now, config) for each in tables.values())
    )
    found = Vitals(unable, none_left, hopeless)
    return found if loop.able else replace(found, unable=frozenset(tables), all_unable=True)
