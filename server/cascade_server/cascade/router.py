"""Chooses the tier that answers: the highest fidelity that fits the remaining time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from cascade_server.terms import Tier, Wanted

# The share of the remaining time that is kept in reserve: packing, the network and the caller's own
# thread come after the draw.
MARGIN = 0.2


class Option(NamedTuple):
    """One way to answer a request.

    Attributes:
        tier: the model that would draw.
        steps: network passes that it would make.
        seconds: predicted seconds, queue included, at the .99 quantile; infinite if this way is not
            available now.
        from_pool: whether the rows are ready in the pool, so that nothing has to be drawn.
        crowded: whether so many requests wait for this tier that AUTO adds no more.
    """

    tier: Tier
    steps: int
    seconds: float
    from_pool: bool = False
    crowded: bool = False

    @property
    def name(self) -> str:
        if self.from_pool:
            return "the pool"
        return self.tier if self.tier is Tier.STUDENT else f"{self.tier} in {self.steps} passes"


class StandInReason(StrEnum):
    """Why the student answers in place of the chosen teacher."""

    OVERTAKEN = "took longer than was predicted"
    GONE = "was gone before it had answered"
    FAILED = "failed"


class Route(NamedTuple):
    """How to answer a request, and the reasons for that choice.

    Attributes:
        option: the chosen way; None: refused, because no allowed way would be in time.
        allowed: the options it was chosen from, highest fidelity first.
        considered: all options, allowed or not, highest fidelity first.
        remaining, wanted, steps_down: the arguments of `choose`.
        time_limit: seconds that the chosen option had to fit into: what is left of the deadline or,
            for AUTO, what the latency objective promises, if that is less.
        chosen_at: when it was chosen, in seconds on the clock of deadlines. Anything done between
            then and the draw, such as waiting for another request's draw, uses up `time_limit`.
        stand_in_reason: why the student replaced the teacher that was chosen first; None: `option`
            is the one that was chosen.
        probing: whether it runs although it is predicted to be late; see `Probing`.
    """

    option: Option | None
    allowed: tuple[Option, ...]
    considered: tuple[Option, ...]
    remaining: float
    wanted: Wanted
    steps_down: int
    time_limit: float
    chosen_at: float = 0.0
    stand_in_reason: StandInReason | None = None
    probing: bool = False

    @property
    def cheapest(self) -> Option:
        """The allowed option that is predicted to finish first."""
        return min(self.allowed, key=lambda option: option.seconds)

    @property
    def has_stand_in(self) -> bool:
        """Whether the student may answer in place of the chosen teacher."""
        option = self.option
        return (
            self.wanted is Wanted.AUTO
            and option is not None
            and option.tier is Tier.TEACHER
            and self.allowed[-1].tier is Tier.STUDENT
        )

    def by_stand_in(self, why: StandInReason) -> Route:
        """Return the route of the student in the teacher's place.

        It draws the same rows for a seed as if the student had been chosen.

        Args:
            why: why the teacher does not answer.
        """
        return self._replace(option=self.allowed[-1], stand_in_reason=why)

    @property
    def reason(self) -> str:
        """Explain the choice in one sentence, for the answer, the log or the refusal."""
        if self.option is None:
            cheapest = self.cheapest
            return (
                f"{_ms(self.remaining)} are left, and {cheapest.name} is predicted to take "
                f"{_ms(cheapest.seconds)} (its .99 quantile; {MARGIN:.0%} of what is left is kept "
                "back)"
            )
        left = "no deadline" if math.isinf(self.remaining) else f"{_ms(self.remaining)} left"
        predicted = f"{_ms(self.option.seconds)} predicted, {left}"
        if self.probing:
            return f"tried to see whether the prediction still holds; {predicted}"
        if self.option.from_pool:
            return f"the teacher's rows, made ahead of time; {predicted}"
        if self.wanted is not Wanted.AUTO:
            return f"asked for; {predicted}"
        if any(option.crowded for option in self.considered) and len(self.allowed) == 1:
            return f"too much to do for more to wait for the {Tier.TEACHER}; {predicted}"
        if self.stand_in_reason is not None:
            return f"{self.allowed[0].name} {self.stand_in_reason}; {left}"
        if self.option is not self.allowed[0]:
            above = self.allowed[self.allowed.index(self.option) - 1]
            if math.isinf(above.seconds):
                return f"{predicted}; {above.name} is not ready"
            return f"{predicted}; {above.name} would take {_ms(above.seconds)}"
        burns = "an error budget burns too fast for more"
        return f"{burns if self.steps_down else 'the highest fidelity'}; {predicted}"


def fits(seconds: float, remaining: float) -> bool:
    """Return whether work predicted to take `seconds` is in time, with `MARGIN` to spare.

    Args:
        seconds: predicted seconds; infinite for an unavailable option, which never fits.
        remaining: seconds until it must be done.
    """
    return seconds <= remaining * (1 - MARGIN) and not math.isinf(seconds)


def patience(route: Route, now: float) -> float:
    """Return the seconds to keep waiting for the teacher before the student takes over.

    The prediction for the teacher may be wrong. Waiting ends early enough that the student can
    still answer in time, with the same margin. If no student may take over, as for FULL, the
    request waits until its deadline and the result is infinite.

    Args:
        route: how the request was routed.
        now: seconds on the clock of `Route.chosen_at`.
    """
    if not route.has_stand_in:
        return math.inf
    student = route.allowed[-1]
    return max(0.0, route.time_limit * (1 - MARGIN) - student.seconds - (now - route.chosen_at))


def choose(
    options: Sequence[Option],
    remaining: float,
    wanted: Wanted,
    steps_down: int = 0,
    promised: float = math.inf,
    now: float = 0.0,
) -> Route:
    """Choose the tier that answers a request.

    Args:
        options: ways to answer, highest fidelity first; the first is the full teacher, the last
            the student. The pool may precede them: its rows are the full teacher's, and are the
            fastest, so it is allowed for every requested fidelity and error budget.
        remaining: seconds to the deadline; infinite if there is none.
        wanted: AUTO takes the highest fidelity that fits, and leaves out crowded options; FAST and
            FULL get the tier that they request, or are refused.
        steps_down: number of the highest options that AUTO leaves out while an error budget burns.
        promised: seconds of the latency objective; infinite if there is none. AUTO stays within
            them if it can, even if the deadline is later: a long deadline is not a wish to wait.
        now: seconds on the clock of deadlines; see `Route.chosen_at`.
    """
    considered = tuple(options)
    if len(considered) == 1 and wanted is not Wanted.AUTO:
        (only,) = considered
        option = only if fits(only.seconds, remaining) else None
        return Route(option, considered, considered, remaining, wanted, steps_down, remaining, now)
    pooled = tuple(option for option in considered if option.from_pool)
    computed = considered[len(pooled) :]
    if wanted is Wanted.FULL:
        allowed = pooled + computed[:1]
    elif wanted is Wanted.FAST:
        allowed = pooled + computed[-1:]
    else:
        left = computed[max(0, min(steps_down, len(computed) - 1)) :]
        allowed = pooled + tuple(option for option in left[:-1] if not option.crowded) + left[-1:]
    time_limit = remaining
    if wanted is Wanted.AUTO and fits(allowed[-1].seconds, promised):
        time_limit = min(remaining, promised)
    option = next((option for option in allowed if fits(option.seconds, time_limit)), None)
    return Route(option, allowed, considered, remaining, wanted, steps_down, time_limit, now)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"
