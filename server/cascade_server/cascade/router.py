"""Which tier answers: the highest fidelity that fits what is left of the deadline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from cascade_server.terms import Tier, Wanted

# What is left of a deadline is not spent to the last microsecond: packing, the network and the
# caller's own thread come after the draw.
MARGIN = 0.2


class Option(NamedTuple):
    """One way to answer.

    Attributes:
        tier: who would draw.
        steps: network passes.
        seconds: the .99 quantile predicted for it, its queue included.
        from_pool: the rows are there.
        crowded: AUTO lets no more wait for it.
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


class Instead(StrEnum):
    """Why the student answers in the place of the teacher that was chosen: what that one did."""

    OVERTAKEN = "took longer than was predicted"
    GONE = "was gone before it had answered"
    FAILED = "failed"


class Route(NamedTuple):
    """What was chosen.

    Attributes:
        option: None: refused, since nothing that is allowed would be in time.
        allowed: what it was chosen from, highest fidelity first.
        considered: every option, likewise.
        remaining, wanted, steps_down: what `choose` was told.
        within: seconds that AUTO was to fit: what is left of the deadline, or what is promised.
        at: when it was chosen, on the clock of deadlines: what comes before the draw, such as
            another's draw that is waited for, takes of the same time.
        instead: why `option` is another one than was chosen; None: it is not.
        probing: whether it is tried although it is predicted to be late; see `Probing`.
    """

    option: Option | None
    allowed: tuple[Option, ...]
    considered: tuple[Option, ...]
    remaining: float
    wanted: Wanted
    steps_down: int
    within: float
    at: float = 0.0
    instead: Instead | None = None
    probing: bool = False

    @property
    def cheapest(self) -> Option:
        """What is allowed and predicted to be done first."""
        return min(self.allowed, key=lambda option: option.seconds)

    @property
    def has_stand_in(self) -> bool:
        """Whether the student may answer in the place of the teacher that was chosen."""
        option = self.option
        return (
            self.wanted is Wanted.AUTO
            and option is not None
            and option.tier is Tier.TEACHER
            and self.allowed[-1].tier is Tier.STUDENT
        )

    def by_stand_in(self, why: Instead) -> Route:
        """The student in the teacher's place, as if it had been chosen: the same rows for a seed.

        Args:
            why: what the teacher did.
        """
        return self._replace(option=self.allowed[-1], instead=why)

    @property
    def reason(self) -> str:
        """Why, in one sentence for the answer, the log or the refusal."""
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
        if self.instead is not None:
            return f"{self.allowed[0].name} {self.instead}; {left}"
        if self.option is not self.allowed[0]:
            above = self.allowed[self.allowed.index(self.option) - 1]
            if math.isinf(above.seconds):
                return f"{predicted}; {above.name} is not ready"
            return f"{predicted}; {above.name} would take {_ms(above.seconds)}"
        burns = "an error budget burns too fast for more"
        return f"{burns if self.steps_down else 'the highest fidelity'}; {predicted}"


def fits(seconds: float, remaining: float) -> bool:
    """Whether what is predicted to take so long is in time; what is not there never is."""
    return seconds <= remaining * (1 - MARGIN) and not math.isinf(seconds)


def patience(route: Route, now: float) -> float:
    """Seconds after which AUTO no longer waits for the teacher it was routed to, or for what comes
    before that one's draw.

    A prediction may be wrong: what is left then is enough for the student, with the margin that it
    needs as much as the teacher. FULL waits until its deadline.

    Args:
        route: of the request.
        now: on the clock of `Route.at`.
    """
    if not route.has_stand_in:
        return math.inf
    student = route.allowed[-1]
    return max(0.0, route.within * (1 - MARGIN) - student.seconds - (now - route.at))


def choose(
    options: Sequence[Option],
    remaining: float,
    wanted: Wanted,
    steps_down: int = 0,
    promised: float = math.inf,
    now: float = 0.0,
) -> Route:
    """Choose a tier.

    Args:
        options: ways to answer, highest fidelity first; the first is the full teacher, the last
            the student. Before them may come the pool, whose rows are the full teacher's and the
            fastest: it is allowed whatever was asked for, and left out for no budget.
        remaining: seconds to the deadline; infinite where there is none.
        wanted: AUTO takes the highest fidelity that fits, and leaves out what is crowded; FAST and
            FULL are honoured or refused.
        steps_down: of the highest options, how many AUTO leaves out while an error budget burns.
        promised: seconds of the latency objective. AUTO keeps it where it can: a caller who can
            wait long has not asked to.
        now: on the clock of deadlines; see `Route.at`.
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
    within = remaining
    if wanted is Wanted.AUTO and fits(allowed[-1].seconds, promised):
        within = min(remaining, promised)
    option = next((option for option in allowed if fits(option.seconds, within)), None)
    return Route(option, allowed, considered, remaining, wanted, steps_down, within, now)


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"
