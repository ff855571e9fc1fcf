"""Processor time that networks take, charged to who has them run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Spent:
    """What has been computed for one request so far, whoever computed it.

    It goes along with the request to whatever is run for it, and is added to there.

    Attributes:
        seconds: of one processor.
        gpu_seconds: of one GPU.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def add(self, seconds: float, gpu_seconds: float = 0.0) -> None:
        """Charge some more."""
        self.seconds += seconds
        self.gpu_seconds += gpu_seconds

    def take(self) -> Spent:
        """What has been spent so far, which is nobody's from now on."""
        taken = Spent(self.seconds, self.gpu_seconds)
        self.seconds = self.gpu_seconds = 0.0
        return taken


def charge(
    spent: Iterable[Spent], weights: Sequence[float], seconds: float, gpu_seconds: float = 0.0
) -> None:
    """Share what a run has taken among those that it was for.

    Args:
        spent: of each.
        weights: what each had of the run: its rows times its passes.
        seconds, gpu_seconds: of one processor, and of one GPU.
    """
    whole = sum(weights)
    if whole > 0:
        for each, weight in zip(spent, weights, strict=True):
            each.add(seconds * weight / whole, gpu_seconds * weight / whole)


def timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """What some work returns, and the processor seconds that it took of this thread."""
    began = time.thread_time()
    found = work(*args, **kwargs)
    return found, time.thread_time() - began
