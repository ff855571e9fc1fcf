"""Accounts of processor time: each request has one, and work for the request is charged to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Spent:
    """The processor time spent on one request so far, in any thread or process.

    Attributes:
        seconds: seconds of one processor core.
        gpu_seconds: seconds of one GPU.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0

    def add(self, seconds: float, gpu_seconds: float = 0.0) -> None:
        """Charge time to the request."""
        self.seconds += seconds
        self.gpu_seconds += gpu_seconds

    def take(self) -> Spent:
        """Return what has been spent so far, and start again from zero."""
        taken = Spent(self.seconds, self.gpu_seconds)
        self.seconds = self.gpu_seconds = 0.0
        return taken


def charge(
    spent: Iterable[Spent], weights: Sequence[float], seconds: float, gpu_seconds: float = 0.0
) -> None:
    """Divide the time of a run among its requests.

    Args:
        spent: the account of each request.
        weights: the share of each in the run, such as its rows times its passes.
        seconds: seconds of one processor core.
        gpu_seconds: seconds of one GPU.
    """
    whole = sum(weights)
    if whole > 0:
        for each, weight in zip(spent, weights, strict=True):
            each.add(seconds * weight / whole, gpu_seconds * weight / whole)


def timed(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> tuple[T, float]:
    """Call a function; returns its result and the processor seconds that it took on this thread."""
    began = time.thread_time()
    found = work(*args, **kwargs)
    return found, time.thread_time() - began
