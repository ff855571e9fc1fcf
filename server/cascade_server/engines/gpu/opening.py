"""Opens a release on this machine's GPU: detects the hardware and makes the runtime."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cascade_tables import Release

from cascade_server.engines.gpu.device import CudaDevice, Gpu, gpu
from cascade_server.engines.gpu.trt import TensorRT, tensorrt
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import GpuError
from cascade_server.runtimes import (
    CUDA_PROVIDER,
    ON_CPU,
    TENSORRT_PROVIDER,
    Available,
    check,
    choose_runtime,
)
from cascade_server.terms import Tier

log = logging.getLogger("cascade.server")


@dataclass(frozen=True)
class Machine:
    """The GPU, TensorRT and providers of this machine.

    Attributes:
        gpu, no_gpu: the GPU, or why there is none.
        trt, no_trt: TensorRT, or why there is none.
        providers: ONNX Runtime's providers.
    """

    gpu: Gpu | None
    no_gpu: str
    trt: TensorRT | None
    no_trt: str
    providers: tuple[str, ...]


@cache
def look() -> Machine:
    """Find out what this machine has; looks only once."""
    import onnxruntime

    providers = tuple(onnxruntime.get_available_providers())
    try:
        found = gpu()
    except GpuError as exc:
        return Machine(None, str(exc), None, "", providers)
    try:
        return Machine(found, "", tensorrt(), "", providers)
    except GpuError as exc:
        return Machine(found, "", None, str(exc), providers)


def open_runtime(
    release: Release,
    repository: Path,
    teacher_threads: int = 1,
    tiers: Collection[Tier] = tuple(Tier),
    asked: str = "cpu",
) -> Runtime:
    """Open a release in the requested runtime.

    Raises:
        ConfigError: there is no such runtime.
        GpuError: the runtime is not available here; says what is missing and how to get it.
        ReleaseError: a graph cannot run.
    """
    if check(asked) in ON_CPU:
        return Runtime(release, teacher_threads, tiers, compiled=asked == "cpu")
    machine = look()
    choice = choose_runtime(asked, available(machine, release, repository, tiers))
    name = f"{release.manifest.table} v{release.manifest.version}"
    if machine.gpu is not None:  # without a GPU, nobody expects anything but the CPU
        for each in choice.passed_over:
            log.warning("%s runs on %s; passed over: %s", name, choice.runtime, each)
    if choice.runtime == "cpu":
        return Runtime(release, teacher_threads, tiers)
    return opened(choice.runtime, machine, release, repository, teacher_threads, tiers)


def available(
    machine: Machine, release: Release, repository: Path, tiers: Collection[Tier]
) -> Available:
    """Return what the machine has for a release."""
    no_plans = ""
    if machine.gpu is not None and machine.trt is not None:
        try:
            for tier in tiers:
                _plan(machine, release, repository, tier)
        except GpuError as exc:
            no_plans = str(exc)
    return Available(machine.providers, machine.no_gpu, machine.no_trt, no_plans)


def opened(
    runtime: str,
    machine: Machine,
    release: Release,
    repository: Path,
    teacher_threads: int,
    tiers: Collection[Tier],
) -> Runtime:
    """Open a release on the GPU, in a `runtime` that `choose_runtime` found available.

    Raises:
        GpuError: it cannot run there after all; says why.
    """
    from cascade_server.engines.gpu import graphs
    from cascade_server.engines.gpu.engines import PlanProgram
    from cascade_server.engines.gpu.lanes import Program
    from cascade_server.engines.gpu.providers import SessionProgram
    from cascade_server.engines.gpu.runtime import BUCKETS, GpuRuntime

    device = CudaDevice()

    def from_graph(tier: Tier) -> Program:
        graph = (
            graphs.straight(release.student)
            if tier is Tier.STUDENT
            else graphs.teacher_pass(release.teacher)
        )
        provider = CUDA_PROVIDER if runtime == "cuda" else TENSORRT_PROVIDER
        name = f"{release.manifest.table}'s {tier}"
        return SessionProgram(graph, provider, device, name, cache_folder())

    if runtime != "tensorrt":
        return GpuRuntime(release, teacher_threads, tiers, device, from_graph)
    assert machine.trt is not None
    trt = machine.trt
    plans = {tier: _plan(machine, release, repository, tier) for tier in tiers}
    # A plan supports only the batch sizes that it was built for.
    buckets = next(iter(plans.values()))[0].buckets if plans else BUCKETS

    def from_plan(tier: Tier) -> Program:
        return PlanProgram(trt, plans[tier][1], device, f"{release.manifest.table}'s {tier}")

    return GpuRuntime(release, teacher_threads, tiers, device, from_plan, buckets)


def cache_folder() -> Path:
    """Return the folder that keeps timings and engines between builds."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "cascade" / "tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _plan(machine: Machine, release: Release, repository: Path, tier: Tier):  # type: ignore[no-untyped-def]
    from cascade_server.engines.gpu.plans import find_plan, folder_of

    assert machine.gpu is not None
    assert machine.trt is not None
    manifest = release.manifest
    folder = folder_of(repository, manifest.table, manifest.version, tier)
    graph = release.student if tier is Tier.STUDENT else release.teacher
    return find_plan(folder, machine.trt, machine.gpu, graph, manifest.table)
