"""`cascade compile`: builds a release's plans for this machine's GPU, compares and releases them.

A plan is written only if it draws what the embedded runtime draws from equal noise. With precision
"auto", that is the fastest precision that passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from cascade_tables import Release
from cascade_tables.sampling import TeacherRows
from numpy.typing import NDArray

from cascade_server.engines.gpu import graphs
from cascade_server.engines.gpu.builder import BuildConfig, build
from cascade_server.engines.gpu.device import Device, Gpu
from cascade_server.engines.gpu.engines import PlanProgram
from cascade_server.engines.gpu.parity import ROWS, Detector, Parity, compare
from cascade_server.engines.gpu.plans import folder_of, stamp_of, write_plan
from cascade_server.engines.gpu.runtime import GpuRuntime
from cascade_server.engines.gpu.trt import TensorRT
from cascade_server.engines.philox import Uniform
from cascade_server.engines.runtime import Mask, Runtime, Tokens
from cascade_server.errors import PlanError
from cascade_server.terms import Tier

AUTO = "auto"
# Fastest first.
TRIED = ("fp16", "bf16", "fp32")
BATCH = 1024


@dataclass(frozen=True)
class Target:
    """What plans are built with, and what for.

    Attributes:
        trt: TensorRT.
        gpu: the GPU.
        device: the same GPU, for running what was built.
        config: the builder's; its timing cache, if there is one, is for this GPU.
    """

    trt: TensorRT
    gpu: Gpu
    device: Device
    config: BuildConfig


@dataclass(frozen=True)
class Outcome:
    """The outcome of one tier in one precision.

    Attributes:
        tier, precision: which ones.
        parity: how the plan compares with the embedded runtime.
        path: the plan's path; None if it was not released.
    """

    tier: Tier
    precision: str
    parity: Parity
    path: Path | None


def graph_of(release: Release, tier: Tier) -> bytes:
    """Return a tier's graph as a GPU runs it; see `graphs`."""
    if tier is Tier.STUDENT:
        return graphs.straight(release.student)
    return graphs.teacher_pass(release.teacher)


@dataclass(frozen=True)
class Rows:
    """Rows to complete, and the embedded runtime's completions of them.

    Attributes:
        tokens, observed: int32 and bool [n, T]. Half of the rows have nothing observed; the other
            half have random columns of the student's draws observed.
        expected: int32 [n, T] by tier.
    """

    tokens: Tokens
    observed: Mask
    expected: dict[Tier, Tokens]


def noise_of(runtime: Runtime, tier: Tier, first_row: int, rows: int) -> Uniform:
    """Return the noise of `rows` rows from `first_row` on."""
    width = runtime.student_noise if tier is Tier.STUDENT else runtime.teacher_noise
    return Uniform(1 if tier is Tier.STUDENT else 2, first_row, 0, rows, width)


def reference(runtime: Runtime, tiers: Sequence[Tier], rows: int = ROWS) -> Rows:
    """Make rows, and complete them with the embedded runtime, batch by batch."""
    column = np.asarray(runtime.layout.column)
    made: list[tuple[NDArray[np.int32], NDArray[np.bool_]]] = []
    drawn: dict[Tier, list[Tokens]] = {tier: [] for tier in tiers}
    for first_row in range(0, rows, BATCH):
        n = min(BATCH, rows - first_row)
        nothing = np.zeros((n, runtime.slots), np.bool_)
        noise = Uniform(3, first_row, 0, n, runtime.student_noise).array()
        tokens = runtime.draw_student(np.zeros(nothing.shape, np.int32), nothing, noise)
        rng = np.random.Generator(np.random.Philox(key=np.array([4, first_row], np.uint64)))
        known = rng.random((n, runtime.columns)) < rng.random((n, 1))
        known &= rng.random((n, 1)) < 0.5
        observed = known[:, column]
        made.append((tokens, observed))
        for tier in tiers:
            noise = noise_of(runtime, tier, first_row, n).array()
            drawn[tier].append(_drawn(runtime, tier, tokens, observed, noise))
    return Rows(
        tokens=np.concatenate([tokens for tokens, _ in made]),
        observed=np.concatenate([observed for _, observed in made]),
        expected={tier: np.concatenate(parts) for tier, parts in drawn.items()},
    )


def _drawn(
    runtime: Runtime, tier: Tier, tokens: Tokens, observed: Mask, noise: NDArray[np.float32]
) -> Tokens:
    if tier is Tier.STUDENT:
        return runtime.draw_student(tokens, observed, noise)
    rows = TeacherRows(tokens, observed, noise, runtime.layout, runtime.steps)
    while not rows.done:
        rows.keep(runtime.denoise(*rows.next_pass()))
    return rows.tokens


def candidate(runtime: Runtime, tier: Tier, rows: Rows) -> Tokens:
    """Complete the same rows from the same noise with another runtime."""
    parts = []
    for first_row in range(0, len(rows.tokens), BATCH):
        tokens, observed = (
            rows.tokens[first_row : first_row + BATCH],
            rows.observed[first_row : first_row + BATCH],
        )
        noise = noise_of(runtime, tier, first_row, len(tokens))
        if tier is Tier.TEACHER and runtime.makes_noise:
            parts.append(runtime.generate(tokens, observed, [(noise, runtime.steps)]))
        else:
            parts.append(_drawn(runtime, tier, tokens, observed, noise.array()))
    return np.concatenate(parts)


def compile_tier(
    release: Release,
    repository: Path,
    tier: Tier,
    precision: str,
    target: Target,
    rows: Callable[[], Rows],
    detector: Detector,
    report: Callable[[Outcome], None],
) -> Outcome:
    """Build a tier's plan, compare it, and write it if it passes.

    Args:
        rows: returns the rows to compare with; called once something was built.
        precision: one of `graphs.PRECISIONS`, or "auto": the first of `TRIED` that passes.
        report: called with each outcome that was tried.

    Raises:
        PlanError: the plan cannot be built, or none passes; the message says what the gate found.
    """
    manifest = release.manifest
    name = f"{manifest.table}'s {tier}"
    found: list[Outcome] = []
    graph = graph_of(release, tier)
    for each in TRIED if precision == AUTO else (precision,):
        plan = build(target.trt, graphs.with_precision(graph, each), target.config, name)
        program = PlanProgram(target.trt, plan, target.device, name)
        runtime = GpuRuntime(
            release, 1, (tier,), target.device, {tier: program}.__getitem__, program.buckets, 0
        )
        given = rows()
        parity = compare(given.expected[tier], candidate(runtime, tier, given), detector)
        outcome = Outcome(tier, each, parity, None)
        if parity.passed:
            released = release.student if tier is Tier.STUDENT else release.teacher
            stamp = stamp_of(
                *(tier, released, plan, target.trt, target.gpu, each),
                *(target.config.buckets, parity.figures()),
            )
            folder = folder_of(repository, manifest.table, manifest.version, tier)
            outcome = replace(outcome, path=write_plan(folder, stamp, plan))
        report(outcome)
        if outcome.path is not None:
            return outcome
        found.append(outcome)
    reasons = "; ".join(f"{o.precision}: {', '.join(o.parity.failures)}" for o in found)
    raise PlanError(f"no plan of {name} is released: {reasons}")
