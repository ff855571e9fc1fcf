"""A server whose releases are in lanes gives the rows that one on the CPU gives."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from cascade_proto import synthesis_pb2 as pb
from cascade_server.cascade import repository as repository_module
from cascade_server.config import ServerConfig
from cascade_server.engines.gpu.runtime import GpuRuntime
from cascade_server.engines.philox import Uniform
from cascade_server.engines.teacher import TeacherInput
from cascade_server.engines.teacher_wire import pack_draw, unpack_draw
from cascade_server.terms import Tier
from cascade_tables import Release

from tests.releases import TABLE, make_release
from tests.server.engines.gpu.conftest import program
from tests.server.engines.gpu.host import HostDevice
from tests.server.messages import ask
from tests.server.running import running


def in_lanes(
    release: Release, repository: Path, threads: int, tiers: Collection[Tier], asked: str
) -> GpuRuntime:
    device = HostDevice()
    networks = {tier: program(release, tier, device) for tier in tiers}
    return GpuRuntime(release, threads, tiers, device, networks.__getitem__, (1, 16, 64), every=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_release(tmp_path)
    return tmp_path


def answers(folder: Path) -> list[pb.Rows]:
    """What a server says to requests of every kind that have a seed."""
    config = ServerConfig(repository=folder, port=0, runtime="cpu")
    with running(config) as server:
        generated = server.stub.Generate(pb.GenerateRequest(table=TABLE, count=100, seed=4))
        rows = [message.rows for message in generated]
        for fidelity in (pb.FIDELITY_FAST, pb.FIDELITY_FULL):
            request = ask(seed=7, draws=70, fidelity=fidelity)
            rows.append(server.stub.Synthesize(request).rows)
    return rows


def test_rows_of_a_seed_are_those_of_the_cpu(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Places inside the bins too, which are drawn from the same stream after the noise."""
    expected = answers(folder)
    monkeypatch.setattr(repository_module, "open_runtime", in_lanes)
    found = answers(folder)
    assert len(found) >= 3
    assert found == expected


def test_a_worker_sends_its_teacher_the_seed_and_not_the_numbers() -> None:
    tokens, observed = np.zeros((3, 5), np.int32), np.ones((3, 5), np.bool_)
    given = TeacherInput(tokens, observed, Uniform(2**63, 4, 9, 3, 1000), 6)
    content = pack_draw("payments/1/x", given, 2.5, True)
    assert len(content) < 200
    name, back, deadline, offline = unpack_draw(content)
    assert (name, deadline, offline, back.steps) == ("payments/1/x", 2.5, True, 6)
    assert back.noise == given.noise
    assert np.array_equal(back.observed, observed)
