"""Plans built, compared, released and found again: with a fake TensorRT that runs on the CPU."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cascade_server.engines.gpu.builder import BuildConfig
from cascade_server.engines.gpu.compiling import Outcome, Rows, Target, compile_tier, reference
from cascade_server.engines.gpu.device import Gpu
from cascade_server.engines.gpu.engines import PlanProgram
from cascade_server.engines.gpu.parity import xgboost_detector
from cascade_server.engines.gpu.plans import find_plan, folder_of, read_stamp
from cascade_server.engines.gpu.runtime import GpuRuntime
from cascade_server.engines.gpu.trt import TensorRT
from cascade_server.engines.runtime import Runtime
from cascade_server.errors import PlanError
from cascade_server.terms import Tier
from cascade_tables import load_release

from tests.releases import TABLE
from tests.server.engines.gpu.conftest import Both, asked
from tests.server.engines.gpu.fake_tensorrt import FakeTensorRT
from tests.server.engines.gpu.host import HostDevice
from tests.server.engines.gpu.test_parity import biased

GPU = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 13000, 13000)
OTHER = Gpu("NVIDIA L4", (8, 9), 13000, 13000)
BUCKETS = (1, 8, 1024)
ROWS = 2000


@pytest.fixture(scope="module")
def rows(made) -> Rows:  # type: ignore[no-untyped-def]
    return reference(Runtime(made[1]), tuple(Tier), ROWS)


@pytest.fixture
def repository(both: Both, tmp_path: Path) -> Path:
    shutil.copytree(both.folder, tmp_path / "repository")
    return tmp_path / "repository"


def target(version: str = "10.13.3", flavour: str = "tensorrt", **settings: object) -> Target:
    module = FakeTensorRT(version, **settings)  # type: ignore[arg-type]
    kit = TensorRT(flavour, version, module)
    return Target(kit, GPU, HostDevice(), BuildConfig(BUCKETS))


def compiled(
    both: Both,
    repository: Path,
    rows: Rows,
    tier: Tier = Tier.STUDENT,
    precision: str = "fp32",
    kit: Target | None = None,
) -> tuple[Outcome, list[Outcome]]:
    told: list[Outcome] = []
    done = compile_tier(
        *(both.release, repository, tier, precision, kit or target()),
        *(lambda: rows, xgboost_detector(1), told.append),
    )
    return done, told


class TestRelease:
    """What is written beside the graph."""

    @pytest.mark.parametrize("tier", list(Tier))
    def test_a_plan_and_its_stamp(
        self, both: Both, repository: Path, rows: Rows, tier: Tier
    ) -> None:
        done, told = compiled(both, repository, rows, tier)
        folder = folder_of(repository, TABLE, 1, tier)
        name = "model.tensorrt-10.13.3.nvidia-h100-80gb-hbm3.sm90"
        assert told == [done]
        assert done.path == folder / f"{name}.plan"
        assert {path.name for path in folder.iterdir()} == {
            *("model.onnx", f"{name}.plan", f"{name}.json")
        }
        stamp = read_stamp(folder / f"{name}.json")
        assert (stamp.tier, stamp.precision, stamp.buckets) == (str(tier), "fp32", BUCKETS)
        assert (stamp.parity["rows"], stamp.parity["equal"]) == (ROWS, 1.0)
        # The release is what it was.
        assert load_release(repository, TABLE, 1).manifest == both.release.manifest

    def test_what_was_released_draws_the_cpus_rows(
        self, both: Both, repository: Path, rows: Rows
    ) -> None:
        kit = target()
        plans = {}
        for tier in Tier:
            compiled(both, repository, rows, tier, kit=kit)
            graph = both.release.student if tier is Tier.STUDENT else both.release.teacher
            folder = folder_of(repository, TABLE, 1, tier)
            plans[tier] = find_plan(folder, kit.trt, GPU, graph, TABLE)[1]
        device = HostDevice()
        runtime = GpuRuntime(
            *(both.release, 1, tuple(Tier), device),
            lambda tier: PlanProgram(kit.trt, plans[tier], device, str(tier)),
            BUCKETS,
            every=0,
        )
        given = asked(both.cpu, 20)
        noise = np.random.default_rng(3).random((20, both.cpu.student_noise), dtype=np.float32)
        drawn = runtime.draw_student(given.tokens, given.observed, noise)
        expected = both.cpu.draw_student(given.tokens, given.observed, noise)
        assert np.array_equal(drawn, expected)

    def test_a_plan_that_draws_other_rows_is_not_released(
        self, both: Both, repository: Path, rows: Rows
    ) -> None:
        expected = r"no plan of payments's student is released: fp32: .* rows are equal; at least"
        with pytest.raises(PlanError, match=expected):
            compiled(both, repository, rows, kit=target(spoils=biased))
        folder = folder_of(repository, TABLE, 1, Tier.STUDENT)
        assert [path.name for path in folder.iterdir()] == ["model.onnx"]

    def test_auto_takes_the_first_precision_that_passes(
        self, both: Both, repository: Path, rows: Rows
    ) -> None:
        built = []

        def spoils(model: bytes) -> bytes:
            built.append(model)
            return biased(model) if len(built) < 3 else model

        done, told = compiled(
            both, repository, rows, precision="auto", kit=target(spoils=halves_undone(spoils))
        )
        assert [(each.precision, each.path is None) for each in told] == [
            ("fp16", True),
            ("bf16", True),
            ("fp32", False),
        ]
        assert done.precision == "fp32"


def halves_undone(spoils):  # type: ignore[no-untyped-def]
    """ONNX Runtime's CPU has no bfloat16 products: they are made in float32."""
    import onnx

    def undone(model: bytes) -> bytes:
        proto = onnx.load_from_string(model)
        for node in proto.graph.node:
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == onnx.TensorProto.BFLOAT16:
                    attribute.i = onnx.TensorProto.FLOAT
        return spoils(proto.SerializeToString())

    return undone


class TestFinding:
    """A plan for another GPU, version or graph is refused, and says for what it was made."""

    @pytest.fixture
    def folder(self, both: Both, repository: Path, rows: Rows) -> Path:
        compiled(both, repository, rows)
        return folder_of(repository, TABLE, 1, Tier.STUDENT)

    def test_none(self, both: Both, repository: Path) -> None:
        folder = folder_of(repository, TABLE, 1, Tier.STUDENT)
        expected = "has no TensorRT plan; run: cascade compile payments --runtime tensorrt"
        with pytest.raises(PlanError, match=expected):
            find_plan(folder, target().trt, GPU, both.release.student, TABLE)

    def test_for_this_machine(self, both: Both, folder: Path) -> None:
        stamp, plan = find_plan(folder, target().trt, GPU, both.release.student, TABLE)
        assert stamp.gpu == GPU.name
        assert PlanProgram(target().trt, plan, HostDevice(), "it").buckets == BUCKETS

    @pytest.mark.parametrize(
        ("kit", "gpu", "reason"),
        [
            (
                target("10.14.0"),
                GPU,
                "it was made by TensorRT 10.13.3, and here is TensorRT 10.14.0",
            ),
            (
                target(flavour="tensorrt_rtx"),
                GPU,
                "it was made by TensorRT 10.13.3, and here is TensorRT-RTX 10.13.3",
            ),
            (
                target(),
                OTHER,
                r"it was made for NVIDIA H100 80GB HBM3 \(compute capability 9.0\), "
                r"and here is NVIDIA L4 \(compute capability 8.9\)",
            ),
            (
                target(),
                replace(GPU, driver=12080),
                "it was made with CUDA 13.0, and the driver here knows CUDA up to 12.8",
            ),
        ],
    )
    def test_for_another(
        self, both: Both, folder: Path, kit: Target, gpu: Gpu, reason: str
    ) -> None:
        expected = f"no plan for this machine: model.* cannot be used: {reason}; run: cascade comp"
        with pytest.raises(PlanError, match=expected):
            find_plan(folder, kit.trt, gpu, both.release.student, TABLE)

    def test_of_another_graph(self, folder: Path) -> None:
        with pytest.raises(PlanError, match="it was made of another graph than the release's"):
            find_plan(folder, target().trt, GPU, b"another", TABLE)

    def test_that_was_changed(self, both: Both, folder: Path) -> None:
        (plan,) = folder.glob("*.plan")
        plan.write_bytes(plan.read_bytes() + b" ")
        with pytest.raises(PlanError, match="is damaged or was changed: its SHA-256 is"):
            find_plan(folder, target().trt, GPU, both.release.student, TABLE)

    def test_whose_stamp_is_not_one(self, both: Both, folder: Path) -> None:
        (path,) = folder.glob("*.json")
        path.write_text(json.dumps({"format": 1}))
        with pytest.raises(PlanError, match="is not the stamp of a plan"):
            find_plan(folder, target().trt, GPU, both.release.student, TABLE)

    def test_that_tensorrt_refuses(self, both: Both, folder: Path) -> None:
        kit = target(card="another card").trt
        _, plan = find_plan(folder, kit, GPU, both.release.student, TABLE)
        expected = "TensorRT 10.13.3 refuses the plan of it: the engine was built for something"
        with pytest.raises(PlanError, match=expected):
            PlanProgram(kit, plan, HostDevice(), "it")

    def test_batch_sizes_that_it_does_not_have(self, both: Both, folder: Path) -> None:
        kit = target().trt
        _, plan = find_plan(folder, kit, GPU, both.release.student, TABLE)
        program = PlanProgram(kit, plan, HostDevice(), "it")
        with pytest.raises(PlanError, match="the plan of it has batch sizes 1, 8, 1024, not 2"):
            program.bind(2, {})
