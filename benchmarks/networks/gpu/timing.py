"""How long calls take: one after another, queued without waiting, and after a pause."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np


def seconds_of(call: Callable[[], Any], budget: float, most: int = 5000) -> np.ndarray:
    """Seconds of each call, after warm-up."""
    began = time.perf_counter()
    while time.perf_counter() - began < 0.2 * budget:
        call()
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < 5 or (time.perf_counter() - began < budget and len(taken) < most):
        at = time.perf_counter()
        call()
        taken.append(time.perf_counter() - at)
    return np.array(taken)


def latency(figures: dict[str, Any], name: str, call: Callable[[], Any], budget: float) -> float:
    """Keep the quantiles of a call, in microseconds; returns its median in seconds."""
    taken = seconds_of(call, budget)
    figures[f"{name}_p50_us"] = round(1e6 * float(np.median(taken)), 1)
    figures[f"{name}_p99_us"] = round(1e6 * float(np.quantile(taken, 0.99)), 1)
    return float(np.median(taken))


def alone(queue: Callable[[], None], wait: Callable[[], None], budget: float) -> float:
    """Microseconds of one of many runs that are queued without waiting between them."""
    for _ in range(5):
        queue()
    wait()
    count, began = 20, time.perf_counter()
    for _ in range(count):
        queue()
    wait()
    each = (time.perf_counter() - began) / count
    count = max(20, int(budget / each))
    began = time.perf_counter()
    for _ in range(count):
        queue()
    wait()
    return round(1e6 * (time.perf_counter() - began) / count, 2)


def idle(call: Callable[[], Any], pause: float = 4.0, every: float = 0.25) -> dict[str, Any]:
    """What a first call after a pause takes, with nothing and with ticks in it, µs."""
    out = {}
    for name, ticks in (("idle", False), ("ticked", True)):
        firsts = []
        for _ in range(3):
            until = time.perf_counter() + pause
            while (left := until - time.perf_counter()) > 0:
                time.sleep(min(every if ticks else left, left))
                if ticks:
                    call()
            at = time.perf_counter()
            call()
            firsts.append(1e6 * (time.perf_counter() - at))
        out[f"first_after_{name}_us"] = round(float(np.median(firsts)), 1)
    return out
