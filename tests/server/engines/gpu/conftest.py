"""A release, its layout, and a device that is the host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from cascade_server.engines.gpu import graphs
from cascade_server.engines.gpu.lanes import Program
from cascade_server.engines.gpu.providers import CPU, SessionProgram
from cascade_server.engines.gpu.runtime import GpuRuntime
from cascade_server.engines.runtime import Runtime
from cascade_server.terms import Tier
from cascade_tables import Release, load_release

from tests.releases import TABLE, make_release
from tests.server.engines.gpu.host import HostDevice

BUCKETS = (1, 8, 64)


@dataclass
class Both:
    """The same release by two runtimes: on the CPU as ever, and in lanes on a host device."""

    release: Release
    folder: Path
    cpu: Runtime
    lanes: GpuRuntime
    device: HostDevice


def program(release: Release, tier: Tier, device: HostDevice, precision: str = "fp32") -> Program:
    """A tier's network for lanes, by ONNX Runtime on the CPU."""
    student = tier is Tier.STUDENT
    graph = graphs.straight(release.student) if student else graphs.teacher_pass(release.teacher)
    graph = graphs.with_precision(graph, precision)
    return SessionProgram(graph, CPU, device, f"the {tier}")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Release]:
    folder = tmp_path_factory.mktemp("repository")
    make_release(folder)
    return folder, load_release(folder, TABLE, 1)


@pytest.fixture
def both(made: tuple[Path, Release]) -> Both:
    folder, release = made
    return by_both(folder, release)


def by_both(folder: Path, release: Release) -> Both:
    """Both runtimes of a release."""
    device = HostDevice()
    lanes = GpuRuntime(
        *(release, 1, tuple(Tier), device),
        lambda tier: program(release, tier, device),
        BUCKETS,
        every=0,
    )
    return Both(release, folder, Runtime(release), lanes, device)


@dataclass(frozen=True)
class Asked:
    """Rows to complete: int32 and bool [n, T]."""

    tokens: np.ndarray
    observed: np.ndarray


def asked(runtime: Runtime, rows: int, seed: int = 0) -> Asked:
    """Random rows of which a random part is known."""
    rng = np.random.default_rng(seed)
    sizes = np.array(runtime.layout.sizes)
    tokens = rng.integers(0, sizes, (rows, len(sizes))).astype(np.int32)
    known = rng.random((rows, runtime.columns)) < rng.random((rows, 1))
    return Asked(tokens, known[:, list(runtime.layout.column)])
