"""The server's own way: lanes over ONNX Runtime or TensorRT."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cascade_server.engines.gpu.device import Device
from cascade_server.engines.gpu.lanes import Program, StudentLane, TeacherLane
from cascade_tables.sampling import reveal_passes

from benchmarks.networks.gpu.problem import Problem
from benchmarks.networks.gpu.timing import alone, idle, latency, seconds_of


def measure_lanes(
    problem: Problem,
    device: Device,
    programs: Callable[[bytes, str], Program],
    budget: float,
    watch_idle: bool,
) -> dict[str, Any]:
    """The server's own way: lanes over ONNX Runtime or TensorRT."""
    figures: dict[str, Any] = {}
    layout, batch = problem.layout, problem.batch
    began = time.perf_counter()
    student = programs(problem.straight, "student")
    figures["student_build_s"] = round(time.perf_counter() - began, 2)
    for rows in (1, batch):
        lane = StudentLane(device, student, layout, rows)
        shape = (rows, layout.slots)
        tokens, observed = np.zeros(shape, np.int32), np.zeros(shape, bool)
        noise = problem.noise("student", 0, rows)
        middle = latency(
            figures,
            f"student_{'1' if rows == 1 else 'batch'}",
            lambda lane=lane, t=tokens, o=observed, n=noise: lane.draw(t, o, n),
            budget,
        )
        figures[f"student_{'1' if rows == 1 else 'batch'}_alone_us"] = alone(
            lane.queue, device.synchronize, budget / 4
        )
        if rows == 1 and watch_idle:
            figures.update(
                idle(lambda lane=lane, t=tokens, o=observed, n=noise: lane.draw(t, o, n))
            )
        if rows == batch:
            figures["student_rows_per_s"] = round(rows / middle)
            figures["student_equal"] = problem.equal(
                "student",
                lambda t, o, i, lane=lane: lane.draw(t, o, problem.noise("student", i, len(t))),
            )
    began = time.perf_counter()
    teacher = programs(problem.whole_pass, "teacher")
    figures["teacher_build_s"] = round(time.perf_counter() - began, 2)
    whole = TeacherLane(device, teacher, layout, batch)
    tokens = np.zeros((batch, layout.slots), np.int32)
    observed = np.zeros(tokens.shape, bool)
    noise = problem.noise("teacher", 0, batch)
    steps = layout.columns
    seeded = [(noise, steps)]
    taken = seconds_of(lambda: whole.generate(tokens, observed, seeded), budget)
    figures["teacher_rows_per_s"] = round(batch / float(np.median(taken)))
    figures["teacher_pass_alone_us"] = round(
        alone(whole.queue, device.synchronize, budget / 4) / 2, 2
    )

    def complete(tokens: np.ndarray, observed: np.ndarray, index: int) -> np.ndarray:
        noise = problem.noise("teacher", index, len(tokens))
        return whole.generate(tokens, observed, [(noise, steps)])

    figures["teacher_equal"] = problem.equal("teacher", complete)

    def with_host_noise(tokens: np.ndarray, observed: np.ndarray, index: int) -> np.ndarray:
        noise = problem.noise("teacher", index, len(tokens)).array()
        at = reveal_passes(
            observed, noise[:, :steps], problem.column.tolist(), layout.leading, steps
        )
        given = np.where(observed, tokens, 0)
        return whole.complete(given, at, noise[:, steps:], int(at.max()) + 1)

    rows = slice(0, problem.batches()[0])
    first = problem.tokens[rows], problem.observed[rows]
    # The noise and the order of the device are the host's: the same rows, bit by bit.
    figures["device_noise_equal"] = bool((complete(*first, 0) == with_host_noise(*first, 0)).all())
    return figures
